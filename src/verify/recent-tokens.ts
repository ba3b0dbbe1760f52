import type { CachedToken } from './token-cache.ts'

/** Tokens of the last requests, found by the header that brought them, as long as there is room. */
export interface RecentTokens {
  get(authorization: string): CachedToken | undefined
  set(authorization: string, token: CachedToken): void
  delete(authorization: string): void
}

/** Of each of the two generations. A usual token takes some 5 KB with its outcome and its reply. */
const maxTokens = 2_000
/** Characters of headers in a generation: with the largest tokens and identities some 25 MB. */
const maxCharacters = 8 * 1024 * 1024

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
  let characters = 0

  function add(handle: string, entry: Entry): void {
    if (young.size >= maxTokens || characters >= maxCharacters) {
      old = young
      young = new Map()
      characters = 0
    }
    young.set(handle, entry)
    characters += entry.authorization.length
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
    delete(authorization) {
      const handle = authorization.slice(-handleLength)
      young.delete(handle)
      old.delete(handle)
    },
  }
}
