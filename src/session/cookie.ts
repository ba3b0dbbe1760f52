/** The cookie of a session, and of a sign-in under way. `__Host-` keeps other hosts from setting them (RFC 6265bis section 4.1.3). */
export const sessionCookie = '__Host-entra-session'
export const loginCookie = '__Host-entra-login'

/**
 * The values of all cookies of exactly this name (RFC 6265 section 5.4), from each `Cookie` line of
 * Node's list of names and values as they came. Not decoded and not unquoted: ours need neither, and
 * another spelling of a value is another value.
 */
export function readCookies(rawHeaders: readonly string[], name: string): readonly string[] {
  const values: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.toLowerCase() !== 'cookie') continue
    for (const pair of String(rawHeaders[i + 1]).split(';')) {
      const at = pair.indexOf('=')
      if (at > 0 && trim(pair.slice(0, at)) === name) values.push(trim(pair.slice(at + 1)))
    }
  }
  return values
}

/**
 * Removes spaces and tabs at both ends. `String.trim` removes more, such as the byte A0. For the
 * browser, a name that starts with that byte has no `__Host-` prefix, so another host could set it.
 */
function trim(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, '')
}
