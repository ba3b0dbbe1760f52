import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { LiveConfig, PolicyConfig, TenantConfig } from '../config/config.ts'
import { scopePrefix } from '../policy/compile.ts'

/** Path under which the metadata of all resources stand. */
const wellKnown = '/.well-known/oauth-protected-resource'

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
 * configuration. With a URL from a request, its sender could decide where clients get their tokens.
 */
export function describeResources(config: LiveConfig): ReadonlyMap<string, ResourceMetadata> {
  // A resource has one document, whichever of its policies a client meets first.
  const byHref = new Map<string, { readonly url: URL; readonly policies: PolicyConfig[] }>()
  for (const policy of config.policies) {
    if (policy.resource === undefined) continue
    const url = new URL(policy.resource)
    const known = byHref.get(url.href)
    if (known) known.policies.push(policy)
    else byHref.set(url.href, { url, policies: [policy] })
  }
  const described = new Map<string, ResourceMetadata>()
  for (const { url, policies } of byHref.values()) {
    const shared = collectShared(config, policies)
    for (const { name, resource = '' } of policies) {
      described.set(name, describeResource(shared, url, resource))
    }
  }
  return described
}

/** What the policies of one resource say together. */
interface Shared {
  tenants(): readonly TenantConfig[]
  /** In the form in which clients ask for them, each once. */
  scopes(resource: string): readonly string[]
}

function collectShared(config: LiveConfig, policies: readonly PolicyConfig[]): Shared {
  return {
    tenants: () => {
      const admitted = new Set(policies.flatMap(({ tenants }) => tenants))
      return config.tenants.filter(({ id }) => admitted.has(id))
    },
    scopes: (resource) => {
      const scopes = policies.flatMap(({ allow, audiences }) =>
        allow
          .flatMap((grant) => (Array.isArray(grant.scopes) ? grant.scopes : []))
          .map((scope) => `${scopePrefix(audiences, resource)}/${scope}`),
      )
      return [...new Set(scopes)]
    },
  }
}

function describeResource(shared: Shared, url: URL, resource: string): ResourceMetadata {
  // RFC 9728 section 3.1: of the slashes at the end only that behind the host goes.
  const path = wellKnown + (url.pathname === '/' ? '' : url.pathname)
  // Only when asked for: a reload has a thousand resources to describe, and hardly any is.
  let scopes: readonly string[] | undefined
  let tenants: readonly TenantConfig[] | undefined
  return {
    url: url.origin + path,
    host: url.host,
    path,
    document: (issuerOf) => {
      scopes ??= shared.scopes(resource)
      tenants ??= shared.tenants()
      return JSON.stringify({
        resource,
        // A client compares it with the issuer in the metadata (RFC 8414 section 3.3), which for
        // External ID is on another host than the authority.
        authorization_servers: tenants.map(
          ({ authority, id }) => issuerOf(id) ?? `${authority}/${id}/v2.0`,
        ),
        // Section 2: a member without a value is left out.
        ...(scopes.length > 0 && { scopes_supported: scopes }),
        bearer_methods_supported: ['header'],
      })
    },
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
    return reply
      .header('Cache-Control', 'no-store')
      .type('application/json')
      .send(chosen.document(issuerOf))
  }
  app.get(wellKnown, answer)
  app.get(`${wellKnown}/*`, answer)
}
