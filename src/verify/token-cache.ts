import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { FailureCode } from '../failure.ts'
import type { Key } from '../keys/key.ts'
import type { RevokedToken } from '../revocation/revocation-list.ts'
import type { VerifiedToken } from '../token/verify-token.ts'
import type { Mark } from './mark.ts'
import type { PolicyOutcome } from './outcome.ts'
import { createRecentTokens } from './recent-tokens.ts'

/** What is kept of every token: that its signature was verified. */
export interface SignedToken {
  /** The key that verified it. */
  readonly key: Key
  /** Names of the policies that have admitted it last. */
  admittedBy: readonly string[]
  /** How many tokens had been read when this one last was. */
  readAt: number
}

/** A token whose signature was wrong, as long as the key counts that it was verified with. */
export interface FailedToken {
  readonly failure: FailureCode
  readonly key: Key
}

/** A verified token with what each policy said of it. */
export interface CachedToken extends VerifiedToken {
  readonly cacheKey: string
  readonly signed: SignedToken
  /** The mark of the rules that the outcomes come from; under other rules none of them counts. */
  rulesMark: Mark | undefined
  /** By the name of the policy. */
  readonly outcomes: Map<string, PolicyOutcome>
  /** What the outcomes take in memory, about, with their replies. */
  outcomeBytes: number
  /** The mark of the list that `revocations` were looked up in. */
  listMark: Mark | undefined
  revocations: readonly RevokedToken[]
}

/**
 * Cached tokens: two layers of verified ones, and a few that failed.
 *
 * The first layer has up to 100,000 tokens. It keeps only the key that verified the signature,
 * about 250 bytes each. The request brings the token again, and reading it costs a tenth of
 * verifying it. The key is a hash of the whole token, so two tokens that differ in a single bit
 * never share an entry. The second layer keeps everything about a token that was used twice within
 * some thousand others. It is found by the header that brings the token. Neither many new tokens
 * nor many rare ones push these out. Failures have a place of their own, so a flood of forged
 * tokens does not push them out either.
 *
 * An entry whose key is withdrawn or unconfirmed by now is no verdict but a miss: its key may be back.
 */
export interface TokenCache {
  /** The token of an `Authorization` header that came at least twice in a short while. */
  getRecent(authorization: string): CachedToken | undefined
  keyOf(token: string): string
  getSigned(cacheKey: string): SignedToken | undefined
  getFailure(cacheKey: string): FailedToken | undefined
  set(cacheKey: string, authorization: string, token: VerifiedToken): CachedToken
  /** Keeps what a policy said of the token of an `Authorization` header. */
  addOutcome(
    authorization: string,
    token: CachedToken,
    policyName: string,
    outcome: PolicyOutcome,
  ): void
  /** Remembers a wrong signature for some seconds: finding it out is the dear part. */
  setFailure(cacheKey: string, failed: FailedToken): void
  delete(cacheKey: string, authorization: string): void
  readonly size: number
  /** How often a token was found, and how often not, since the start. */
  readonly hits: number
  readonly misses: number
  /** How many tokens made room for others. */
  readonly evictions: number
}

const maxTokens = 100_000
/**
 * A token that comes again after more than so many others would leave the recent ones before its next
 * turn. To keep it all the same is work for nothing, and fills the heap with what has just been let go.
 */
const soon = 4_000
const maxFailures = 5_000
const failureTtlMs = 10_000

/**
 * Outcomes of one token, about 400 of usual size; beyond that it starts again. So the recent tokens take
 * some 35 MB at most, however many policies one token is used with.
 */
const maxOutcomeBytes = 1024 * 1024

/** A cache that keeps nothing, for a verification of which each step is to be seen. */
export const noTokenCache: TokenCache = {
  getRecent: () => undefined,
  keyOf: () => '',
  getSigned: () => undefined,
  getFailure: () => undefined,
  set: (cacheKey, _authorization, token) =>
    createCachedToken(cacheKey, token, createSignedToken(token, 0)),
  addOutcome() {},
  setFailure() {},
  delete() {},
  size: 0,
  hits: 0,
  misses: 0,
  evictions: 0,
}

/** Creates an empty cache; `isUsable` says whether a key may verify now. */
export function createTokenCache(isUsable: (key: Key) => boolean): TokenCache {
  let evictions = 0
  const signed = new LRUCache<string, SignedToken>({
    max: maxTokens,
    dispose(_token, _key, reason) {
      if (reason === 'evict') evictions++
    },
  })
  const failures = new LRUCache<string, FailedToken>({ max: maxFailures, ttl: failureTtlMs })
  const recent = createRecentTokens()
  let hits = 0
  let misses = 0
  let read = 0
  return {
    keyOf: (token) => hash('sha256', token, 'base64'),
    getRecent(authorization) {
      const token = recent.get(authorization)
      if (!token || !isUsable(token.key)) return undefined
      hits++
      return token
    },
    getSigned(cacheKey) {
      const token = signed.get(cacheKey)
      if (token && isUsable(token.key)) {
        hits++
        return token
      }
      misses++
      return undefined
    },
    getFailure(cacheKey) {
      const failed = failures.get(cacheKey)
      return failed && isUsable(failed.key) ? failed : undefined
    },
    set(cacheKey, authorization, token) {
      read++
      const known = signed.get(cacheKey)
      if (known?.key === token.key) {
        const cached = createCachedToken(cacheKey, token, known)
        if (read - known.readAt <= soon) recent.set(authorization, cached)
        known.readAt = read
        return cached
      }
      const fresh = createSignedToken(token, read)
      signed.set(cacheKey, fresh)
      return createCachedToken(cacheKey, token, fresh)
    },
    addOutcome(authorization, token, policyName, outcome) {
      const bytes = sizeOf(outcome)
      if (token.outcomeBytes + bytes > maxOutcomeBytes) clearOutcomes(token)
      token.outcomes.set(policyName, outcome)
      token.outcomeBytes += bytes
      recent.grow(authorization, token, bytes)
    },
    setFailure: (cacheKey, failed) => void failures.set(cacheKey, failed),
    delete(cacheKey, authorization) {
      signed.delete(cacheKey)
      recent.delete(authorization)
    },
    get size() {
      return signed.size
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

/** Forgets what policies said of a token. */
export function clearOutcomes(token: CachedToken): void {
  token.outcomes.clear()
  token.outcomeBytes = 0
}

/** Headers of an identity stand in memory as such, and in each of two replies. */
function sizeOf(outcome: PolicyOutcome): number {
  const headers = outcome.allow ? outcome.headers : []
  return 500 + 3 * headers.reduce((sum, text) => sum + text.length, 0)
}

const noPolicies: readonly string[] = []
const noRevocations: readonly RevokedToken[] = []

function createSignedToken({ key }: VerifiedToken, readAt: number): SignedToken {
  return { key, admittedBy: noPolicies, readAt }
}

function createCachedToken(
  cacheKey: string,
  { claims, key }: VerifiedToken,
  signed: SignedToken,
): CachedToken {
  return {
    cacheKey,
    claims,
    key,
    signed,
    rulesMark: undefined,
    outcomes: new Map(),
    outcomeBytes: 0,
    listMark: undefined,
    revocations: noRevocations,
  }
}
