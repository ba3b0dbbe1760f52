import { createHash } from 'node:crypto'
import type { TokenVersion } from './directory.ts'
import type { AppPersona, Persona, UserPersona } from './personas.ts'

/** A JSON object of claims or header members. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Opaque values that differ from token to token. */
export interface UniqueValues {
  readonly uti: string
  readonly aio: string
  readonly rh: string
  readonly sid: string
  readonly xmsFtd: string
}

/** Everything that the claims follow from; times in seconds since the epoch. */
export interface TokenShape<P extends Persona = Persona> {
  readonly version: TokenVersion
  readonly persona: P
  readonly tenantId: string
  readonly issuer: string
  /** The v1.0 issuer of the tenant where the persona signed in. */
  readonly identityProvider: string
  readonly audience: string
  /** Application that the user's `sub` is pairwise for. */
  readonly applicationId: string
  /** Client that asked for the token; absent: the persona's own. */
  readonly client?: { readonly appId: string; readonly proof: '0' | '1' | '2' }
  readonly scopes?: readonly string[]
  readonly roles?: readonly string[]
  readonly nonce?: string
  readonly issuedAt: number
  readonly expiresAt: number
  readonly unique: UniqueValues
}

const maxGroupsInToken = 200

/** The header of a token: v1.0 names its key twice, v2.0 once; never an `at+jwt`. */
export function shapeHeader(version: TokenVersion, kid: string): JsonObject {
  return version === '1.0'
    ? { typ: 'JWT', alg: 'RS256', x5t: kid, kid }
    : { typ: 'JWT', alg: 'RS256', kid }
}

/**
 * The claims of an access token, as in Microsoft's access token claims reference.
 * https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
 */
export function shapeAccessToken(shape: TokenShape): JsonObject {
  const { persona } = shape
  const own =
    persona.kind === 'user'
      ? shapeUserClaims({ ...shape, persona })
      : shapeAppClaims({ ...shape, persona })
  return {
    ...shapeFrame(shape),
    ...own,
    ver: shape.version,
    ...(persona.extraClaims ?? {}),
    xms_ftd: shape.unique.xmsFtd,
  }
}

/**
 * The claims of an ID token: no client (`azp`, `appid`), no `scp`; `nonce` where the client sent one.
 * https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
 */
export function shapeIdToken(shape: TokenShape<UserPersona>): JsonObject {
  const { version, persona, nonce, unique } = shape
  const authentication = version === '1.0' ? { amr: ['pwd', 'mfa'], ipaddr: '127.0.0.1' } : {}
  return {
    ...shapeFrame(shape),
    ...authentication,
    ...shapeName(version, persona),
    ...(nonce === undefined ? {} : { nonce }),
    oid: persona.oid,
    rh: unique.rh,
    ...shapeRoles(shape),
    ...shapeGroups(shape.tenantId, persona),
    sid: unique.sid,
    sub: derivePairwiseSubject(shape),
    tid: shape.tenantId,
    uti: unique.uti,
    ver: version,
  }
}

function shapeFrame({ audience, issuer, issuedAt, expiresAt, unique }: TokenShape): JsonObject {
  const times = { iat: issuedAt, nbf: issuedAt, exp: expiresAt }
  return { aud: audience, iss: issuer, ...times, aio: unique.aio }
}

function shapeUserClaims(shape: TokenShape<UserPersona>): JsonObject {
  const { version, persona, tenantId, unique } = shape
  const guest = persona.homeTenant !== undefined
  const client = shape.client ?? {
    appId: persona.client.appId,
    proof: persona.client.secret === undefined ? '0' : '1',
  }
  const authentication =
    version === '1.0' ? { acr: '1', amr: ['pwd', 'mfa'], ipaddr: '127.0.0.1' } : {}
  return {
    acct: guest ? 1 : 0,
    ...authentication,
    ...shapeClient(version, client.appId, client.proof),
    ...(guest ? { idp: shape.identityProvider } : {}),
    ...shapeName(version, persona),
    oid: persona.oid,
    rh: unique.rh,
    ...shapeRoles(shape),
    ...shapeGroups(tenantId, persona),
    ...shapeScopes(shape),
    sid: unique.sid,
    sub: derivePairwiseSubject(shape),
    tid: tenantId,
    uti: unique.uti,
  }
}

function shapeAppClaims(shape: TokenShape<AppPersona>): JsonObject {
  const { version, persona, tenantId, unique } = shape
  const client = shape.client ?? persona
  return {
    ...shapeClient(version, client.appId, client.proof),
    ...(version === '1.0' ? { idp: shape.identityProvider } : {}),
    ...(persona.idtyp === undefined ? {} : { idtyp: persona.idtyp }),
    oid: persona.oid,
    rh: unique.rh,
    ...shapeRoles(shape),
    ...shapeScopes(shape),
    sub: persona.oid,
    tid: tenantId,
    uti: unique.uti,
  }
}

function shapeClient(version: TokenVersion, appId: string, proof: '0' | '1' | '2'): JsonObject {
  return version === '1.0' ? { appid: appId, appidacr: proof } : { azp: appId, azpacr: proof }
}

function shapeName(version: TokenVersion, persona: UserPersona): JsonObject {
  const { givenName, familyName, upn, homeTenant } = persona
  const name = `${givenName} ${familyName}`
  // A guest's address at home is no user principal name of this tenant.
  const mail = homeTenant === undefined ? {} : { email: upn }
  if (version === '2.0') return { ...mail, name, preferred_username: upn }
  const names = { family_name: familyName, given_name: givenName, name, unique_name: upn }
  return { ...mail, ...names, ...(homeTenant === undefined ? { upn } : {}) }
}

function shapeScopes({ scopes, persona }: TokenShape): JsonObject {
  const granted = scopes ?? persona.scopes
  return granted.length === 0 ? {} : { scp: granted.join(' ') }
}

function shapeRoles({ roles, persona }: TokenShape): JsonObject {
  const granted = roles ?? persona.roles
  return granted.length === 0 ? {} : { roles: granted }
}

function shapeGroups(tenantId: string, { groups, oid }: UserPersona): JsonObject {
  if (groups.length === 0) return {}
  if (groups.length <= maxGroupsInToken) return { groups }
  return {
    _claim_names: { groups: 'src1' },
    _claim_sources: {
      src1: {
        endpoint: `https://graph.windows.net/${tenantId}/users/${oid}/getMemberObjects`,
      },
    },
  }
}

/** A user's `sub`: another one for each application, and never the `oid`. */
function derivePairwiseSubject(shape: TokenShape): string {
  const { tenantId, persona, applicationId } = shape
  return createHash('sha256')
    .update(`${tenantId} ${persona.oid} ${applicationId}`)
    .digest('base64url')
}
