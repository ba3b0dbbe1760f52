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
  /** Paths of members that the file lacks, or that cannot be read whole: what they hold is unknown. */
  readonly missing: readonly string[]
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
 * Reads what `az ad app show` or `GET /applications/{id}` prints. For other input it returns a text
 * that says what is wrong, and which command prints the right input.
 */
export function readRegistration(text: string): Registration | string {
  let parsed: unknown
  try {
    // PowerShell writes a byte order mark.
    parsed = JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch {
    return 'is not JSON; print the registration with az ad app show --id APP-ID'
  }
  const raw = onlyOneOf(parsed)
  if (typeof raw === 'string') return raw
  const other = isObject(raw) ? nameOtherFormat(raw) : undefined
  if (other !== undefined) return other
  if (!isObject(raw) || typeof raw.appId !== 'string' || raw.appId === '') {
    return 'is no application: it has no appId; print one with az ad app show --id APP-ID'
  }
  const api = isObject(raw.api) ? raw.api : {}
  const optionalClaims = isObject(raw.optionalClaims) ? raw.optionalClaims : {}
  return {
    appId: raw.appId.toLowerCase(),
    identifierUris: stringsOf(raw.identifierUris),
    // Some tools write numbers as text.
    tokenVersion: Number(api.requestedAccessTokenVersion) === 2 ? 2 : 1,
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
    missing: findMissing(raw),
    raw,
  }
}

/** The one application of a list, as of `az ad app list` or `GET /applications`. */
function onlyOneOf(parsed: unknown): unknown {
  if (isObject(parsed) && typeof parsed['@odata.nextLink'] === 'string') {
    return 'is the first page of a list; print one application, as with az ad app show --id APP-ID'
  }
  const list = Array.isArray(parsed)
    ? parsed
    : isObject(parsed) && Array.isArray(parsed.value)
      ? parsed.value
      : [parsed]
  if (list.length === 1) return list[0]
  return `is a list of ${list.length}; print one application, as with az ad app show --id APP-ID`
}

/** Formats that hold less than an application does, or the same under other names. */
function nameOtherFormat(raw: JsonObject): string | undefined {
  const has = (...names: readonly string[]) => names.some((name) => Object.hasOwn(raw, name))
  const ids = [raw.appId, raw.AppId, raw.ApplicationId, raw.client_id, raw.application_id]
  const id = [...ids, raw.clientId, raw.applicationId].find(
    (value) => typeof value === 'string' && /^[0-9a-f-]{36}$/i.test(value),
  )
  const print = `print the application with az ad app show --id ${id ?? 'APP-ID'}`
  if (isObject(raw.error)) return `is an error in place of a registration; ${print}`
  if (has(...ofServicePrincipals)) {
    return `is a service principal (enterprise application), which lacks most of the registration; ${print}`
  }
  if (has(...ofAzureAdGraph) || typeof raw.publicClient === 'boolean') {
    return `is in the format of Azure AD Graph or of the old manifest; ${print}`
  }
  if (has('AppId', 'ApplicationId', 'AppRoles', 'IdentifierUris')) {
    return `is what PowerShell prints, which cuts nested values off; ${print}`
  }
  if (has(...ofTerraform)) return `is of terraform; ${print}`
  if (has('clientId', 'applicationId', 'resources', '$schema')) {
    return `is of a tool that creates registrations, such as Pulumi or Bicep; ${print}`
  }
  return undefined
}

/** Members that applications do not have, in the format that each stands for. */
const ofServicePrincipals = [
  'servicePrincipalNames',
  'servicePrincipalType',
  'appOwnerOrganizationId',
  'appRoleAssignmentRequired',
  'oauth2PermissionScopes',
]
const ofAzureAdGraph = [
  'oauth2Permissions',
  'accessTokenAcceptedVersion',
  'availableToOtherTenants',
  'objectType',
  'odata.type',
  'homepage',
  'replyUrls',
  'replyUrlsWithType',
  'oauth2AllowImplicitFlow',
]
const ofTerraform = [
  'terraform_version',
  'format_version',
  'root_module',
  'planned_values',
  'resource',
  'client_id',
  'application_id',
  'app_role',
  'identifier_uris',
]

/** Members that the checks read, and what each must be where it is not null. */
const members: readonly (readonly [path: string, isReadable: (value: unknown) => boolean])[] = [
  ['identifierUris', isListOf((item) => typeof item === 'string')],
  ['api.requestedAccessTokenVersion', (value) => /^(1|2|null)$/.test(String(value))],
  ['api.oauth2PermissionScopes', isListOf(isPermission)],
  ['appRoles', isListOf((role) => isPermission(role) && isNames(role.allowedMemberTypes ?? []))],
  ['optionalClaims', isReadableClaims],
  ['groupMembershipClaims', (value) => value === null || typeof value === 'string'],
  ['signInAudience', (value) => value === null || typeof value === 'string'],
]

/** What a file lacks or has cut off, as after `--query`, `$select` or a limit of depth. */
function findMissing(raw: JsonObject): string[] {
  return members
    .filter(([path, isReadable]) => {
      const value = path
        .split('.')
        .reduce<unknown>((whole, name) => (isObject(whole) ? whole[name] : undefined), raw)
      return value === undefined || !isReadable(value)
    })
    .map(([path]) => path)
}

function isListOf(isItem: (item: unknown) => boolean): (value: unknown) => boolean {
  return (value) => value === null || (Array.isArray(value) && value.every(isItem))
}

/** Each list counts, since a change replaces all of them together. Old files have no saml2Token. */
function isReadableClaims(value: unknown): boolean {
  if (value === null) return true
  if (!isObject(value)) return false
  const isClaims = isListOf(isOptionalClaim)
  const { idToken, accessToken, saml2Token = null } = value
  return [idToken, accessToken, saml2Token].every(isClaims)
}

/** A scope or role that is not cut off; Graph has no value for a role without one. */
function isPermission(entry: unknown): entry is JsonObject {
  if (!isObject(entry)) return false
  const { id = '', value = null, isEnabled } = entry
  const isText = typeof id === 'string' && (value === null || typeof value === 'string')
  return isText && typeof isEnabled === 'boolean'
}

/** Null stands for none; a text is what PowerShell makes of a list that is too deep. */
function isOptionalClaim(claim: unknown): boolean {
  if (!isObject(claim) || typeof claim.name !== 'string') return false
  const { additionalProperties = null } = claim
  return additionalProperties === null || isNames(additionalProperties)
}

function isNames(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
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
