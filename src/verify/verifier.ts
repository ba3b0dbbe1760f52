import type { FailureCode } from '../failure.ts'
import type { HeaderSet } from '../identity/headers.ts'
import type { Authorities } from '../keys/authority.ts'
import { isUsable, unconfirmedAfterMs } from '../keys/keyring.ts'
import type { Policy } from '../policy/compile.ts'
import { parseBearer } from '../token/bearer.ts'
import { type AccessToken, checkTimes } from '../token/claims.ts'
import type { SignatureEngine } from '../token/signature.ts'
import { verifyToken } from '../token/verify-token.ts'
import { createOutcome, type Refusal } from './outcome.ts'
import type { VerifyRequest } from './request.ts'
import type { CachedToken, TokenCache } from './token-cache.ts'

/** The answer to one request. */
export type Verdict =
  | { readonly allow: true; readonly headers: readonly string[]; readonly maxAgeSeconds: number }
  | (Refusal & {
      /** Claims for the log; only of a token whose signature was verified. */
      readonly token?: AccessToken
    })

/** Everything that a verdict depends on, besides the request. */
export interface VerifierContext {
  readonly authorities: Authorities
  readonly policies: ReadonlyMap<string, Policy>
  readonly headerSet: HeaderSet
  readonly clockSkewSeconds: number
  readonly clock: () => number
  readonly engine: SignatureEngine
  readonly cache: TokenCache
}

/** Answers whether a policy admits the bearer of a request's token. */
export interface Verifier {
  /** At once where the token is known, else as a promise. Never throws for bad input. */
  verify(policy: Policy, request: VerifyRequest): Verdict | Promise<Verdict>
}

/** Creates the verifier. */
export function createVerifier(context: VerifierContext): Verifier {
  const { cache, clock } = context

  function judge(policy: Policy, cacheKey: string, token: CachedToken): Verdict {
    const nowMs = clock()
    const failure = checkStillGood(token, nowMs)
    if (failure) {
      cache.delete(cacheKey)
      return { allow: false, failure, token: token.claims }
    }
    let outcome = token.outcomes.get(policy)
    if (!outcome) {
      outcome = createOutcome(policy, token, context.headerSet)
      token.outcomes.set(policy, outcome)
    }
    if (!outcome.allow) return { ...outcome, token: token.claims }
    return { allow: true, headers: outcome.headers, maxAgeSeconds: maxAge(policy, token, nowMs) }
  }

  /** What may have changed since the token was verified: the time and its key. */
  function checkStillGood({ claims, key }: CachedToken, nowMs: number): FailureCode | undefined {
    const failure = checkTimes(claims, nowMs / 1000, context.clockSkewSeconds)
    if (failure) return failure
    if (key.withdrawn) return 'key_withdrawn'
    return isUsable(key, nowMs) ? undefined : 'key_unconfirmed'
  }

  function maxAge(policy: Policy, { claims, key }: CachedToken, nowMs: number): number {
    const untilExpiry = claims.expiresAt + context.clockSkewSeconds - nowMs / 1000
    const untilUnconfirmed = (key.lastSeenMs + unconfirmedAfterMs - nowMs) / 1000
    return Math.max(0, Math.floor(Math.min(untilExpiry, untilUnconfirmed, policy.cacheSeconds)))
  }

  async function verifyNew(policy: Policy, cacheKey: string, token: string): Promise<Verdict> {
    const verified = await verifyToken(token, context.authorities, context.engine)
    if (verified.ok) {
      return judge(policy, cacheKey, cache.set(cacheKey, verified.value, token.length))
    }
    if (verified.failure === 'signature_invalid') cache.setFailure(cacheKey, verified.failure)
    return { allow: false, failure: verified.failure }
  }

  return {
    verify(policy, request) {
      if (request.hasBody) return { allow: false, failure: 'body_not_allowed' }
      if (request.ambiguous) return { allow: false, failure: 'ambiguous_credentials' }
      const bearer = parseBearer(request.authorization)
      if (!bearer.ok) return { allow: false, failure: bearer.failure }
      const cacheKey = cache.keyOf(bearer.value)
      const cached = cache.get(cacheKey)
      if (cached) return judge(policy, cacheKey, cached)
      const failure = cache.getFailure(cacheKey)
      if (failure) return { allow: false, failure }
      return verifyNew(policy, cacheKey, bearer.value)
    },
  }
}
