import type { FastifyInstance } from 'fastify'
import type { Authorities, AuthorityState } from '../keys/authority.ts'
import type { StoreState } from '../revocation/revocation-store.ts'
import { withoutSecrets } from '../secrets.ts'

/** What readiness depends on. */
export interface HealthOptions {
  readonly authorities: () => Authorities
  readonly isStopping: () => boolean
  /** How the store that replicas share is doing; absent where there is none. */
  readonly store?: (() => StoreState) | undefined
}

/** Whether requests can be answered, and the state of each authority. */
export type Readiness = () => {
  readonly status: 'ready' | 'not ready' | 'stopping'
  readonly authorities: readonly AuthorityState[]
  readonly store?: StoreState
}

/**
 * Readiness says whether requests would get a verdict. At the start, each authority must have been
 * tried. After that, a tenant that is added or recovers must not turn away requests of other
 * tenants: only a stopping service, or no usable key for any tenant, is not ready. A store that
 * does not answer is reported but changes nothing, because known revocations still count.
 */
export function createReadiness(options: HealthOptions): Readiness {
  let wasReady = false
  return () => {
    const known = [...options.authorities().values()]
    const authorities = known.map((authority) => authority.state())
    for (const authority of known) authority.refreshIfStale()
    const hasKeys = authorities.some(({ ready }) => ready)
    const isReady = hasKeys && (wasReady || authorities.every(({ tried }) => tried))
    wasReady ||= isReady
    const status = options.isStopping() ? 'stopping' : isReady ? 'ready' : 'not ready'
    return { status, authorities, ...(options.store && { store: describeStore(options.store()) }) }
  }
}

/** Anybody who reaches a listener may read it, and the problem is the message of a library. */
function describeStore({ problem, ...state }: StoreState): StoreState {
  return { ...state, ...(problem !== undefined && { problem: withoutSecrets(problem) }) }
}

/** Adds `GET /livez` and `GET /readyz`. */
export function addHealthRoutes(app: FastifyInstance, readiness: Readiness): void {
  app.get('/livez', { logLevel: 'silent' }, (_request, reply) =>
    reply.header('Cache-Control', 'no-store').send({ status: 'alive' }),
  )
  app.get('/readyz', { logLevel: 'silent' }, (_request, reply) => {
    const state = readiness()
    return reply
      .code(state.status === 'ready' ? 200 : 503)
      .header('Cache-Control', 'no-store')
      .send(state)
  })
}
