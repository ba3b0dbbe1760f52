import type { FastifyInstance } from 'fastify'
import type { Authorities } from '../keys/authority.ts'
import type { StoreState } from '../revocation/revocation-store.ts'

/** What readiness depends on. */
export interface HealthOptions {
  readonly authorities: () => Authorities
  readonly isStopping: () => boolean
  /** How the store that replicas share is doing; absent where there is none. */
  readonly store?: (() => StoreState) | undefined
}

/**
 * Adds `GET /livez` and `GET /readyz`. Ready means: at least one authority has keys, each other one
 * was tried, and the service is not shutting down. A store that does not answer is told of, and no
 * reason to refuse everybody: what was revoked stays in force.
 */
export function addHealthRoutes(app: FastifyInstance, options: HealthOptions): void {
  app.get('/livez', { logLevel: 'silent' }, (_request, reply) =>
    reply.header('Cache-Control', 'no-store').send({ status: 'alive' }),
  )
  app.get('/readyz', { logLevel: 'silent' }, (_request, reply) => {
    const authorities = [...options.authorities().values()].map((authority) => authority.state())
    const stopping = options.isStopping()
    const ready =
      !stopping &&
      authorities.some((authority) => authority.ready) &&
      authorities.every((authority) => authority.tried)
    return reply
      .code(ready ? 200 : 503)
      .header('Cache-Control', 'no-store')
      .send({
        status: stopping ? 'stopping' : ready ? 'ready' : 'not ready',
        authorities,
        ...(options.store && { store: options.store() }),
      })
  })
}
