import type { IdentityHeaderSet, NamedHeaderSet } from '../config/config.ts'
import type { AccessToken } from '../token/claims.ts'
import { encodeList, encodeValue } from './encode.ts'

/** Whom the application behind sees; header values are encoded from it. */
export interface Identity {
  readonly token: AccessToken
  /** The groups that may reach the application. */
  readonly groups: readonly string[]
}

/** A set of identity headers. */
export interface HeaderSet {
  readonly names: readonly string[]
  /** The names, comma separated, for `X-Entra-Auth-Headers`. */
  readonly list: string
  /** The values, in the order of `names`, empty where the token does not say. */
  values(identity: Identity): readonly string[]
}

/** Longest identity in its headers, names included, in bytes. */
export const maxIdentityBytes = 8 * 1024

type HeaderValue = (identity: Identity) => string

const xAuthRequest: Readonly<Record<string, HeaderValue>> = {
  'X-Auth-Request-User': ({ token }) => token.userId,
  'X-Auth-Request-Tenant': ({ token }) => token.tenantId,
  'X-Auth-Request-Actor': ({ token }) => token.actor,
  'X-Auth-Request-Client': ({ token }) => token.clientId,
  'X-Auth-Request-Preferred-Username': ({ token }) => encodeValue(token.preferredUsername ?? ''),
  'X-Auth-Request-Name': ({ token }) => encodeValue(token.name ?? ''),
  'X-Auth-Request-Email': ({ token }) => encodeValue(token.email ?? ''),
  'X-Auth-Request-Roles': ({ token }) => encodeList(token.roles, ','),
  'X-Auth-Request-Groups': ({ groups }) => encodeList(groups, ','),
  'X-Auth-Request-Scopes': ({ token }) => encodeList(token.scopes, ' '),
  'X-Auth-Request-Token-Id': ({ token }) => encodeValue(token.tokenId ?? ''),
}

const remoteUser: Readonly<Record<string, HeaderValue>> = {
  'Remote-User': ({ token }) => token.userId,
  'Remote-Name': ({ token }) => encodeValue(token.name ?? token.preferredUsername ?? ''),
  'Remote-Email': ({ token }) => encodeValue(token.email ?? ''),
  'Remote-Groups': ({ groups }) => encodeList(groups, ','),
}

/** What Azure App Service sends, so that code written for it runs unchanged behind HAProxy. */
const appService: Readonly<Record<string, HeaderValue>> = {
  'X-MS-CLIENT-PRINCIPAL': (identity) =>
    Buffer.from(JSON.stringify(clientPrincipal(identity))).toString('base64'),
  'X-MS-CLIENT-PRINCIPAL-ID': ({ token }) => token.userId,
  'X-MS-CLIENT-PRINCIPAL-NAME': ({ token }) =>
    encodeValue(token.preferredUsername ?? token.name ?? ''),
  'X-MS-CLIENT-PRINCIPAL-IDP': () => 'aad',
}

/** The compiler refuses a name of the schema without a set. */
const namedSets: Readonly<Record<NamedHeaderSet, Readonly<Record<string, HeaderValue>>>> = {
  'x-auth-request': xAuthRequest,
  'remote-user': remoteUser,
  'app-service': appService,
}

const claimValues: Readonly<Record<string, HeaderValue>> = {
  oid: ({ token }) => token.userId,
  tid: ({ token }) => token.tenantId,
  azp: ({ token }) => token.clientId,
  actor: ({ token }) => token.actor,
  sub: ({ token }) => encodeValue(token.subject),
  uti: ({ token }) => encodeValue(token.tokenId ?? ''),
  preferred_username: ({ token }) => encodeValue(token.preferredUsername ?? ''),
  name: ({ token }) => encodeValue(token.name ?? ''),
  email: ({ token }) => encodeValue(token.email ?? ''),
  roles: ({ token }) => encodeList(token.roles, ','),
  groups: ({ groups }) => encodeList(groups, ','),
  scp: ({ token }) => encodeList(token.scopes, ' '),
}

/** Claims that a custom header map may name. */
export const mappableClaims: readonly string[] = Object.keys(claimValues)

/** Creates the header set that the configuration names or describes. */
export function createHeaderSet(config: IdentityHeaderSet): HeaderSet {
  const headers = headersOf(config)
  const names = Object.keys(headers)
  const values = Object.values(headers)
  return {
    names,
    list: names.join(','),
    values: (identity) => values.map((value) => value(identity)),
  }
}

/** Bytes that the identity takes in a request: names, values, separators and line ends. */
export function identityBytes(names: readonly string[], values: readonly string[]): number {
  let bytes = 0
  for (const [i, name] of names.entries()) {
    const value = values[i] ?? ''
    if (value !== '') bytes += name.length + value.length + 4
  }
  return bytes
}

function headersOf(config: IdentityHeaderSet): Readonly<Record<string, HeaderValue>> {
  if (typeof config === 'string') return namedSets[config]
  return Object.fromEntries(
    Object.entries(config).map(([header, claim]) => {
      const value = Object.hasOwn(claimValues, claim) ? claimValues[claim] : undefined
      if (!value) throw new Error(`no header can carry the claim ${claim}`)
      return [header, value]
    }),
  )
}

function clientPrincipal({ token, groups }: Identity): object {
  const claims: { typ: string; val: string }[] = []
  const add = (typ: string, val: string | undefined) => {
    if (val !== undefined) claims.push({ typ, val })
  }
  add('aud', token.audience)
  add('iss', token.issuer)
  add('http://schemas.microsoft.com/identity/claims/tenantid', token.tenantId)
  add('http://schemas.microsoft.com/identity/claims/objectidentifier', token.userId)
  add(token.version === '1.0' ? 'appid' : 'azp', token.clientId)
  add('name', token.name)
  add('preferred_username', token.preferredUsername)
  add('http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress', token.email)
  add('http://schemas.microsoft.com/identity/claims/scope', token.scopes.join(' ') || undefined)
  for (const role of token.roles) add('roles', role)
  for (const group of groups) add('groups', group)
  return { auth_typ: 'aad', claims, name_typ: 'name', role_typ: 'roles' }
}
