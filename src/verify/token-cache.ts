import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { FailureCode } from '../failure.ts'
import type { Policy } from '../policy/compile.ts'
import type { RevocationList, RevokedToken } from '../revocation/revocation-list.ts'
import type { VerifiedToken } from '../token/verify-token.ts'
import type { PolicyOutcome } from './outcome.ts'
import { createRecentTokens } from './recent-tokens.ts'
import type { Rules } from './rules.ts'

/** A verified token with what each policy said of it. */
export interface CachedToken extends VerifiedToken {
  readonly cacheKey: string
  /** The rules that the outcomes come from; under other rules none of them counts. */
  rules: Rules | undefined
  /** Undefined for a token that is not recent: they are half of its memory, and soon made again. */
  outcomes: Map<Policy, PolicyOutcome> | undefined
  /** The list that `revocations` were looked up in. */
  revocationList: RevocationList | undefined
  revocations: readonly RevokedToken[]
}

/**
 * Tokens that were verified before, and a few that failed. Both are bounded, and apart: a flood of
 * forged tokens pushes out no good one. Keyed by a hash of the whole token, so no token is kept,
 * and no two tokens that differ in a single bit share an entry.
 */
export interface TokenCache {
  /** The token of an `Authorization` header that was verified a short while ago. */
  getRecent(authorization: string): CachedToken | undefined
  keyOf(token: string): string
  get(key: string, authorization: string): CachedToken | undefined
  getFailure(key: string): FailureCode | undefined
  set(key: string, authorization: string, token: VerifiedToken): CachedToken
  /** Remembers a wrong signature for some seconds: finding it out is the dear part. */
  setFailure(key: string, failure: FailureCode): void
  delete(key: string, authorization: string): void
  readonly size: number
  /** How often a token was found, and how often not, since the start. */
  readonly hits: number
  readonly misses: number
}

const maxTokens = 100_000
/** Counted as token length plus a fixed part: near enough to bound the memory. */
const maxBytes = 160 * 1024 * 1024
const fixedBytes = 512
const maxFailures = 5_000
const failureTtlMs = 10_000

/** A cache that keeps nothing, for a verification of which each step is to be seen. */
export const noTokenCache: TokenCache = {
  getRecent: () => undefined,
  keyOf: () => '',
  get: () => undefined,
  getFailure: () => undefined,
  set: (key, _authorization, token) => createCachedToken(key, token),
  setFailure() {},
  delete() {},
  size: 0,
  hits: 0,
  misses: 0,
}

/** Creates an empty cache. */
export function createTokenCache(): TokenCache {
  const tokens = new LRUCache<string, CachedToken>({ max: maxTokens, maxSize: maxBytes })
  const failures = new LRUCache<string, FailureCode>({ max: maxFailures, ttl: failureTtlMs })
  const recent = createRecentTokens()
  let hits = 0
  let misses = 0
  return {
    keyOf: (token) => hash('sha256', token, 'base64'),
    getRecent(authorization) {
      const token = recent.get(authorization)
      if (token) hits++
      return token
    },
    get(key, authorization) {
      const token = tokens.get(key)
      if (token) {
        hits++
        recent.set(authorization, token)
      } else misses++
      return token
    },
    getFailure: (key) => failures.get(key),
    set(key, authorization, token) {
      const cached = createCachedToken(key, token)
      tokens.set(key, cached, { size: authorization.length + fixedBytes })
      recent.set(authorization, cached)
      return cached
    },
    setFailure: (key, failure) => void failures.set(key, failure),
    delete(key, authorization) {
      tokens.delete(key)
      recent.delete(authorization)
    },
    get size() {
      return tokens.size
    },
    get hits() {
      return hits
    },
    get misses() {
      return misses
    },
  }
}

const noRevocations: readonly RevokedToken[] = []

function createCachedToken(cacheKey: string, { claims, key }: VerifiedToken): CachedToken {
  return {
    cacheKey,
    claims,
    key,
    rules: undefined,
    outcomes: undefined,
    revocationList: undefined,
    revocations: noRevocations,
  }
}
