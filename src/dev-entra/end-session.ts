import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { DevEntraContext } from './context.ts'
import { findClient } from './directory.ts'
import { resolveAuthority } from './discovery.ts'
import { type Parameters, readParameters } from './parameters.ts'
import { findUser, shapeLoginHint } from './personas.ts'
import {
  type Html,
  html,
  pageHeaders,
  shapeAccounts,
  shapeForm,
  shapePage,
} from './sign-in-pages.ts'
import type { SsoAccount, SsoSession } from './sso-sessions.ts'
import { deriveIssuer } from './token-issuer.ts'

type Route = { Params: { tenant: string } }

/**
 * Adds the end-session endpoint. It signs out the account of `logout_hint`, or the only account. It
 * calls the front-channel logout URL of each application in a frame. Then it redirects to
 * `post_logout_redirect_uri`, if that is registered.
 * https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request
 */
export function addEndSession(app: FastifyInstance, context: DevEntraContext): void {
  const path = '/:tenant/oauth2/v2.0/logout'
  const config = { devEntraEndpoint: 'logout' } as const
  app.get<Route>(path, { config }, (request, reply) =>
    answer(request, reply, readParameters(request.query), undefined, context),
  )
  app.post<Route>(path, { config }, (request, reply) => {
    const form = readParameters(request.body)
    const query = readParameters(request.query)
    const isAnswer = form.get('account') !== undefined
    return answer(request, reply, isAnswer ? query : form, form.get('account'), context)
  })
}

function answer(
  request: FastifyRequest<Route>,
  reply: FastifyReply,
  parameters: Parameters,
  clicked: string | undefined,
  context: DevEntraContext,
): FastifyReply {
  resolveAuthority(request.params.tenant, context)
  const session: SsoSession = context.sessions.find(request.headers.cookie) ?? new Map()
  const chosen = chooseAccount(session, parameters.get('logout_hint'), clicked)
  if (!chosen && session.size > 0) {
    const users = [...session.keys()].flatMap((name) => findUser(name) ?? [])
    const query = new URLSearchParams(parameters.encode())
    const form = shapeForm(
      `${request.url.split('?')[0]}?${query}`,
      {},
      shapeAccounts(users, new Set(session.keys())),
    )
    return send(reply, 'Pick an account to sign out', form)
  }
  if (chosen) session.delete(chosen.persona)
  const frames = chosen ? listFrames(chosen, context) : []
  const wanted = parameters.get('post_logout_redirect_uri')
  const target = wanted && context.registrations.allowsReturn(wanted) ? new URL(wanted) : undefined
  const state = parameters.get('state')
  if (target && state !== undefined) target.searchParams.set('state', state)
  if (target && frames.length === 0) {
    return reply.header('cache-control', 'no-store').redirect(target.href)
  }
  const body = html`<p>It’s a good idea to close all browser windows.</p>
${frames.map((frame) => html`<iframe src="${frame}" title="Sign-out of an application"></iframe>`)}
${target ? html`<p><a href="${target.href}">Return to the application</a></p>` : html``}`
  return send(reply, 'You signed out of your account', body, frames, target?.href)
}

function chooseAccount(
  session: SsoSession,
  hint: string | undefined,
  clicked: string | undefined,
): SsoAccount | undefined {
  if (clicked !== undefined) return session.get(clicked)
  if (hint !== undefined) {
    const hinted = findUser(hint)
    // A name alone must not sign anybody out without a question: the claim login_hint is a secret.
    if (hinted && hint === shapeLoginHint(hinted)) return session.get(hinted.name)
  }
  return session.size === 1 ? [...session.values()][0] : undefined
}

/** The addresses to call, with issuer and session id (OpenID Connect Front-Channel Logout 1.0). */
function listFrames(account: SsoAccount, { registrations, origin }: DevEntraContext): string[] {
  const persona = findUser(account.persona)
  return [...account.clients].flatMap((clientId) => {
    const client = findClient(clientId)
    const address = client && registrations.logoutUrl(client)
    if (address === undefined || !persona) return []
    const url = new URL(address)
    url.searchParams.set('iss', deriveIssuer(origin(), persona.tenant.id, '2.0'))
    url.searchParams.set('sid', account.sid)
    return [url.href]
  })
}

function send(
  reply: FastifyReply,
  title: string,
  body: Html,
  frames: readonly string[] = [],
  refreshTo?: string,
): FastifyReply {
  const origins = [...new Set(frames.map((frame) => new URL(frame).origin))]
  return reply.headers(pageHeaders(origins)).send(shapePage(title, body, refreshTo))
}
