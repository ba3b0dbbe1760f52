import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Config, PolicyConfig } from '../config/config.ts'

/** Path under which the metadata of all resources stand. */
export const wellKnown = '/.well-known/oauth-protected-resource'

/** Metadata of a protected resource and where it stands (RFC 9728). */
export interface ResourceMetadata {
  /** Absolute URL, for challenges. */
  readonly url: string
  /** Path below this listener: the well-known one, inserted before the path of the resource. */
  readonly path: string
  readonly document: string
}

/**
 * Describes the resource of each policy that names one, by policy name. Every URL comes from the
 * configuration: one from a request would let its sender say where clients get their tokens.
 */
export function describeResources(config: Config): ReadonlyMap<string, ResourceMetadata> {
  const resources = new Map<string, ResourceMetadata>()
  for (const policy of config.policies) {
    if (policy.resource !== undefined) {
      resources.set(policy.name, describeResource(config, policy, policy.resource))
    }
  }
  return resources
}

function describeResource(
  config: Config,
  policy: PolicyConfig,
  resource: string,
): ResourceMetadata {
  const url = new URL(resource)
  const path = wellKnown + (url.pathname === '/' ? '' : url.pathname)
  const tenants = config.tenants.filter(({ id }) => policy.tenants.includes(id))
  const prefix = policy.audiences.find((audience) => audience.includes(':')) ?? policy.audiences[0]
  const scopes = policy.allow.flatMap(({ scopes }) => (Array.isArray(scopes) ? scopes : []))
  return {
    url: url.origin + path,
    path,
    document: JSON.stringify({
      resource,
      authorization_servers: tenants.map(({ authority, id }) => `${authority}/${id}/v2.0`),
      scopes_supported: [...new Set(scopes)].map((scope) => `${prefix}/${scope}`),
      bearer_methods_supported: ['header'],
    }),
  }
}

/** Adds `GET /.well-known/oauth-protected-resource{path of a resource}`. */
export function addResourceMetadataRoutes(
  app: FastifyInstance,
  resources: () => ReadonlyMap<string, ResourceMetadata>,
): void {
  function answer(request: FastifyRequest, reply: FastifyReply) {
    const path = request.url.split('?', 1)[0]
    for (const resource of resources().values()) {
      if (resource.path === path) {
        return reply.type('application/json').send(resource.document)
      }
    }
    return reply.callNotFound()
  }
  app.get(wellKnown, answer)
  app.get(`${wellKnown}/*`, answer)
}
