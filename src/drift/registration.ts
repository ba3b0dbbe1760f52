/** An application object of Microsoft Graph, as far as it matters here; `raw` is all of it. */
export interface Registration {
  readonly appId: string
  readonly identifierUris: readonly string[]
  /** `null` in Graph means 1. */
  readonly tokenVersion: 1 | 2
  readonly scopes: readonly RegisteredScope[]
  readonly roles: readonly RegisteredRole[]
  readonly accessTokenClaims: readonly OptionalClaim[]
  /** Such as `SecurityGroup`; empty where no groups are asked for. */
  readonly groupMembershipClaims: readonly string[]
  readonly signInAudience: string
  readonly raw: JsonObject
}

export interface RegisteredScope {
  readonly id: string
  readonly value: string
  readonly isEnabled: boolean
}

export interface RegisteredRole extends RegisteredScope {
  readonly allowedMemberTypes: readonly string[]
}

export interface OptionalClaim {
  readonly name: string
  readonly additionalProperties: readonly string[]
}

export type JsonObject = Readonly<Record<string, unknown>>

/**
 * Reads what `az ad app show` or `GET /applications/{id}` prints. Returns a text that says what is
 * wrong where it is something else.
 */
export function readRegistration(text: string): Registration | string {
  let raw: unknown
  try {
    // PowerShell writes a byte order mark.
    raw = JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch {
    return 'is not JSON'
  }
  if (Array.isArray(raw)) return 'is a list; print one application, as with az ad app show --id ID'
  if (!isObject(raw) || typeof raw.appId !== 'string' || raw.appId === '') {
    return 'is no application: it has no appId'
  }
  const api = isObject(raw.api) ? raw.api : {}
  const optionalClaims = isObject(raw.optionalClaims) ? raw.optionalClaims : {}
  return {
    appId: raw.appId.toLowerCase(),
    identifierUris: stringsOf(raw.identifierUris),
    tokenVersion: api.requestedAccessTokenVersion === 2 ? 2 : 1,
    scopes: objectsOf(api.oauth2PermissionScopes).map(readPermission),
    roles: objectsOf(raw.appRoles).map((role) => ({
      ...readPermission(role),
      allowedMemberTypes: stringsOf(role.allowedMemberTypes),
    })),
    accessTokenClaims: objectsOf(optionalClaims.accessToken).map((claim) => ({
      name: textOf(claim.name),
      additionalProperties: stringsOf(claim.additionalProperties),
    })),
    groupMembershipClaims: textOf(raw.groupMembershipClaims)
      .split(',')
      .map((word) => word.trim())
      .filter((word) => word !== '' && word !== 'None'),
    signInAudience: textOf(raw.signInAudience),
    raw,
  }
}

/** The objects of a list; everything else is left out. */
export function objectsOf(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readPermission(entry: JsonObject): RegisteredScope {
  return {
    id: textOf(entry.id),
    value: textOf(entry.value),
    isEnabled: entry.isEnabled === true,
  }
}

function stringsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
