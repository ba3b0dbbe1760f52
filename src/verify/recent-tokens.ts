import type { CachedToken } from './token-cache.ts'

/** Tokens of the last requests, found by the header that brought them, as long as there is room. */
export interface RecentTokens {
  get(authorization: string): CachedToken | undefined
  set(authorization: string, token: CachedToken): void
  delete(authorization: string): void
}

/** Some 5 MB with tokens and replies of usual size, 25 at most. */
const maxRecent = 1_000

/** Characters of a signature that find an entry; the whole header decides whether it is the one. */
const handleLength = 16

/**
 * Creates an empty store. It saves a token's hash, a tenth of a hit's time, and tells for which
 * tokens outcomes and replies are worth their memory. Only verified tokens come in here, so nobody
 * without the authority's key can choose what shares an entry.
 */
export function createRecentTokens(): RecentTokens {
  const recent = new Map<string, { readonly authorization: string; readonly token: CachedToken }>()
  return {
    get(authorization) {
      const entry = recent.get(authorization.slice(-handleLength))
      return entry?.authorization === authorization ? entry.token : undefined
    },
    set(authorization, token) {
      const handle = authorization.slice(-handleLength)
      const former = recent.get(handle)?.token
      if (former && former !== token) former.outcomes = undefined
      if (recent.size >= maxRecent) {
        // All at once: whatever is still in use comes back with its next request.
        for (const entry of recent.values()) entry.token.outcomes = undefined
        recent.clear()
      }
      recent.set(handle, { authorization, token })
    },
    delete: (authorization) => void recent.delete(authorization.slice(-handleLength)),
  }
}
