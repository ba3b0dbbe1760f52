import { type FailureCode, fail, pass, type Result } from '../failure.ts'
import { type ImportedKey, importKey, type Key, type KeyOwner } from './key.ts'

/** A key absent from every reply for this long is withdrawn: replies differ during a roll-over. */
const withdrawnAfterMs = 60 * 60 * 1000

/** A key that its authority did not confirm for this long is not used. */
export const unconfirmedAfterMs = 24 * 60 * 60 * 1000

const maxKeys = 100

/** One for all keyrings. */
const none: readonly never[] = []

/** What a key set changed. */
export interface MergeReport {
  readonly added: readonly string[]
  readonly withdrawn: readonly string[]
  readonly rejected: readonly { readonly id: string | undefined; readonly failure: FailureCode }[]
}

/** The keys of one issuer, merged from each reply of its key address. */
export interface Keyring {
  /** The key of this id; undefined where there is none, a failure where there is one not to use. */
  get(id: string, nowMs: number): Result<Key> | undefined
  /** Takes in a whole key set. One without a usable key changes nothing and throws. */
  merge(jwks: readonly unknown[], owner: KeyOwner, nowMs: number): MergeReport
  /** Takes in one key that was looked up by its id. */
  add(jwk: unknown, owner: KeyOwner, nowMs: number): void
  /** Ids of keys that were in use and are not any more, with the time of it (ms), since a time. */
  retiredSince(ms: number): readonly { readonly id: string; readonly atMs: number }[]
  /** Withdraws each key. */
  clear(nowMs: number): void
  readonly size: number
  /** Keys that were confirmed within a day. */
  countUsable(nowMs: number): number
}

/** A reply that holds no key to verify with. */
export class EmptyKeySetError extends Error {
  constructor(rejected: MergeReport['rejected']) {
    const reasons = [...new Set(rejected.map(({ failure }) => failure))].join(', ')
    super(
      rejected.length === 0
        ? 'the key set is empty'
        : `the key set has no usable key; ${rejected.length} rejected: ${reasons}`,
    )
  }
}

/** Creates an empty keyring. */
export function createKeyring(): Keyring {
  const keys = new Map<string, Key>()
  const unusable = new Map<string, FailureCode>()
  const retiredAt = new Map<string, number>()

  function remember(id: string, failure: FailureCode): void {
    keys.delete(id)
    unusable.delete(id)
    unusable.set(id, failure)
    const [oldest] = unusable.keys()
    if (unusable.size > maxKeys) unusable.delete(oldest as string)
  }

  function retire(key: Key, failure: FailureCode, nowMs: number): void {
    // Verdicts in the token cache hold the key itself, so they end with it.
    key.withdrawn = true
    remember(key.id, failure)
    noteRetired(key.id, nowMs)
  }

  function noteRetired(id: string, nowMs: number): void {
    for (const [known, atMs] of retiredAt) {
      if (nowMs - atMs >= withdrawnAfterMs) retiredAt.delete(known)
    }
    retiredAt.set(id, nowMs)
  }

  function put(imported: { id: string; pem: string }, nowMs: number): boolean {
    const known = keys.get(imported.id)
    if (known?.pem === imported.pem) {
      known.lastSeenMs = Math.max(known.lastSeenMs, nowMs)
      known.missingReplies = 0
      return false
    }
    if (known) {
      known.withdrawn = true
      noteRetired(known.id, nowMs)
    }
    if (!known && keys.size >= maxKeys) return false
    keys.set(imported.id, {
      ...imported,
      lastSeenMs: nowMs,
      missingReplies: 0,
      withdrawn: false,
    })
    return true
  }

  return {
    get size() {
      return keys.size
    },
    countUsable: (nowMs) => [...keys.values()].filter((key) => isConfirmed(key, nowMs)).length,
    // Nearly always there are none, and each thread of HAProxy asks for each tenant every second.
    retiredSince: (ms) =>
      retiredAt.size === 0
        ? none
        : [...retiredAt].filter(([, atMs]) => atMs >= ms).map(([id, atMs]) => ({ id, atMs })),
    clear(nowMs) {
      for (const key of keys.values()) retire(key, 'key_withdrawn', nowMs)
    },
    get(id, nowMs) {
      const key = keys.get(id)
      if (key) return isConfirmed(key, nowMs) ? pass(key) : fail('key_unconfirmed')
      const failure = unusable.get(id)
      return failure && fail(failure)
    },
    add(jwk, owner, nowMs) {
      const imported = importKey(jwk, owner)
      if ('pem' in imported) put(imported, nowMs)
      else if (imported.id !== undefined && !keys.has(imported.id)) {
        remember(imported.id, imported.failure)
      }
    },
    merge(jwks, owner, nowMs) {
      const imported = refuseAmbiguous(jwks.slice(0, maxKeys).map((jwk) => importKey(jwk, owner)))
      const usable = imported.filter((key) => 'pem' in key)
      const rejected = imported.filter((key) => 'failure' in key)
      if (usable.length === 0) throw new EmptyKeySetError(rejected)
      for (const { id, failure } of rejected) {
        if (id === undefined) continue
        const known = keys.get(id)
        if (known) retire(known, failure, nowMs)
        else remember(id, failure)
      }
      const added = usable.filter((key) => put(key, nowMs)).map((key) => key.id)
      const published = new Set(usable.map((key) => key.id))
      const missing = [...keys.values()].filter((key) => !published.has(key.id))
      for (const key of missing) key.missingReplies++
      const withdrawn = missing.filter((key) => isWithdrawn(key, nowMs))
      for (const key of withdrawn) retire(key, 'key_withdrawn', nowMs)
      return { added, withdrawn: withdrawn.map((key) => key.id), rejected }
    },
  }
}

/** Whether a key may verify now: published, and confirmed within a day. */
export function isUsable(key: Key, nowMs: number): boolean {
  return !key.withdrawn && isConfirmed(key, nowMs)
}

/** Two replies at least: after an outage a single one is no proof, since replies differ. */
function isWithdrawn(key: Key, nowMs: number): boolean {
  return key.missingReplies >= 2 && nowMs - key.lastSeenMs >= withdrawnAfterMs
}

function isConfirmed(key: Key, nowMs: number): boolean {
  return nowMs - key.lastSeenMs < unconfirmedAfterMs
}

/** Two keys with one id are ambiguous, so neither is used. */
function refuseAmbiguous(keys: readonly ImportedKey[]): readonly ImportedKey[] {
  // Usable keys only, and each of them has an id: a key without one is in neither.
  const pems = new Map<string | undefined, string>()
  const ambiguous = new Set<string | undefined>()
  for (const key of keys) {
    if (!('pem' in key)) continue
    if ((pems.get(key.id) ?? key.pem) !== key.pem) ambiguous.add(key.id)
    pems.set(key.id, key.pem)
  }
  return keys
    .filter((key) => 'pem' in key || !pems.has(key.id))
    .map((key) => (ambiguous.has(key.id) ? { id: key.id, failure: 'key_unusable' } : key))
}
