import type { Flavour } from './context.ts'
import { type ApiDirectory, findTenant, isGuid, ordersApi, type TokenVersion } from './directory.ts'
import { type KeyChoice, type Keyring, type Random, signToken } from './keys.ts'
import { findPersona, noPersona, type Persona } from './personas.ts'
import { type JsonObject, shapeAccessToken, shapeHeader, shapeIdToken } from './tokens.ts'

/** What to issue; everything but the persona has a default. */
export interface IssueRequest {
  /** Name, alias or user principal name. */
  readonly persona: string
  /** Default: the orders API, as GUID in v2.0 and as URI in v1.0 tokens. */
  readonly audience?: string
  /** Tenant id, name or domain; default: the persona's. Any GUID is accepted. */
  readonly tenant?: string
  /** Replaces the persona's; an empty list leaves `scp` out. */
  readonly scopes?: readonly string[]
  /** Replaces the persona's; an empty list leaves `roles` out. */
  readonly roles?: readonly string[]
  /** Default: the persona's, else the one that the API asks for, else 2.0. */
  readonly version?: TokenVersion
  readonly idToken?: boolean
  /** May be negative, for a token that has expired; default: 60 to 90 minutes. */
  readonly expiresInSeconds?: number
  readonly nonce?: string
  /** Client that asked; default: the persona's own. */
  readonly client?: { readonly appId: string; readonly proof: '0' | '1' | '2' }
  /** Merged over the claims. */
  readonly claims?: JsonObject
  readonly removeClaims?: readonly string[]
  /** Merged over the header; `alg` decides the signature. */
  readonly header?: JsonObject
  readonly removeHeader?: readonly string[]
  /** Default: the API's own key where it has one, else the current one. */
  readonly key?: KeyChoice
}

/** A token with its parts. */
export interface IssuedToken {
  readonly token: string
  readonly header: JsonObject
  readonly claims: JsonObject
  readonly expiresInSeconds: number
}

/** A request for a token that cannot be, with one sentence. */
export class IssueError extends Error {}

export interface TokenIssuer {
  /** Issues a token; throws an `IssueError` where the request makes no sense. */
  issue(request: IssueRequest): Promise<IssuedToken>
}

interface TokenIssuerParts {
  readonly flavour: Flavour
  readonly origin: () => string
  readonly now: () => number
  readonly random: Random
  readonly apis: ApiDirectory
  readonly keyring: Keyring
}

/** Entra dates its tokens five minutes back, against clocks that are behind. */
const backdatedSeconds = 300
const shortestLifetimeSeconds = 3600
const lifetimeSpreadSeconds = 1800

/** The issuer of a tenant's tokens: the v1.0 one ends in a slash, the v2.0 one does not. */
export function deriveIssuer(origin: string, tenantId: string, version: TokenVersion): string {
  return version === '1.0' ? `${origin}/${tenantId}/` : `${origin}/${tenantId}/v2.0`
}

/** Creates the part that turns a persona and wishes into a signed token. */
export function createTokenIssuer(parts: TokenIssuerParts): TokenIssuer {
  const { flavour, origin, now, random, apis, keyring } = parts

  const chooseLifetime = (persona: Persona) =>
    persona.kind === 'app' && persona.lifetimeSeconds !== undefined
      ? persona.lifetimeSeconds
      : shortestLifetimeSeconds + (random(2).readUInt16BE() % lifetimeSpreadSeconds)

  const createUniqueValues = (tenantId: string) => ({
    uti: random(16).toString('base64url'),
    aio: random(48).toString('base64'),
    rh: `1.${Buffer.from(tenantId).toString('base64url')}.`,
    sid: random(16)
      .toString('hex')
      .replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, '$1-$2-4$3-8$4-$5'),
    xmsFtd: random(32).toString('base64url'),
  })

  return {
    async issue(request) {
      const persona = findPersona(request.persona)
      if (!persona) throw new IssueError(noPersona(request.persona))
      const tenantId = resolveTenantId(request.tenant ?? persona.tenant.id)
      const api = apis.find(request.audience ?? ordersApi.appId)
      const version = chooseVersion(request, persona, api?.version, flavour)
      const audience =
        version === '2.0' && api ? api.appId : (request.audience ?? ordersApi.identifierUris[0])
      if (audience === undefined) throw new IssueError('The audience is missing.')

      const nowSeconds = Math.floor(now() / 1000)
      const expiresInSeconds = request.expiresInSeconds ?? chooseLifetime(persona)
      const expiresAt = nowSeconds + expiresInSeconds
      // A token that has expired already was issued its usual lifetime earlier.
      const issuedAt =
        (expiresInSeconds > 0 ? nowSeconds : expiresAt - shortestLifetimeSeconds) - backdatedSeconds
      const homeTenant = persona.kind === 'user' ? persona.homeTenant : undefined
      const shape = {
        version,
        tenantId,
        issuer: deriveIssuer(origin(), tenantId, version),
        identityProvider: deriveIssuer(origin(), homeTenant?.id ?? tenantId, '1.0'),
        audience,
        applicationId: request.idToken ? audience : (api?.appId ?? audience),
        issuedAt,
        expiresAt,
        unique: createUniqueValues(tenantId),
        ...pickDefined(request, ['client', 'scopes', 'roles', 'nonce']),
      }
      const key = await keyring.choose(
        request.key ?? (api?.customSigningKey ? `app:${api.appId}` : 'current'),
      )
      const claims = override(
        request.idToken ? shapeIdOf(persona, shape) : shapeAccessToken({ ...shape, persona }),
        request.claims,
        request.removeClaims,
      )
      const header = override(shapeHeader(version, key.kid), request.header, request.removeHeader)
      const token = signToken(JSON.stringify(header), JSON.stringify(claims), key)
      return { token, header, claims, expiresInSeconds }
    },
  }
}

function shapeIdOf(persona: Persona, shape: Omit<Parameters<typeof shapeIdToken>[0], 'persona'>) {
  if (persona.kind === 'user') return shapeIdToken({ ...shape, persona })
  throw new IssueError(`"${persona.name}" is an application; only users get ID tokens.`)
}

function resolveTenantId(wanted: string): string {
  const id = findTenant(wanted)?.id ?? wanted.toLowerCase()
  if (isGuid(id)) return id
  throw new IssueError(`There is no tenant "${wanted}"; name contoso, fabrikam or any GUID.`)
}

function chooseVersion(
  request: IssueRequest,
  persona: Persona,
  versionOfApi: TokenVersion | undefined,
  flavour: Flavour,
): TokenVersion {
  if (flavour === 'entra') {
    return request.version ?? persona.version ?? versionOfApi ?? '2.0'
  }
  if (request.version !== '1.0') return '2.0'
  throw new IssueError('External ID issues v2.0 tokens only.')
}

function pickDefined<T extends object, K extends keyof T>(from: T, names: readonly K[]) {
  const entries = names.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]]))
  return Object.fromEntries(entries) as { [P in K]?: Exclude<T[P], undefined> }
}

function override(
  base: JsonObject,
  changes: JsonObject = {},
  removals: readonly string[] = [],
): JsonObject {
  const entries = Object.entries({ ...base, ...changes })
  return Object.fromEntries(entries.filter(([name]) => !removals.includes(name)))
}
