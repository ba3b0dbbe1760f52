import { LRUCache } from 'lru-cache'
import { type CurrentSession, sealedHardEndOf } from '../session/read-session.ts'

/** What is known of a session of Entra's: who has it, and when the last cookie here with it ends (s). */
export interface EntraSession {
  readonly tenantId: string
  readonly userId: string
  readonly hardEnd: number
}

/** Entra's own sessions (`sid`) that a session here was seen with. */
export interface EntraSessions {
  /** Notes a session that counts. */
  see(session: CurrentSession): void
  /** Undefined for a `sid` that nobody here had, or that no session has any more. */
  find(sid: string, nowSeconds: number): EntraSession | undefined
}

/** At about 300 bytes each, 6 MB. Each needs a sign-in at Entra. */
const maxKnown = 20_000

/**
 * Creates the memory. Anybody can call the front channel with an id that is made up, and Entra's ids are
 * secrets: an id that is known here is no guess. A restart forgets them, and each session that is
 * verified is noted again.
 */
export function createEntraSessions(): EntraSessions {
  const known = new LRUCache<string, EntraSession>({ max: maxKnown })
  return {
    see(session) {
      const { entraSessionId: sid, tenantId, userId } = session
      if (sid === undefined) return
      const hardEnd = sealedHardEndOf(session)
      const former = known.get(sid)
      if (former && former.hardEnd >= hardEnd) return
      known.set(sid, { tenantId, userId, hardEnd })
    },
    find(sid, nowSeconds) {
      const found = known.get(sid)
      return found && found.hardEnd > nowSeconds ? found : undefined
    },
  }
}
