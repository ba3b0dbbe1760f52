import type { FastifyInstance } from 'fastify'
import type { DevEntraContext } from './context.ts'
import { consumers, findTenant, sharedAuthorities, type TokenVersion } from './directory.ts'
import { EntraError } from './entra-error.ts'
import type { FaultKind } from './faults.ts'
import { deriveIssuer } from './token-issuer.ts'

interface DiscoveryRoute {
  Params: { tenant: string }
  Querystring: { appid?: string | string[] }
}

/** An authority as a path names it: `id` is a GUID, or `{tenantid}` where many tenants are meant. */
export interface Authority {
  /** Path segment to use in further URLs. */
  readonly segment: string
  readonly id: string
}

const template = '{tenantid}'
const guid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/
const keysCacheControl = 'max-age=86400, private'

/** The authority of a path segment; throws AADSTS90002 for an unknown tenant. */
export function resolveAuthority(segment: string, { flavour }: DevEntraContext): Authority {
  const shared = segment.toLowerCase()
  if (flavour === 'entra' && sharedAuthorities.includes(shared)) {
    return { segment: shared, id: template }
  }
  const tenant = findTenant(segment)
  if (tenant) return { segment: tenant.id, id: tenant.id }
  throw new EntraError(
    400,
    'invalid_tenant',
    90002,
    `Tenant '${segment}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.`,
  )
}

/** Adds the metadata and key endpoints, with Entra's paths, and its instance discovery. */
export function addDiscovery(app: FastifyInstance, context: DevEntraContext): void {
  const { flavour, faults, keyring } = context

  const addVersion = (version: TokenVersion, metadataPath: string, keysPath: string) => {
    app.get<DiscoveryRoute>(
      metadataPath,
      { config: { devEntraEndpoint: 'metadata' } },
      (request, reply) => {
        const authority = resolveAuthority(request.params.tenant, context)
        const appId = readAppId(request.query.appid)
        const body = shapeMetadata(version, authority, appId, context)
        return faults.send('metadata', body, reply.header('cache-control', keysCacheControl))
      },
    )
    app.get<DiscoveryRoute>(
      keysPath,
      { config: { devEntraEndpoint: 'keys' } },
      async (request, reply) => {
        const authority = resolveAuthority(request.params.tenant, context)
        const appId = readAppId(request.query.appid)
        const { kind } = faults.get('keys')
        const keys =
          kind === 'wrong-keys'
            ? await keyring.listImpostors()
            : (await keyring.list(appId)).map((key) => key.published)
        const origin = context.origin()
        const naming =
          version === '1.0'
            ? {}
            : {
                cloud_instance_name: nameCloudInstance(origin),
                issuer: deriveIssuer(origin, chooseKeyIssuer(kind, authority), version),
              }
        const body = { keys: keys.map((key) => ({ ...key, ...naming })) }
        return faults.send('keys', body, reply.header('cache-control', keysCacheControl))
      },
    )
  }

  addVersion(
    '2.0',
    '/:tenant/v2.0/.well-known/openid-configuration',
    '/:tenant/discovery/v2.0/keys',
  )
  if (flavour === 'external-id') return
  addVersion('1.0', '/:tenant/.well-known/openid-configuration', '/:tenant/discovery/keys')
  addInstanceDiscovery(app, context)
}

function addInstanceDiscovery(app: FastifyInstance, context: DevEntraContext): void {
  app.get<{ Querystring: { authorization_endpoint?: string } }>(
    '/common/discovery/instance',
    { config: { devEntraEndpoint: 'instance' } },
    (request) => {
      const endpoint = request.query.authorization_endpoint
      if (typeof endpoint !== 'string' || !URL.canParse(endpoint)) {
        throw new EntraError(
          400,
          'invalid_request',
          900144,
          "The request must contain the following parameter: 'authorization_endpoint'.",
        )
      }
      const origin = context.origin()
      const { host } = new URL(origin)
      if (new URL(endpoint).host !== host) {
        throw new EntraError(400, 'invalid_instance', 50049, 'Unknown or invalid instance.')
      }
      const [, segment = 'common'] = new URL(endpoint).pathname.split('/')
      const authority = resolveAuthority(segment, context)
      return {
        tenant_discovery_endpoint: `${origin}/${authority.segment}/v2.0/.well-known/openid-configuration`,
        'api-version': '1.1',
        metadata: [{ preferred_network: host, preferred_cache: host, aliases: [host] }],
      }
    },
  )
}

function readAppId(query: string | string[] | undefined): string | undefined {
  if (query === undefined) return undefined
  const appId = typeof query === 'string' ? query.toLowerCase() : ''
  if (guid.test(appId)) return appId
  throw new EntraError(400, 'invalid_request', 900144, 'The appid parameter is not one GUID.')
}

function chooseKeyIssuer(kind: FaultKind, authority: Authority): string {
  if (kind === 'foreign-issuer') return consumers.id
  return kind === 'template-issuer' ? template : authority.id
}

function nameCloudInstance(origin: string): string {
  return new URL(origin).hostname
}

function shapeMetadata(
  version: TokenVersion,
  authority: Authority,
  appId: string | undefined,
  { flavour, faults, origin }: DevEntraContext,
) {
  const { kind } = faults.get('metadata')
  const base = `${origin()}/${authority.segment}`
  const query = appId === undefined ? '' : `?appid=${appId}`
  const keysBase =
    kind === 'foreign-keys' ? `https://keys.example.invalid/${authority.segment}` : base
  const issuer = deriveIssuer(
    origin(),
    kind === 'foreign-issuer' ? consumers.id : authority.id,
    version,
  )
  const flow = version === '1.0' ? `${base}/oauth2` : `${base}/oauth2/v2.0`
  return {
    token_endpoint: `${flow}/token`,
    token_endpoint_auth_methods_supported: ['client_secret_post', 'client_secret_basic'],
    jwks_uri: `${keysBase}/discovery/${version === '1.0' ? '' : 'v2.0/'}keys${query}`,
    response_modes_supported: ['query'],
    subject_types_supported: ['pairwise'],
    id_token_signing_alg_values_supported: ['RS256'],
    response_types_supported: ['code'],
    scopes_supported: version === '1.0' ? ['openid'] : ['openid', 'profile', 'email'],
    issuer,
    request_uri_parameter_supported: false,
    authorization_endpoint: `${flow}/authorize`,
    claims_supported: [
      'sub',
      'iss',
      'cloud_instance_name',
      'aud',
      'exp',
      'iat',
      'nonce',
      'preferred_username',
      'name',
      'tid',
      'ver',
      'email',
    ],
    tenant_region_scope: authority.id === template || flavour === 'external-id' ? null : 'EU',
    cloud_instance_name: nameCloudInstance(origin()),
    cloud_graph_host_name: 'graph.windows.net',
    msgraph_host: 'graph.microsoft.com',
    rbac_url: 'https://pas.windows.net',
  }
}
