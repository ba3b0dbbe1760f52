import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Rules } from '../verify/rules.ts'
import { parseTraceparent, type TraceParent } from '../verify/traceparent.ts'
import type { SpanExporter } from './exporter.ts'

/** What the hooks need. */
export interface TracingOptions {
  readonly exporter: SpanExporter
  readonly rules: () => Rules
  readonly clock: () => number
}

interface Beginning {
  readonly parent: TraceParent
  readonly startMs: number
  readonly begunMs: number
}

/**
 * Adds a span for each request within a trace that is recorded. None begins here: what a client
 * asked for begins in front of HAProxy or in it, and that is where it is decided how many are kept.
 */
export function addTracing(app: FastifyInstance, { exporter, rules, clock }: TracingOptions): void {
  const beginnings = new WeakMap<FastifyRequest, Beginning>()

  function attributesOf(request: FastifyRequest, reply: FastifyReply) {
    const { policy = 'default' } = (request.params ?? {}) as { policy?: string }
    const reason = reply.getHeader('x-entra-auth-reason')
    const route = request.routeOptions.url
    return {
      'http.request.method': request.method,
      'http.response.status_code': reply.raw.statusCode,
      ...(route !== undefined && { 'http.route': route }),
      // No other name: what a client made up, a token maybe, ends here.
      ...(route?.startsWith('/verify') &&
        rules().policies.has(policy) && { 'entra_auth.policy': policy }),
      ...(typeof reason === 'string' && { 'entra_auth.reason': reason }),
    }
  }

  app.addHook('onRequest', (request, _reply, done) => {
    const { traceparent } = request.headers
    const parent = parseTraceparent(typeof traceparent === 'string' ? traceparent : undefined)
    if (parent?.isSampled) {
      beginnings.set(request, { parent, startMs: clock(), begunMs: performance.now() })
    }
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    const beginning = beginnings.get(request)
    if (beginning) {
      const { parent, startMs, begunMs } = beginning
      exporter.add({
        parent,
        id: randomBytes(8).toString('hex'),
        name: `${request.method} ${request.routeOptions.url ?? '(no route)'}`,
        startMs,
        durationMs: performance.now() - begunMs,
        attributes: attributesOf(request, reply),
        hasFailed: reply.raw.statusCode >= 500,
      })
    }
    done()
  })
}
