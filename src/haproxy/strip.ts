import type { IdentityHeaderSet } from '../config/config.ts'
import { createHeaderSet } from '../identity/headers.ts'

/** Answers of the verifier and its caller key: no client may send one of them. */
const entraFamily = 'x-entra-auth'

// Each covers a whole family, so that a header which a later version adds is stripped already.
const families = {
  'x-auth-request': ['x-auth-request'],
  'remote-user': ['remote-'],
  'app-service': ['x-ms-client-principal', 'x-ms-token'],
} as const

/** Applications written for App Service read these too, though the verifier sends none of them. */
const appServiceTokens = ['X-MS-TOKEN-AAD-ID-TOKEN', 'X-MS-TOKEN-AAD-ACCESS-TOKEN']

/**
 * The lines of a frontend that remove headers of clients with a name of this header set, in any
 * spelling. CGI, WSGI and many frameworks read `X_User`, `X.User` and `X-User` as one name. The
 * option removes every header whose name has characters other than letters, digits and `-`. It runs
 * after all rules, so it would also remove such a header that the action sets. Names of your own
 * with other characters therefore get patterns instead. HAProxy compares names in lower case.
 */
export function stripLines(set: IdentityHeaderSet): string[] {
  const names = typeof set === 'string' ? [] : Object.keys(set).map((name) => name.toLowerCase())
  const prefixes = [...(typeof set === 'string' ? families[set] : []), entraFamily]
  if (names.some((name) => /[^a-z0-9-]/.test(name))) {
    const patterns = [...names.map((name) => `${anySpelling(name)}$`), ...prefixes.map(anySpelling)]
    return [...new Set(patterns)].map((pattern) => `http-request del-header ^${pattern} -m reg`)
  }
  return [
    'option http-restrict-req-hdr-names delete',
    ...names.map((name) => `http-request del-header ${name}`),
    ...prefixes.map((prefix) => `http-request del-header ${prefix} -m beg`),
  ]
}

function anySpelling(name: string): string {
  return name.replace(/[^a-z0-9]/g, '[^a-z0-9]')
}

/** The header names that an application behind HAProxy may take for the verifier's word. */
export function managedHeaders(set: IdentityHeaderSet): string[] {
  const own = typeof set === 'string' ? createHeaderSet(set).names : Object.keys(set)
  const more = set === 'app-service' ? appServiceTokens : []
  return [...own, ...more, 'X-Entra-Auth-User', 'X-Entra-Auth-Verdict', 'X-Entra-Auth-Key']
}

/** Spellings of a header name, in lower case, that some application reads as the same name. */
export function spellingsOf(name: string): string[] {
  const plain = name.toLowerCase()
  const withSeparator = (separator: string) => plain.replace(/[^a-z0-9]/g, separator)
  let separators = 0
  const mixed = plain.replace(/[^a-z0-9]/g, () => (separators++ % 2 === 0 ? '_' : '-'))
  return [...new Set([plain, withSeparator('-'), withSeparator('_'), withSeparator('.'), mixed])]
}
