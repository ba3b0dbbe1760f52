import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import {
  isDated,
  parseRevocation,
  type Revocation,
  revocationKinds,
} from '../revocation/revocation.ts'
import type { RevocationList } from '../revocation/revocation-list.ts'
import { RevocationError, type RevocationStore } from '../revocation/revocation-store.ts'
import { withoutTokens } from '../verify/correlation.ts'

/** What the routes work on. */
export interface RevocationRoutesOptions {
  readonly store: RevocationStore
  readonly clock: () => number
  /** For how long a token may be good after it was issued, in seconds, with the clock skew. */
  readonly longestSeconds: () => number
  readonly log: FastifyBaseLogger
}

/**
 * Adds `GET`, `POST` and `DELETE /revocations`.
 *
 * `POST` takes `{kind, id, before?, until?, reason?}`. Without `before` it counts from now; without
 * `until` it ends when no token from before can be good any more, and never earlier than the one that
 * it replaces; that of a key ends in ten years. `DELETE` takes `?kind=…&id=…`.
 * 400 for bad input, 409 where the revocations cannot be changed here, 503 where they cannot be
 * changed now, each with a sentence.
 */
export function addRevocationRoutes(app: FastifyInstance, options: RevocationRoutesOptions): void {
  const { store, clock, longestSeconds, log } = options
  app.register(async (scope) => {
    scope.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) => {
      if (error instanceof RevocationError) {
        return refuse(reply, error.isTemporary ? 503 : 409, error.message)
      }
      const { statusCode = 500 } = error
      if (statusCode < 500) return refuse(reply, statusCode, error.message)
      log.error({ err: error }, 'revocations not changed')
      return refuse(reply, 500, 'the revocations could not be changed; the log has the cause')
    })

    scope.get('/revocations', (_request, reply) =>
      reply
        .type('application/json; charset=utf-8')
        .send(Readable.from(writeList(store.list, clock() / 1000))),
    )

    scope.post('/revocations', { bodyLimit: maxBodyBytes }, async (request, reply) => {
      // Rounded up: a token that was issued in this second may be from before. Where our clock is behind, so may be
      // one that another replica admitted since: the store's clock tells.
      const nowSeconds = Math.ceil(Math.max(clock(), store.storeMs?.() ?? 0) / 1000)
      const parsed = parseRevocation(withDefaults(request.body, nowSeconds, longestSeconds()))
      if (typeof parsed === 'string') return refuse(reply, 400, parsed)
      if (parsed.until <= nowSeconds) return refuse(reply, 400, 'until is in the past')
      // It would end while tokens that it is meant for are still issued.
      if (isDated(parsed.kind) && parsed.until <= parsed.before) {
        return refuse(reply, 400, 'until is not after before')
      }
      const { until } = request.body as { until?: unknown }
      const untilDefault = until === undefined
      const { reason, ...rest } = untilDefault ? withDefaultEnd(parsed, store) : parsed
      // Whoever revokes a token may write it there, and the reason is logged, kept and shown.
      const clean = reason === undefined ? {} : { reason: withoutTokens(reason) }
      const revocation: Revocation = { ...rest, ...clean }
      await store.add(revocation, { untilDefault }).catch((error: unknown) => {
        if (isMadeHere(error)) {
          log.warn({ revocation, ...callerOf(request) }, 'revoked on this replica only')
        }
        throw error
      })
      log.warn({ revocation, ...callerOf(request) }, 'revoked')
      return reply.code(201).send(revocation)
    })

    scope.delete<{ Querystring: { kind?: unknown; id?: unknown } }>(
      '/revocations',
      async (request, reply) => {
        const { kind, id } = request.query
        const named = parseRevocation({ kind, id, before: 0, until: 0 })
        if (typeof named === 'string') return refuse(reply, 400, named)
        const { kind: endedKind, id: endedId } = named
        const removed = await store.remove(endedKind, endedId).catch((error: unknown) => {
          if (isMadeHere(error)) {
            const fields = { kind: endedKind, id: endedId, ...callerOf(request) }
            log.warn(fields, 'revocation ended on this replica only')
          }
          throw error
        })
        if (!removed) return refuse(reply, 404, `no such revocation; kinds are ${kinds}`)
        log.warn({ kind: endedKind, id: endedId, ...callerOf(request) }, 'revocation ended')
        return reply.code(204).send()
      },
    )
  })
}

function isMadeHere(error: unknown): boolean {
  return error instanceof RevocationError && error.isMadeHere
}

/**
 * Who changes revocations, for the log: the name that the caller says it has (nobody proves it), and
 * the address that it calls from.
 */
function callerOf({ headers, ip }: FastifyRequest): { readonly by: string; readonly from: string } {
  const name = headers['x-entra-auth-operator']
  // No text but a name: a token in it would reach the log.
  const isName = typeof name === 'string' && /^(?!eyJ)[\w.@\\-]{1,64}$/.test(name)
  return { by: isName ? name : 'unknown', from: ip }
}

/** Revocations between two pauses: some milliseconds of work. */
const revocationsPerPiece = 500

/** The answer in pieces: written at once, a million would hold requests up for a second. */
async function* writeList(list: RevocationList, nowSeconds: number): AsyncIterable<string> {
  let piece = '{"revocations":['
  let count = 0
  for (const revocation of list.inForce(nowSeconds)) {
    piece += `${count > 0 ? ',' : ''}${JSON.stringify(revocation)}`
    if (++count % revocationsPerPiece > 0) continue
    yield piece
    piece = ''
    await nextTurn()
  }
  yield `${piece}]}`
}

const kinds = Object.keys(revocationKinds).join(', ')

/** For a reason of 256 characters, each written as a JSON escape. */
const maxBodyBytes = 4_096

/** Whoever has a key can sign with it until Entra stops publishing it, whenever that is: ten years. */
const keySeconds = 10 * 365 * 86_400

/**
 * A revocation whose sender did not say when it ends. That of a key has no end that follows from the
 * lifetime of tokens. One that is there already with a later end keeps it: nobody asked for less.
 */
function withDefaultEnd(revocation: Revocation, { list }: RevocationStore): Revocation {
  const former = list.get(revocation.kind, revocation.id)
  const formerEnd = former ? list.endOf(former) : 0
  const ownEnd = revocation.kind === 'key' ? revocation.before + keySeconds : revocation.until
  return { ...revocation, until: Math.max(ownEnd, formerEnd) }
}

function withDefaults(body: unknown, nowSeconds: number, longestSeconds: number): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body
  const { before = nowSeconds, until, ...rest } = body as Record<string, unknown>
  // A revocation that is dated ahead ends later too.
  const from = typeof before === 'number' ? Math.max(before, nowSeconds) : nowSeconds
  return { before, until: until === undefined ? from + longestSeconds : until, ...rest }
}

const errors: Readonly<Record<number, string>> = { 409: 'cannot_change', 503: 'unavailable' }

function refuse(reply: FastifyReply, status: number, sentence: string): FastifyReply {
  if (status === 503) reply.header('Retry-After', '1')
  return reply
    .code(status)
    .header('Cache-Control', 'no-store')
    .send({ error: errors[status] ?? 'invalid_request', error_description: sentence })
}
