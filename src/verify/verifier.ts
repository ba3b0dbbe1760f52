import { type FailureCode, fail, type Observe } from '../failure.ts'
import { isUsable, unconfirmedAfterMs } from '../keys/keyring.ts'
import type { Policy } from '../policy/compile.ts'
import { findRevocations, type RevocationList } from '../revocation/revocation-list.ts'
import { parseBearer } from '../token/bearer.ts'
import { type AccessToken, checkTimes } from '../token/claims.ts'
import type { SignatureEngine } from '../token/signature.ts'
import { type TokenStep, tokenSteps, verifyToken } from '../token/verify-token.ts'
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
import type { CachedToken, TokenCache } from './token-cache.ts'

/** The answer to one request. */
export type Verdict =
  | { readonly allow: true; readonly allowance: Allowance; readonly maxAgeSeconds: number }
  | (Refusal & {
      /** Claims for the log; only of a token whose signature was verified. */
      readonly token?: AccessToken
    })

/** What a verdict depends on, besides the request and the rules. */
export interface VerifierContext {
  readonly clock: () => number
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
  const { cache, clock } = context

  function judge(
    rules: Rules,
    policy: Policy,
    authorization: string,
    token: CachedToken,
    observe?: Observe<VerifyStep>,
  ): Verdict {
    const nowMs = clock()
    const failure = checkStillGood(token, nowMs, rules.clockSkewSeconds)
    observe?.('validity', failure)
    if (failure) {
      cache.delete(token.cacheKey, authorization)
      return { allow: false, failure, token: token.claims }
    }
    const revoked = revocationOf(context.revocations(), token, nowMs)
    observe?.('revocation', revoked?.failure)
    if (revoked) return { allow: false, ...revoked, token: token.claims }
    const outcome = outcomeOf(rules, policy, token, observe)
    if (!outcome.allow) return { ...outcome, token: token.claims }
    const maxAgeSeconds = maxAge(policy, token, nowMs, rules.clockSkewSeconds)
    return { allow: true, allowance: outcome, maxAgeSeconds }
  }

  async function verifyNew(
    rules: Rules,
    policy: Policy,
    authorization: string,
    token: string,
    cacheKey: string,
    observe?: Observe<VerifyStep>,
  ): Promise<Verdict> {
    const verified = await verifyToken(token, rules.authorities, context.engine, observe)
    if (verified.ok) {
      const cached = cache.set(cacheKey, authorization, verified.value)
      return judge(rules, policy, authorization, cached, observe)
    }
    if (verified.failure === 'signature_invalid') cache.setFailure(cacheKey, verified.failure)
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
      const cached = cache.get(cacheKey, authorization)
      if (cached) return judge(rules, policy, authorization, cached, observe)
      const failure = cache.getFailure(cacheKey)
      if (failure) return { allow: false, failure }
      return verifyNew(rules, policy, authorization, bearer.value, cacheKey, observe)
    },
  }
}

/** Requests whose header is not even looked at. */
function findMisuse(request: VerifyRequest): FailureCode | undefined {
  if (request.hasBody) return 'body_not_allowed'
  return request.ambiguous ? 'ambiguous_credentials' : undefined
}

/** The outcome of a policy, worked out at the first request with this token under these rules. */
function outcomeOf(
  rules: Rules,
  policy: Policy,
  token: CachedToken,
  observe?: Observe<OutcomeStep>,
): PolicyOutcome {
  if (token.rules !== rules || !token.outcomes) {
    token.rules = rules
    token.outcomes = new Map()
  }
  let outcome = token.outcomes.get(policy)
  if (!outcome) {
    outcome = createOutcome(policy, token, rules.headerSet, observe)
    token.outcomes.set(policy, outcome)
  }
  return outcome
}

/** The revocation of a token, looked up once for each list of revocations. */
function revocationOf(
  list: RevocationList,
  token: CachedToken,
  nowMs: number,
): Pick<Refusal, 'failure' | 'claims'> | undefined {
  if (token.revocationList !== list) {
    token.revocationList = list
    token.revocations = findRevocations(list, token.claims, token.key.id)
  }
  const revoked = token.revocations.find(({ until }) => until > nowMs / 1000)
  if (!revoked) return undefined
  const { failure, signInAfter } = revoked
  return signInAfter === undefined ? { failure } : { failure, claims: askForSignIn(signInAfter) }
}

/** Claims challenge for a token from a sign-in after that time (s), as Entra understands it. */
function askForSignIn(after: number): string {
  const claims = { access_token: { nbf: { essential: true, value: String(after) } } }
  return Buffer.from(JSON.stringify(claims)).toString('base64')
}

/** What may have changed since the token was verified: the time and its key. */
function checkStillGood(
  { claims, key }: CachedToken,
  nowMs: number,
  clockSkewSeconds: number,
): FailureCode | undefined {
  const failure = checkTimes(claims, nowMs / 1000, clockSkewSeconds)
  if (failure) return failure
  if (key.withdrawn) return 'key_withdrawn'
  return isUsable(key, nowMs) ? undefined : 'key_unconfirmed'
}

function maxAge(
  policy: Policy,
  { claims, key }: CachedToken,
  nowMs: number,
  clockSkewSeconds: number,
): number {
  const untilExpiry = claims.expiresAt + clockSkewSeconds - nowMs / 1000
  const untilUnconfirmed = (key.lastSeenMs + unconfirmedAfterMs - nowMs) / 1000
  return Math.max(0, Math.floor(Math.min(untilExpiry, untilUnconfirmed, policy.cacheSeconds)))
}
