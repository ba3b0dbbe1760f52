import { type FailureCode, fail, type Observe } from '../failure.ts'
import type { Key } from '../keys/key.ts'
import { unconfirmedAfterMs } from '../keys/keyring.ts'
import type { Policy } from '../policy/compile.ts'
import { findRevocations, type RevocationList } from '../revocation/revocation-list.ts'
import { parseBearer } from '../token/bearer.ts'
import { type AccessToken, checkTimes } from '../token/claims.ts'
import type { SignatureEngine } from '../token/signature.ts'
import { type TokenStep, tokenSteps, verifyToken } from '../token/verify-token.ts'
import { createMarker, type Mark } from './mark.ts'
import {
  type Allowance,
  createOutcome,
  type OutcomeStep,
  outcomeSteps,
  type PolicyOutcome,
  type Refusal,
} from './outcome.ts'
import type { VerifyRequest } from './request.ts'
import type { Rules } from './rules.ts'
import { type CachedToken, clearOutcomes, type TokenCache } from './token-cache.ts'

/** The answer to one request. */
export type Verdict =
  | {
      readonly allow: true
      readonly allowance: Allowance
      /** For how long any cache may keep the verdict. */
      readonly maxAgeSeconds: number
      /** For how long the action in HAProxy may; the same where left out. */
      readonly actionMaxAgeSeconds?: number
      /**
       * Claims for the audit, where this policy admits for the first time; asked only when the allow is
       * sent, since from then on it is not.
       */
      readonly firstSight?: (() => AccessToken | undefined) | undefined
      /** Present where a session and no token was admitted. */
      readonly session?: AccessToken
    }
  | (Refusal & {
      /** Claims for the log; only of a token whose signature was verified. */
      readonly token?: AccessToken
    })

/** What a verdict depends on, besides the request and the rules. */
export interface VerifierContext {
  /** Now, in ms since the epoch. */
  readonly clock: () => number
  /** The clock that ages of keys are measured by, as KeysRuntime has it; `clock` where absent. */
  readonly elapsed?: () => number
  readonly engine: SignatureEngine
  readonly cache: TokenCache
  /** The revocations in force; another object whenever they change. */
  readonly revocations: () => RevocationList
}

/** The steps of a verification, in order. */
export const verifySteps = [
  'credentials',
  ...tokenSteps,
  'validity',
  'revocation',
  ...outcomeSteps,
] as const

export type VerifyStep = 'credentials' | TokenStep | 'validity' | 'revocation' | OutcomeStep

/** Answers whether a policy admits the bearer of a request's token. */
export interface Verifier {
  /** At once where the token is known, else as a promise. Never throws for bad input. */
  verify(
    rules: Rules,
    policy: Policy,
    request: VerifyRequest,
    observe?: Observe<VerifyStep>,
  ): Verdict | Promise<Verdict>
}

/** Creates the verifier. */
export function createVerifier(context: VerifierContext): Verifier {
  const { cache, clock, elapsed = clock } = context
  const markRules = createMarker<Rules>()
  const markList = createMarker<RevocationList>()

  function judge(
    rules: Rules,
    policy: Policy,
    authorization: string,
    token: CachedToken,
    observe?: Observe<VerifyStep>,
  ): Verdict {
    const nowMs = clock()
    // The cache returns no withdrawn key, but this one may be withdrawn since it was asked.
    const withdrawn = token.key.withdrawn ? 'key_withdrawn' : undefined
    const failure = checkTimes(token.claims, nowMs / 1000, rules.clockSkewSeconds) ?? withdrawn
    observe?.('validity', failure)
    if (failure) {
      cache.delete(token.cacheKey, authorization)
      return { allow: false, failure, token: token.claims }
    }
    const revoked = findRevoked(context.revocations(), token, nowMs)
    observe?.('revocation', revoked?.failure)
    if (revoked) return { allow: false, ...revoked, token: token.claims }
    const rulesMark = markRules(rules)
    const known = token.rulesMark === rulesMark ? token.outcomes.get(policy.name) : undefined
    const outcome = known ?? workOutOutcome(rules, rulesMark, policy, authorization, token, observe)
    if (!outcome.allow) return { ...outcome, token: token.claims }
    const longest = longestUse(token, nowMs, elapsed(), rules.clockSkewSeconds)
    return {
      allow: true,
      allowance: outcome,
      maxAgeSeconds: Math.min(longest, policy.cacheLife.others),
      actionMaxAgeSeconds: Math.min(longest, policy.cacheLife.action),
      firstSight: known ? undefined : () => firstSightOf(policy, token),
    }
  }

  /** Works out what a policy says of a token, at the first request with it under these rules. */
  function workOutOutcome(
    rules: Rules,
    rulesMark: Mark,
    policy: Policy,
    authorization: string,
    token: CachedToken,
    observe?: Observe<OutcomeStep>,
  ): PolicyOutcome {
    if (token.rulesMark !== rulesMark) {
      token.rulesMark = rulesMark
      clearOutcomes(token)
    }
    const outcome = createOutcome(policy, token, rules.headerSet, observe)
    cache.addOutcome(authorization, token, policy.name, outcome)
    return outcome
  }

  /** The revocation of a token, looked up once for each list of revocations. */
  function findRevoked(
    list: RevocationList,
    token: CachedToken,
    nowMs: number,
  ): Pick<Refusal, 'failure' | 'claims'> | undefined {
    const listMark = markList(list)
    if (token.listMark !== listMark) {
      token.listMark = listMark
      token.revocations = findRevocations(list, token.claims, token.key.id)
    }
    const revoked = token.revocations.find(({ until }) => until > nowMs / 1000)
    if (!revoked) return undefined
    const { failure, signInAfter } = revoked
    return signInAfter === undefined ? { failure } : { failure, claims: askForSignIn(signInAfter) }
  }

  /** Verifies a token of which at most the signature is known. */
  async function verifyWhole(
    rules: Rules,
    policy: Policy,
    { authorization, cacheKey, token, engine }: Credentials,
    observe?: Observe<VerifyStep>,
  ): Promise<Verdict> {
    let tried: Key | undefined
    const noting: SignatureEngine = {
      verify(key, text) {
        tried = key
        return engine.verify(key, text)
      },
    }
    const verified = await verifyToken(token, rules.authorities, noting, observe)
    if (verified.ok) {
      const cached = cache.set(cacheKey, authorization, verified.value)
      return judge(rules, policy, authorization, cached, observe)
    }
    if (verified.failure === 'signature_invalid' && tried) {
      cache.setFailure(cacheKey, { failure: verified.failure, key: tried })
    }
    return { allow: false, failure: verified.failure }
  }

  return {
    verify(rules, policy, request, observe) {
      const { authorization = '' } = request
      const misuse = findMisuse(request)
      // The same header again says the same, so nothing in it is read a second time.
      const recent = misuse ? undefined : cache.getRecent(authorization)
      if (recent) return judge(rules, policy, authorization, recent, observe)
      const bearer = misuse ? fail(misuse) : parseBearer(request.authorization)
      observe?.('credentials', bearer.ok ? undefined : bearer.failure)
      if (!bearer.ok) return { allow: false, failure: bearer.failure }
      const cacheKey = cache.keyOf(bearer.value)
      const signed = cache.getSigned(cacheKey)
      const failed = signed ? undefined : cache.getFailure(cacheKey)
      if (failed) return { allow: false, failure: failed.failure }
      const engine = signed ? trusting(signed.key, context.engine) : context.engine
      const credentials = { authorization, cacheKey, token: bearer.value, engine }
      return verifyWhole(rules, policy, credentials, observe)
    },
  }
}

/** A token with where it comes from and who verifies its signature. */
interface Credentials {
  readonly authorization: string
  readonly cacheKey: string
  readonly token: string
  readonly engine: SignatureEngine
}

/** An engine for a token that `knownKey` is known to have signed; any other key is asked. */
function trusting(knownKey: Key, engine: SignatureEngine): SignatureEngine {
  return {
    verify: async (key, token) => key === knownKey || engine.verify(key, token),
  }
}

/** Requests whose header is not even looked at. */
function findMisuse(request: VerifyRequest): FailureCode | undefined {
  if (request.hasBody) return 'body_not_allowed'
  return request.ambiguous ? 'ambiguous_credentials' : undefined
}

/** Policies that a token is noted with, 100,000 times at most. A policy before these is seen for the first time again. */
const maxAdmittedBy = 20

/** Claims for the audit, unless this policy has admitted the token before; it has from now on. */
function firstSightOf({ name }: Policy, { claims, signed }: CachedToken): AccessToken | undefined {
  const { admittedBy } = signed
  if (admittedBy.includes(name)) return undefined
  signed.admittedBy =
    admittedBy.length === 0 ? listOf(name) : [...admittedBy.slice(1 - maxAdmittedBy), name]
  return claims
}

const lists = new Map<string, readonly string[]>()

/** A list of one policy, the same for all tokens: 100,000 lists would take 6 MB. */
function listOf(policyName: string): readonly string[] {
  let list = lists.get(policyName)
  if (!list) {
    list = [policyName]
    lists.set(policyName, list)
  }
  return list
}

/** Claims challenge for a token from a sign-in after that time (s), as Entra understands it. */
function askForSignIn(after: number): string {
  const claims = { access_token: { nbf: { essential: true, value: String(after) } } }
  return Buffer.from(JSON.stringify(claims)).toString('base64')
}

/** For how long a verdict on a token may be used, in whole seconds. */
function longestUse(
  { claims, key }: CachedToken,
  nowMs: number,
  elapsedMs: number,
  clockSkewSeconds: number,
): number {
  const untilExpiry = claims.expiresAt + clockSkewSeconds - nowMs / 1000
  const untilUnconfirmed = (key.lastSeenMs + unconfirmedAfterMs - elapsedMs) / 1000
  return Math.max(0, Math.floor(Math.min(untilExpiry, untilUnconfirmed)))
}
