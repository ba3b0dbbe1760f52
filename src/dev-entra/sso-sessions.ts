import { LRUCache } from 'lru-cache'
import type { Random } from './keys.ts'

/** A person who is signed in at dev-entra in one browser. */
export interface SsoAccount {
  /** Name of the persona. */
  readonly persona: string
  /** Session id, as the claim `sid` shows it. */
  readonly sid: string
  /** Whether a second factor was shown in this session. */
  multiFactor: boolean
  /** Authentication contexts that this session has satisfied. */
  readonly contexts: Set<string>
  /** Client ids that were signed in to, for front-channel sign-out. */
  readonly clients: Set<string>
}

/** What one browser has: its accounts by the name of the persona. */
export type SsoSession = Map<string, SsoAccount>

/** The sessions of all browsers. */
export interface SsoSessions {
  /** The session of a cookie header; undefined when there is none. */
  find(cookieHeader: string | undefined): SsoSession | undefined
  /** Begins a session and returns it with the value of `Set-Cookie`. */
  begin(): { session: SsoSession; setCookie: string }
  /** Adds an account, or finds the one that is there. */
  signIn(session: SsoSession, persona: string): SsoAccount
  /** Signs a persona out in every browser. */
  signOutEverywhere(persona: string): void
}

const cookieName = 'dev-entra-session'
const maxSessions = 1000

/** Creates the store of sessions; `isSecure` says whether cookies are for HTTPS only. */
export function createSsoSessions(random: Random, isSecure: () => boolean): SsoSessions {
  const sessions = new LRUCache<string, SsoSession>({ max: maxSessions })
  return {
    find(cookieHeader) {
      const [, id] = /(?:^|;\s*)dev-entra-session=([A-Za-z0-9_-]+)/.exec(cookieHeader ?? '') ?? []
      return id === undefined ? undefined : sessions.get(id)
    },
    begin() {
      const id = random(24).toString('base64url')
      const session: SsoSession = new Map()
      sessions.set(id, session)
      const secure = isSecure() ? '; Secure' : ''
      return {
        session,
        setCookie: `${cookieName}=${id}; Path=/; HttpOnly; SameSite=Lax${secure}`,
      }
    },
    signIn(session, persona) {
      const account = session.get(persona) ?? {
        persona,
        sid: formatGuid(random(16)),
        multiFactor: false,
        contexts: new Set(),
        clients: new Set(),
      }
      session.set(persona, account)
      return account
    },
    signOutEverywhere(persona) {
      for (const session of sessions.values()) session.delete(persona)
    },
  }
}

function formatGuid(bytes: Buffer): string {
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20)}`
}
