/** The identity that the application saw, read as carelessly as applications read it. */
import type { HeaderField } from './call.ts'

/** Identity headers that decide what somebody may do, without `x-auth-request-`. */
export const decisiveHeaders = [
  'user',
  'tenant',
  'actor',
  'client',
  'roles',
  'groups',
  'scopes',
] as const

/** Identity headers that are only shown or logged. */
const otherHeaders: readonly string[] = ['preferred-username', 'name', 'email', 'token-id']

/** Decisive identity headers; absent ones are an empty text. */
export type Identity = Readonly<Record<(typeof decisiveHeaders)[number], string>>

/** One request as the application saw it. */
export interface SeenIdentity {
  /** Several values of one header, in whatever spelling, are joined by a comma and a space. */
  readonly identity: Identity
  /** Headers that can be taken for identity and that nobody verified. */
  readonly foreign: readonly string[]
}

/**
 * Reads the identity headers of a request. `_`, `.` and `-` are one character to CGI, WSGI, PHP and
 * others, and a header that `Connection` names is dropped by a server that follows RFC 9110 7.6.1.
 */
export function readIdentity(headers: readonly HeaderField[]): SeenIdentity {
  const hopByHop = new Set(
    headers
      .filter(([name]) => name.toLowerCase() === 'connection')
      .flatMap(([, value]) => value.split(',').map((name) => name.trim().toLowerCase())),
  )
  const values = new Map<string, string[]>()
  const foreign: string[] = []
  for (const [name, value] of headers) {
    const alike = name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-')
    const kind = alike.startsWith('x-auth-request-') ? alike.slice('x-auth-request-'.length) : ''
    const isKnown = decisiveHeaders.some((known) => known === kind) || otherHeaders.includes(kind)
    if (kind === '' ? alike.startsWith('x-entra-auth-') : !isKnown || values.has(kind)) {
      foreign.push(name)
    }
    if (kind === '' || hopByHop.has(name.toLowerCase())) continue
    values.set(kind, [...(values.get(kind) ?? []), value])
  }
  const entries = decisiveHeaders.map((kind) => [kind, values.get(kind)?.join(', ') ?? ''])
  return { identity: Object.fromEntries(entries), foreign }
}
