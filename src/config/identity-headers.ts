import type { IdentityHeaderSet } from './config.ts'
import { defaults } from './defaults.ts'
import { formatPath, type Path, type Report } from './problems.ts'
import { HEADER_CLAIMS, HEADER_SETS } from './schema.ts'
import { entriesOf, mappingOf, textOf } from './values.ts'

// Headers that steer the connection or the request itself (RFC 9110 section 7.6.1 and what proxies
// treat alike), or that carry credentials: an identity value in one of them changes the request.
const RESERVED_HEADERS = new Set([
  'authorization',
  'connection',
  'content-length',
  'content-type',
  'cookie',
  'expect',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Checks `identityHeaders`; anything unreadable yields the default set, the schema reports it. */
export function checkIdentityHeaders(value: unknown, report: Report): IdentityHeaderSet {
  if (mappingOf(value) === undefined) {
    return HEADER_SETS.find((name) => name === value) ?? defaults.identityHeaders
  }
  const claims = new Set<unknown>(HEADER_CLAIMS)
  const firstWithName = new Map<string, string>()
  const headers: [string, string][] = []
  for (const [name, claim] of entriesOf(value)) {
    const path: Path = ['identityHeaders', name]
    // CGI, WSGI and many frameworks read X-User and X_User as one variable.
    const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '-')
    const earlier = firstWithName.get(plain)
    if (earlier !== undefined) {
      report(
        path,
        `is the same header as ${formatPath(['identityHeaders', earlier])} to many applications`,
        'Keep one of them.',
      )
    } else firstWithName.set(plain, name)
    if (RESERVED_HEADERS.has(plain) || plain.startsWith('x-entra-auth-')) {
      report(path, 'is a header with a meaning of its own', 'Choose another name, such as X-User.')
    }
    if (!claims.has(claim)) {
      // The value is not shown: who takes this for a static header may have written a secret.
      report(
        path,
        'does not name a claim that can become a header',
        `Write one of ${HEADER_CLAIMS.join(', ')}.`,
      )
    }
    headers.push([name, textOf(claim) ?? ''])
  }
  return Object.fromEntries(headers)
}
