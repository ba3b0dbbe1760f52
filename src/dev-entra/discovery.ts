import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { DevEntraContext } from './context.ts'
import { consumers, findTenant, isGuid, sharedAuthorities, type TokenVersion } from './directory.ts'
import { EntraError } from './entra-error.ts'
import { elsewhere, type FaultTarget } from './faults.ts'
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

type CreateBody = (authority: Authority, appId: string | undefined) => Promise<object>

const template = '{tenantid}'
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

  const addRoute = (path: string, target: FaultTarget, createBody: CreateBody) => {
    const create = ({ params, query }: FastifyRequest<DiscoveryRoute>) =>
      createBody(resolveAuthority(params.tenant, context), readAppId(query.appid))
    app.get<DiscoveryRoute>(
      path,
      { config: { devEntraEndpoint: target } },
      async (request, reply) =>
        faults.send(target, await create(request), reply.header('cache-control', keysCacheControl)),
    )
    // Where the fault `redirect` points: good content, so that only the counter finds out who follows.
    app.get<DiscoveryRoute>(
      `${elsewhere}${path}`,
      { config: { devEntraEndpoint: 'elsewhere' } },
      create,
    )
  }

  const addVersion = (version: TokenVersion, metadataPath: string, keysPath: string) => {
    addRoute(metadataPath, 'metadata', async (authority, appId) =>
      shapeMetadata(version, authority, appId, context),
    )
    addRoute(keysPath, 'keys', async (authority, appId) => {
      const { kind } = faults.get('keys')
      const keys =
        kind === 'wrong-keys'
          ? await keyring.listImpostors()
          : (await keyring.list(appId)).map((key) => key.published)
      return { keys: keys.map((key) => ({ ...key, ...nameIssuer(version, authority, context) })) }
    })
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
  if (isGuid(appId)) return appId
  throw new EntraError(400, 'invalid_request', 900144, 'The appid parameter is not one GUID.')
}

/** Only v2.0 keys say whose they are. */
function nameIssuer(version: TokenVersion, authority: Authority, context: DevEntraContext) {
  if (version === '1.0') return {}
  const { kind } = context.faults.get('keys')
  const foreign = kind === 'foreign-issuer' ? consumers.id : undefined
  const templated = kind === 'template-issuer' ? template : undefined
  const origin = context.origin()
  return {
    cloud_instance_name: nameCloudInstance(origin),
    issuer: deriveIssuer(origin, foreign ?? templated ?? authority.id, version),
  }
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
    token_endpoint_auth_methods_supported: [
      'client_secret_post',
      'private_key_jwt',
      'client_secret_basic',
    ],
    jwks_uri: `${keysBase}/discovery/${version === '1.0' ? '' : 'v2.0/'}keys${query}`,
    response_modes_supported: ['query', 'form_post'],
    subject_types_supported: ['pairwise'],
    id_token_signing_alg_values_supported: ['RS256'],
    response_types_supported: ['code'],
    scopes_supported:
      version === '1.0' ? ['openid'] : ['openid', 'profile', 'email', 'offline_access'],
    issuer,
    request_uri_parameter_supported: false,
    authorization_endpoint: `${flow}/authorize`,
    http_logout_supported: true,
    frontchannel_logout_supported: true,
    end_session_endpoint: `${flow}/logout`,
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
