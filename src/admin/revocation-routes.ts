import type { FastifyBaseLogger, FastifyInstance, FastifyReply } from 'fastify'
import { parseRevocation, revocationKinds } from '../revocation/revocation.ts'
import { RevocationError, type RevocationStore } from '../revocation/revocation-store.ts'

/** Longest life of an Entra token (24 h 5 min) and the clock skew, rounded up, in seconds. */
const defaultSeconds = 25 * 3_600

/**
 * Adds `GET`, `POST` and `DELETE /revocations`.
 *
 * `POST` takes `{kind, id, before?, until?, reason?}`; `before` is now and `until` 25 h from now
 * where they are missing. `DELETE` takes `?kind=…&id=…`. 400 for bad input, 409 where the
 * revocations cannot be changed here, each with a sentence.
 */
export function addRevocationRoutes(
  app: FastifyInstance,
  store: RevocationStore,
  clock: () => number,
  log: FastifyBaseLogger,
): void {
  app.register(async (scope) => {
    scope.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
      if (error instanceof RevocationError) return refuse(reply, 409, error.message)
      const { statusCode = 500 } = error
      if (statusCode < 500) return refuse(reply, statusCode, error.message)
      log.error({ err: error }, 'revocations not changed')
      return refuse(reply, 500, 'the revocations could not be changed; the log has the cause')
    })

    scope.get('/revocations', () => ({ revocations: store.list.entries }))

    scope.post('/revocations', async (request, reply) => {
      const nowSeconds = Math.floor(clock() / 1000)
      const revocation = parseRevocation(withDefaults(request.body, nowSeconds))
      if (typeof revocation === 'string') return refuse(reply, 400, revocation)
      if (revocation.until <= nowSeconds) return refuse(reply, 400, 'until is in the past')
      await store.add(revocation)
      log.warn({ revocation }, 'revoked')
      return reply.code(201).send(revocation)
    })

    scope.delete<{ Querystring: { kind?: unknown; id?: unknown } }>(
      '/revocations',
      async (request, reply) => {
        const { kind, id } = request.query
        const named = parseRevocation({ kind, id, before: 0, until: 0 })
        if (typeof named === 'string') return refuse(reply, 400, named)
        if (!(await store.remove(named.kind, named.id))) {
          return refuse(reply, 404, `no such revocation; kinds are ${kinds}`)
        }
        log.warn({ kind: named.kind, id: named.id }, 'revocation ended')
        return reply.code(204).send()
      },
    )
  })
}

const kinds = Object.keys(revocationKinds).join(', ')

function withDefaults(body: unknown, nowSeconds: number): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body
  return { before: nowSeconds, until: nowSeconds + defaultSeconds, ...body }
}

function refuse(reply: FastifyReply, status: number, sentence: string): FastifyReply {
  return reply
    .code(status)
    .header('Cache-Control', 'no-store')
    .send({
      error: status === 409 ? 'cannot_change' : 'invalid_request',
      error_description: sentence,
    })
}
