/** The cookie of a session, and of a sign-in under way. `__Host-` keeps other hosts from setting them (RFC 6265bis section 4.1.3). */
export const sessionCookie = '__Host-entra-session'
export const loginCookie = '__Host-entra-login'

/**
 * The values of all cookies of this name, from each `Cookie` line of Node's list of names and values as
 * they came. Not decoded and not unquoted: ours need neither, and another spelling of a value is another
 * value.
 *
 * A cookie that is not written as browsers write it (RFC 6265 section 4.2.1) has the value '', so it never
 * counts, and makes another one ambiguous. Programs disagree about such names: behind a comma, the name
 * may be part of a value that another host has set. Proxies remove the name only as browsers write it.
 */
export function readCookies(rawHeaders: readonly string[], name: string): readonly string[] {
  const pattern = new RegExp(`(?:(^|; *)|(?<![\\w-]))${name}([ \\t]*)=([^;]*)`, 'g')
  const values: string[] = []
  rawHeaders.forEach((header, i) => {
    if (i % 2 === 1 || header.toLowerCase() !== 'cookie') return
    for (const [, before, blanks, value = ''] of String(rawHeaders[i + 1]).matchAll(pattern)) {
      values.push(before !== undefined && blanks === '' ? value : '')
    }
  })
  return values
}
