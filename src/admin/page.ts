import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Explainer } from '../explain/explainer.ts'
import { readCorrelation } from '../verify/correlation.ts'
import { sendRefusal } from '../verify/route.ts'
import type { Rules } from '../verify/rules.ts'
import { readTokenHeader } from './explain-route.ts'
import type { Overview } from './overview.ts'
import {
  createExplanationPage,
  createKeyPage,
  createOverviewPage,
  type View,
} from './page-content.ts'
import { pageScript } from './page-script.ts'
import { pageStyle } from './page-style.ts'

/** What the page needs. */
export interface PageOptions {
  readonly overview: () => Overview
  readonly explainer: Explainer
  readonly rules: () => Rules
}

/** Script and style, which hold nothing of the service: a page that asks for the key needs them. */
export const pageAssets: ReadonlySet<string> = new Set(['/page.js', '/page.css'])

/**
 * Nothing from elsewhere, no script but the one file, no frame around it, and no text that becomes
 * markup in the browser (trusted types).
 */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  'img-src data:',
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

/**
 * Adds the operator's page: `GET /`, its script and style, and `GET /page/explain/{policy}`, which takes
 * the token in `X-Entra-Auth-Token`. It only reads: there is nothing that another site could make it do.
 */
export function addPage(app: FastifyInstance, { overview, explainer, rules }: PageOptions): void {
  app.get<{ Querystring: Record<string, unknown> }>('/', (request, reply) =>
    sendPage(reply, createOverviewPage(overview(), readView(request.query))),
  )
  app.get('/page.css', (_request, reply) => send(reply, 'text/css', pageStyle))
  app.get('/page.js', (_request, reply) => send(reply, 'text/javascript', pageScript))
  app.get<{ Params: { policy: string } }>('/page/explain/:policy', async (request, reply) => {
    const inForce = rules()
    const policy = inForce.policies.get(request.params.policy)
    if (!policy) {
      const { requestId } = readCorrelation(request.headers)
      return sendRefusal(reply, { allow: false, failure: 'unknown_policy' }, requestId)
    }
    const asked = readTokenHeader(request.raw.rawHeaders)
    return sendPage(reply, createExplanationPage(await explainer.explain(inForce, policy, asked)))
  })
}

/** Answers a browser that has no admin key, or a wrong one, with a page that asks for it. */
export function sendKeyPage(reply: FastifyReply): FastifyReply {
  return sendPage(reply.code(403), createKeyPage())
}

function sendPage(reply: FastifyReply, page: string): FastifyReply {
  return send(reply.header('Content-Security-Policy', contentSecurityPolicy), 'text/html', page)
}

function send(reply: FastifyReply, type: string, text: string): FastifyReply {
  return reply
    .header('Cache-Control', 'no-store')
    .header('Cross-Origin-Opener-Policy', 'same-origin')
    .header('Cross-Origin-Resource-Policy', 'same-origin')
    .header('Referrer-Policy', 'no-referrer')
    .header('X-Content-Type-Options', 'nosniff')
    .header('X-Frame-Options', 'DENY')
    .type(`${type}; charset=utf-8`)
    .send(text)
}

/** Reads which part of the lists is asked for; whatever is not sane is the first page. */
function readView(query: Record<string, unknown>): View {
  const number = (name: string) => {
    const text = query[name]
    return typeof text === 'string' && /^[1-9]\d{0,4}$/.test(text) ? Number(text) : 1
  }
  const { find } = query
  return {
    revocations: number('revocations'),
    policies: number('policies'),
    tenants: number('tenants'),
    find: typeof find === 'string' ? find.trim().slice(0, 200) : '',
  }
}
