import { valuesOf } from './header-values.ts'

/** The cookie of a session, and of a sign-in under way. `__Host-` keeps other hosts from setting them (RFC 6265bis section 4.1.3). */
export const sessionCookie = '__Host-entra-session'
export const loginCookie = '__Host-entra-login'

/**
 * The values of all cookies of this name, from each `Cookie` line. Not decoded and not unquoted: ours need
 * neither, and another spelling of a value is another value.
 *
 * A cookie that is not written as browsers write it (RFC 6265 section 4.2.1) has the value '', so it never
 * counts, and makes another one ambiguous. Programs disagree about such names: behind a comma, the name
 * may be part of a value that another host has set. Proxies remove the name only as browsers write it.
 */
export function readCookies(rawHeaders: readonly string[], name: string): readonly string[] {
  const pattern = new RegExp(`(?:(^|; *)|(?<![\\w=-]))${name}([ \\t]*)=([^;]*)`, 'g')
  return valuesOf(rawHeaders, 'cookie').flatMap((line) =>
    Array.from(line.matchAll(pattern), ([, before, blanks, value]) =>
      before !== undefined && blanks === '' ? String(value) : '',
    ),
  )
}
