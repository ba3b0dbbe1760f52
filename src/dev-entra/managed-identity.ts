import type { FastifyInstance } from 'fastify'
import type { DevEntraContext } from './context.ts'
import { tokenExchange } from './directory.ts'
import { findPersona } from './personas.ts'

interface Query {
  readonly resource?: string
  readonly 'api-version'?: string
  readonly client_id?: string
  readonly object_id?: string
}

/**
 * Adds the token endpoint of the instance metadata service, for the persona `managed-identity`, as
 * the system's identity and by its client id.
 * https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
 */
export function addManagedIdentity(app: FastifyInstance, context: DevEntraContext): void {
  const identity = findPersona('managed-identity')
  if (identity?.kind !== 'app') return
  app.get<{ Querystring: Query }>('/metadata/identity/oauth2/token', async (request, reply) => {
    const refuse = (description: string) =>
      reply.code(400).send({ error: 'invalid_request', error_description: description })
    const { resource, client_id, object_id } = request.query
    if (String(request.headers.metadata).toLowerCase() !== 'true') {
      return refuse('Required metadata header not specified')
    }
    // Against requests that were forged by way of a proxy.
    if (request.headers['x-forwarded-for'] !== undefined) return refuse('Bad request')
    if (!request.query['api-version'])
      return refuse('Required query variable api-version is missing')
    if (!resource) return refuse('Required query variable resource is missing')
    const known =
      [undefined, identity.appId].includes(client_id?.toLowerCase()) &&
      [undefined, identity.oid].includes(object_id?.toLowerCase())
    if (!known) return refuse('Identity not found')
    const exchange = [tokenExchange.uri, tokenExchange.appId].includes(resource as never)
    const { token, claims, expiresInSeconds } = await context.issuer.issue({
      persona: identity.name,
      ...(exchange
        ? { audience: tokenExchange.appId, version: '2.0' as const }
        : { audience: resource.replace(/\/$/, '') }),
    })
    return reply.header('cache-control', 'no-store').send({
      access_token: token,
      client_id: identity.appId,
      expires_in: String(expiresInSeconds),
      expires_on: String(claims.exp),
      ext_expires_in: String(expiresInSeconds),
      not_before: String(claims.nbf),
      resource,
      token_type: 'Bearer',
    })
  })
}
