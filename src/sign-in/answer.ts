import type { FastifyReply } from 'fastify'
import type { SignInContext } from './context.ts'
import { createProblemPage, type PageAction } from './page.ts'
import { type EntraDetails, type ProblemCode, problems } from './problems.ts'

/** Sends a page. */
export function sendPage(reply: FastifyReply, html: string, status = 200): FastifyReply {
  return reply.code(status).type('text/html; charset=utf-8').send(html)
}

/**
 * For a page with a form: with `no-referrer`, browsers send `Origin: null` with a form (Fetch, "append a
 * request Origin header"). Those without Fetch Metadata then say nothing else of where it comes from.
 */
export function allowOrigin(reply: FastifyReply): FastifyReply {
  return reply.header('Referrer-Policy', 'same-origin')
}

/** Sends the page of an error, and counts it, as another outcome where one is given. */
export function sendProblem(
  { style, onOutcome }: Pick<SignInContext, 'style' | 'onOutcome'>,
  reply: FastifyReply,
  code: ProblemCode,
  {
    outcome = code,
    ...more
  }: {
    readonly details?: EntraDetails
    readonly action?: PageAction | undefined
    readonly outcome?: ProblemCode
  } = {},
): FastifyReply {
  const { status } = problems[code]
  onOutcome(outcome)
  if (status === 503) reply.header('Retry-After', '60')
  reply.header('X-Entra-Auth-Reason', code)
  return sendPage(reply, createProblemPage(code, { ...more, style }), status)
}

/** The button that begins a sign-in for a page anew. */
export function tryAgain(target: string): PageAction {
  return { label: 'Sign in again', href: `/oauth2/start?rd=${encodeURIComponent(target)}` }
}
