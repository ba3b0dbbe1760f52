import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { LiveConfig, PolicyConfig } from '../config/config.ts'
import { scopePrefix } from '../policy/compile.ts'

/** Path under which the metadata of all resources stand. */
export const wellKnown = '/.well-known/oauth-protected-resource'

/** The issuer that a tenant's metadata names; undefined until they were read. */
export type IssuerOf = (tenantId: string) => string | undefined

/** Metadata of a protected resource and where it stands (RFC 9728). */
export interface ResourceMetadata {
  /** Absolute URL, for challenges. */
  readonly url: string
  /** Host of the resource, with its port unless that is the default. */
  readonly host: string
  /** Path below this listener: the well-known one, inserted before the path of the resource. */
  readonly path: string
  /** The JSON document. */
  document(issuerOf: IssuerOf): string
}

/**
 * Describes the resource of each policy that names one, by policy name. Every URL comes from the
 * configuration: one from a request would let its sender say where clients get their tokens.
 */
export function describeResources(config: LiveConfig): ReadonlyMap<string, ResourceMetadata> {
  const policies = config.policies.filter(({ resource }) => resource !== undefined)
  return new Map(
    policies.map((policy) => {
      const { resource = '' } = policy
      // A resource has one document, whichever of its policies a client meets first.
      const ofSame = policies.filter((other) => isSame(other.resource, resource))
      return [policy.name, describeResource(config, ofSame, resource)]
    }),
  )
}

function isSame(other: string | undefined, resource: string): boolean {
  return other !== undefined && new URL(other).href === new URL(resource).href
}

function describeResource(
  config: LiveConfig,
  policies: readonly PolicyConfig[],
  resource: string,
): ResourceMetadata {
  const url = new URL(resource)
  // RFC 9728 section 3.1: of the slashes at the end only that behind the host goes.
  const path = wellKnown + (url.pathname === '/' ? '' : url.pathname)
  const tenants = config.tenants.filter(({ id }) => policies.some((p) => p.tenants.includes(id)))
  const scopes = policies.flatMap(({ allow, audiences }) =>
    allow
      .flatMap((grant) => (Array.isArray(grant.scopes) ? grant.scopes : []))
      .map((scope) => `${scopePrefix(audiences, resource)}/${scope}`),
  )
  return {
    url: url.origin + path,
    host: url.host,
    path,
    document: (issuerOf) =>
      JSON.stringify({
        resource,
        // A client compares it with the issuer in the metadata (RFC 8414 section 3.3), which for
        // External ID is on another host than the authority.
        authorization_servers: tenants.map(
          ({ authority, id }) => issuerOf(id) ?? `${authority}/${id}/v2.0`,
        ),
        // Section 2: a member without a value is left out.
        ...(scopes.length > 0 && { scopes_supported: [...new Set(scopes)] }),
        bearer_methods_supported: ['header'],
      }),
  }
}

/** Adds `GET /.well-known/oauth-protected-resource{path of a resource}`. */
export function addResourceMetadataRoutes(
  app: FastifyInstance,
  resources: () => ReadonlyMap<string, ResourceMetadata>,
  issuerOf: IssuerOf,
): void {
  function answer(request: FastifyRequest, reply: FastifyReply) {
    const path = request.url.split('?', 1)[0]
    const found = [...resources().values()].filter((resource) => resource.path === path)
    const urls = new Set(found.map(({ url }) => url))
    // Only among documents of one path the host decides: whoever lies gets another public one.
    const host = request.headers.host?.toLowerCase()
    const chosen = urls.size > 1 ? found.find((resource) => resource.host === host) : found[0]
    if (!chosen) return reply.callNotFound()
    return reply.type('application/json').send(chosen.document(issuerOf))
  }
  app.get(wellKnown, answer)
  app.get(`${wellKnown}/*`, answer)
}
