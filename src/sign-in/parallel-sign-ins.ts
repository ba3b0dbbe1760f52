import { LRUCache } from 'lru-cache'
import type { Session } from '../session/session.ts'
import type { LoginState } from './login.ts'

/** The sessions that browsers have just got, by the login that their sign-in belongs to. */
export interface ParallelSignIns {
  /** Notes a session that a sign-in has made. */
  add(state: LoginState, session: Session): void
  /** The session that another tab got while this sign-in was under way; undefined where there is none. */
  find(state: LoginState): Session | undefined
}

/** At about 1 KB each, 2 MB. */
const maxKnown = 2_000

/**
 * Creates the memory. Tabs that sign in at the same time each get an answer of Entra, and the browser
 * keeps the cookie that comes last. They share one session id, so that a sign-out ends all of these
 * cookies. Only this replica knows them.
 */
export function createParallelSignIns(): ParallelSignIns {
  const recent = new LRUCache<string, Session>({ max: maxKnown })
  return {
    add: ({ binding }, session) => void recent.set(binding, session),
    find({ binding, startedAt }) {
      const session = recent.get(binding)
      // A sign-in that began afterwards is another one, and has a session of its own.
      return session && startedAt < session.signedInAt ? session : undefined
    },
  }
}
