import type { CachedToken } from './token-cache.ts'

/** Tokens of the last requests, found by the header that brought them, as long as there is room. */
export interface RecentTokens {
  get(authorization: string): CachedToken | undefined
  set(authorization: string, token: CachedToken): void
  /** Counts what a token that was just got or set has grown by. */
  grow(authorization: string, token: CachedToken, bytes: number): void
  delete(authorization: string): void
}

/** Of each of the two generations. A usual token takes some 7 KB with its outcome and both its replies. */
const maxTokens = 2_000
/** What a generation holds, about: its headers, their claims, and what each policy said of them. */
const maxBytes = 16 * 1024 * 1024

/** Characters of a signature that find an entry; the whole header decides whether it is the one. */
const handleLength = 16

interface Entry {
  readonly authorization: string
  readonly token: CachedToken
}

/**
 * Creates an empty store. A hit saves reading and hashing the token again. There are two
 * generations: a full one becomes the old one, and tokens that are used again move to the new one.
 * That is cheaper per use than an LRU list. Only verified tokens are stored, so nobody without the
 * authority's key can choose which tokens share an entry.
 */
export function createRecentTokens(): RecentTokens {
  let young = new Map<string, Entry>()
  let old = new Map<string, Entry>()
  let bytes = 0

  function add(handle: string, entry: Entry): void {
    if (young.size >= maxTokens || bytes >= maxBytes) {
      old = young
      young = new Map()
      bytes = 0
    }
    young.set(handle, entry)
    // Its claims take about as much again.
    bytes += 2 * entry.authorization.length + entry.token.outcomeBytes
  }

  return {
    get(authorization) {
      const handle = authorization.slice(-handleLength)
      let entry = young.get(handle)
      if (!entry) {
        entry = old.get(handle)
        if (entry) {
          old.delete(handle)
          add(handle, entry)
        }
      }
      return entry?.authorization === authorization ? entry.token : undefined
    },
    set(authorization, token) {
      const handle = authorization.slice(-handleLength)
      old.delete(handle)
      add(handle, { authorization, token })
    },
    grow(authorization, token, more) {
      if (young.get(authorization.slice(-handleLength))?.token === token) bytes += more
    },
    delete(authorization) {
      const handle = authorization.slice(-handleLength)
      young.delete(handle)
      old.delete(handle)
    },
  }
}
