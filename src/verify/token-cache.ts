import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { FailureCode } from '../failure.ts'
import type { Policy } from '../policy/compile.ts'
import type { RevocationList, RevokedToken } from '../revocation/revocation-list.ts'
import type { VerifiedToken } from '../token/verify-token.ts'
import type { PolicyOutcome } from './outcome.ts'
import type { Rules } from './rules.ts'

/** A verified token with what each policy said of it. */
export interface CachedToken extends VerifiedToken {
  /** The rules that the outcomes come from; under other rules none of them counts. */
  rules: Rules | undefined
  readonly outcomes: Map<Policy, PolicyOutcome>
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
  keyOf(token: string): string
  get(key: string): CachedToken | undefined
  getFailure(key: string): FailureCode | undefined
  set(key: string, token: VerifiedToken, tokenLength: number): CachedToken
  /** Remembers a wrong signature for some seconds: finding it out is the dear part. */
  setFailure(key: string, failure: FailureCode): void
  delete(key: string): void
  readonly size: number
  /** How often a token was found, and how often not, since the start. */
  readonly hits: number
  readonly misses: number
  /** How many tokens made room for others. */
  readonly evictions: number
}

const maxTokens = 100_000
/** Counted as token length plus a fixed part: near enough to bound the memory. */
const maxBytes = 160 * 1024 * 1024
const fixedBytes = 512
const maxFailures = 5_000
const failureTtlMs = 10_000

/** A cache that keeps nothing, for a verification of which each step is to be seen. */
export const noTokenCache: TokenCache = {
  keyOf: () => '',
  get: () => undefined,
  getFailure: () => undefined,
  set: (_key, token) => createCachedToken(token),
  setFailure() {},
  delete() {},
  size: 0,
  hits: 0,
  misses: 0,
  evictions: 0,
}

/** Creates an empty cache. */
export function createTokenCache(): TokenCache {
  let evictions = 0
  const tokens = new LRUCache<string, CachedToken>({
    max: maxTokens,
    maxSize: maxBytes,
    dispose(_token, _key, reason) {
      if (reason === 'evict') evictions++
    },
  })
  const failures = new LRUCache<string, FailureCode>({ max: maxFailures, ttl: failureTtlMs })
  let hits = 0
  let misses = 0
  return {
    keyOf: (token) => hash('sha256', token, 'base64'),
    get(key) {
      const token = tokens.get(key)
      if (token) hits++
      else misses++
      return token
    },
    getFailure: (key) => failures.get(key),
    set(key, token, tokenLength) {
      const cached = createCachedToken(token)
      tokens.set(key, cached, { size: tokenLength + fixedBytes })
      return cached
    },
    setFailure: (key, failure) => void failures.set(key, failure),
    delete: (key) => void tokens.delete(key),
    get size() {
      return tokens.size
    },
    get hits() {
      return hits
    },
    get misses() {
      return misses
    },
    get evictions() {
      return evictions
    },
  }
}

function createCachedToken({ claims, key }: VerifiedToken): CachedToken {
  return {
    claims,
    key,
    rules: undefined,
    outcomes: new Map(),
    revocationList: undefined,
    revocations: [],
  }
}
