import type { IdentityHeaderSet } from '../config/config.ts'
import { createHeaderSet } from '../identity/headers.ts'

/** Answers of the verifier and its caller key: no client may send one of them. */
const entraPattern = '^x[^a-z0-9]entra[^a-z0-9]auth'

// Each covers a whole family, so that a header which a later version adds is stripped already.
const familyPatterns = {
  'x-auth-request': '^x[^a-z0-9]auth[^a-z0-9]request',
  'remote-user': '^remote[^a-z0-9]',
  'app-service': '^x[^a-z0-9]ms[^a-z0-9](client[^a-z0-9]principal|token)',
} as const

/** Applications written for App Service read these too, though the verifier sends none of them. */
const appServiceTokens = ['X-MS-TOKEN-AAD-ID-TOKEN', 'X-MS-TOKEN-AAD-ACCESS-TOKEN']

/**
 * Regular expressions for `http-request del-header … -m reg` that remove what a client sends under
 * a name of this header set, in any spelling: to CGI, WSGI and many frameworks `X_User`, `X.User`
 * and `X-User` are one name. HAProxy matches them against names in lower case.
 */
export function stripPatterns(set: IdentityHeaderSet): string[] {
  const own = typeof set === 'string' ? [familyPatterns[set]] : Object.keys(set).map(exactPattern)
  return [...new Set([...own, entraPattern])]
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

function exactPattern(name: string): string {
  return `^${name.toLowerCase().replace(/[^a-z0-9]/g, '[^a-z0-9]')}$`
}
