import type { FastifyInstance } from 'fastify'
import type { Explainer } from '../explain/explainer.ts'
import { formatJson } from '../terminal.ts'
import { readCorrelation } from '../verify/correlation.ts'
import { readRequest, type VerifyRequest } from '../verify/request.ts'
import { sendRefusal } from '../verify/route.ts'
import type { Rules } from '../verify/rules.ts'

/** What the route needs. */
export interface ExplainRouteOptions {
  readonly explainer: Explainer
  /** The rules in force; another object after a reload. */
  readonly rules: () => Rules
  /** Whether `Authorization` carries the admin key; the token then comes in `X-Entra-Auth-Token`. */
  readonly isKeyed: () => boolean
}

/** Header for the token, in the form of `Authorization`, where that one carries the admin key. */
const tokenHeader = 'X-Entra-Auth-Token'

/**
 * Adds `GET /explain/{policy}`: 200 with the explanation as JSON, whatever the verdict. It shows
 * claims of unverified tokens, so it belongs to the admin listener and to no other.
 */
export function addExplainRoute(app: FastifyInstance, options: ExplainRouteOptions): void {
  app.get<{ Params: { policy: string } }>(
    '/explain/:policy',
    { logLevel: 'warn' },
    async (request, reply) => {
      const rules = options.rules()
      const policy = rules.policies.get(request.params.policy)
      if (!policy) {
        const { requestId } = readCorrelation(request.headers)
        return sendRefusal(reply, { allow: false, failure: 'unknown_policy' }, requestId)
      }
      const { rawHeaders } = request.raw
      const verifyRequest = options.isKeyed()
        ? readTokenHeader(rawHeaders)
        : readRequest(rawHeaders)
      const explanation = await options.explainer.explain(rules, policy, verifyRequest)
      return reply
        .header('Cache-Control', 'no-store')
        .type('application/json; charset=utf-8')
        .send(formatJson(explanation))
    },
  )
}

/** The request as /verify would read it, had the token come in `Authorization`. */
export function readTokenHeader(rawHeaders: readonly string[]): VerifyRequest {
  const renamed = rawHeaders.flatMap((name, i) => {
    if (i % 2 === 1 || name.toLowerCase() === 'authorization') return []
    const isToken = name.toLowerCase() === tokenHeader.toLowerCase()
    return [isToken ? 'Authorization' : name, rawHeaders[i + 1] ?? '']
  })
  return readRequest(renamed)
}
