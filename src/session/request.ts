import { readCookies, sessionCookie } from './cookie.ts'
import { valuesOf } from './header-values.ts'

/** What of a request counts for a session; nothing else is looked at for it. */
export interface SessionRequest {
  /** Value of the one session cookie; undefined where there is none, or more than one. */
  readonly cookie: string | undefined
  /** Value of the one `X-Forwarded-Host`. */
  readonly host: string | undefined
}

/**
 * Reads Node's list of names and values as they came. `X-Entra-Auth-Session` counts where it is there,
 * since the action in HAProxy sends it and has looked for a second cookie itself.
 */
export function readSessionRequest(rawHeaders: readonly string[]): SessionRequest {
  const named = valuesOf(rawHeaders, 'x-entra-auth-session')
  const cookies = named.length > 0 ? named : readCookies(rawHeaders, sessionCookie)
  const hosts = valuesOf(rawHeaders, 'x-forwarded-host')
  return { cookie: only(cookies), host: only(hosts) }
}

/** With two, it is unclear which one the browser meant and which one was injected. */
function only(values: readonly string[]): string | undefined {
  return values.length === 1 ? values[0] : undefined
}
