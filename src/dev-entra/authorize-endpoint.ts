import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import {
  type AuthorizeRequest,
  type ReplyAddress,
  readAuthorizeRequest,
  readReplyAddress,
} from './authorize-request.ts'
import type { DevEntraContext } from './context.ts'
import { EntraError, shapeEntraError } from './entra-error.ts'
import { type Parameters, readParameters } from './parameters.ts'
import type { UserPersona } from './personas.ts'
import { decideSignIn, type SignInAnswers, type SignInStep } from './sign-in-decision.ts'
import {
  type Html,
  html,
  pageHeaders,
  shapeAccounts,
  shapeConsent,
  shapeEnter,
  shapeErrorDetails,
  shapeForm,
  shapeMultiFactor,
  shapePage,
} from './sign-in-pages.ts'
import type { SsoSession } from './sso-sessions.ts'

type Route = { Params: { tenant: string } }

const noAnswers: SignInAnswers = { multiFactor: false, other: false }

/**
 * Adds the v2.0 authorization endpoint with its pages. A client that does not ask for HTML gets no
 * page: it signs in the persona of `login_hint` (default alice) and is redirected at once.
 */
export function addAuthorizeEndpoint(app: FastifyInstance, context: DevEntraContext): void {
  const consents = new Set<string>()
  const path = '/:tenant/oauth2/v2.0/authorize'
  const config = { devEntraEndpoint: 'authorize' } as const
  app.get<Route>(path, { config }, (request, reply) =>
    answer(request, reply, readParameters(request.query), noAnswers, context, consents),
  )
  app.post<Route>(path, { config }, (request, reply) =>
    answer(request, reply, readParameters(request.body), noAnswers, context, consents),
  )
  // The forms of the pages: the request stands in the query, the answers in the body.
  app.post<Route>('/:tenant/login', (request, reply) =>
    answer(
      request,
      reply,
      readParameters(request.query),
      readAnswers(readParameters(request.body)),
      context,
      consents,
    ),
  )
}

function readAnswers(form: Parameters): SignInAnswers {
  const account = form.get('account')
  const consent = form.get('consent')
  return {
    multiFactor: form.get('multi_factor') === 'yes',
    other: form.get('other') === 'yes',
    ...(account === undefined ? {} : { account }),
    ...(consent === 'accept' || consent === 'cancel' ? { consent } : {}),
  }
}

function answer(
  httpRequest: FastifyRequest<Route>,
  reply: FastifyReply,
  parameters: Parameters,
  answers: SignInAnswers,
  context: DevEntraContext,
  consents: Set<string>,
): FastifyReply {
  const withoutPages = !/text\/html/.test(httpRequest.headers.accept ?? '')
  const correlationId = readCorrelationId(httpRequest, parameters)
  const failed = (failure: EntraError) =>
    shapeEntraError(failure, context.now(), context.origin(), correlationId)
  let address: ReplyAddress | undefined
  try {
    address = readReplyAddress(parameters, context)
    const request = readAuthorizeRequest(parameters, address, httpRequest.params.tenant, context)
    let session = context.sessions.find(httpRequest.headers.cookie)
    const step = decideSignIn({
      request,
      session: session ?? new Map(),
      answers,
      refusals: context.refusals,
      hasConsented: ({ oid }, clientId) => consents.has(`${oid} ${clientId}`),
      withoutPages,
    })
    const persona = step.kind === 'picker' || step.kind === 'enter' ? undefined : step.persona
    if (persona && request.prompt !== 'none') {
      if (!session) {
        const begun = context.sessions.begin()
        session = begun.session
        reply.header('set-cookie', begun.setCookie)
      }
      remember(session, persona, answers, step, withoutPages, context)
    }
    if (step.kind === 'done') {
      if (answers.consent === 'accept') consents.add(`${step.persona.oid} ${request.client.appId}`)
      return send(address, { code: addSignIn(request, step.persona, session, context) }, reply)
    }
    if (step.kind === 'refused') {
      const shown = !withoutPages && request.prompt !== 'none' && step.failure.code !== 65004
      const body = failed(step.failure)
      if (!shown) return send(address, shapeRefusal(body), reply)
      return sendErrorPage(body, reply.code(200), shapeReturn(address, body))
    }
    return sendStep(step, request, httpRequest, session, answers, parameters, reply)
  } catch (failure) {
    if (!(failure instanceof EntraError)) throw failure
    const body = failed(failure)
    if (address) return send(address, shapeRefusal(body), reply)
    return withoutPages
      ? reply.code(failure.status).send(body)
      : sendErrorPage(body, reply.code(failure.status))
  }
}

function remember(
  session: SsoSession,
  persona: UserPersona,
  answers: SignInAnswers,
  step: SignInStep,
  withoutPages: boolean,
  context: DevEntraContext,
): void {
  if (step.kind === 'refused' && step.failure.code === 50057) return
  const account = context.sessions.signIn(session, persona.name)
  account.multiFactor ||= answers.multiFactor || withoutPages
}

function addSignIn(
  request: AuthorizeRequest,
  persona: UserPersona,
  session: SsoSession | undefined,
  { signIns, sessions }: DevEntraContext,
): string {
  const account = sessions.signIn(session ?? new Map(), persona.name)
  for (const context of request.contexts) account.contexts.add(context)
  account.clients.add(request.client.appId)
  const { segment, client, redirectUri, scope, codeChallenge, nonce } = request
  return signIns.add({
    persona: persona.name,
    tenantId: segment === 'common' || segment === 'organizations' ? persona.tenant.id : segment,
    clientId: client.appId,
    redirectUri,
    scope,
    sid: account.sid,
    contexts: [...account.contexts],
    ...(codeChallenge === undefined ? {} : { codeChallenge }),
    ...(nonce === undefined ? {} : { nonce }),
  })
}

type ErrorBody = ReturnType<typeof shapeEntraError>

function shapeRefusal(body: ErrorBody): Record<string, string> {
  return {
    error: body.error,
    error_description: body.error_description,
    error_uri: body.error_uri,
  }
}

/** Sends the answer to the application, by redirect or by a form that its person sends on. */
function send(
  { redirectUri, state, formPost }: ReplyAddress,
  values: Readonly<Record<string, string>>,
  reply: FastifyReply,
): FastifyReply {
  const all = state === undefined ? values : { ...values, state }
  if (formPost) {
    const button = html`<div class="buttons"><button class="button main">Continue</button></div>`
    return sendPage(reply, 'Continue to the application', shapeForm(redirectUri, all, button))
  }
  const target = new URL(redirectUri)
  for (const [name, value] of Object.entries(all)) target.searchParams.set(name, value)
  return reply.header('cache-control', 'no-store').redirect(target.href)
}

function shapeReturn({ redirectUri, state }: ReplyAddress, body: ErrorBody): Html {
  const target = new URL(redirectUri)
  const values = { ...shapeRefusal(body), ...(state === undefined ? {} : { state }) }
  for (const [name, value] of Object.entries(values)) target.searchParams.set(name, value)
  return html`<div class="buttons"><a class="button" href="${target.href}">Return to the application</a></div>`
}

function sendErrorPage(body: ErrorBody, reply: FastifyReply, more: Html = html``): FastifyReply {
  const details = shapeErrorDetails({
    description: body.error_description.replace(/ Trace ID: .*$/s, ''),
    requestId: body.trace_id,
    correlationId: body.correlation_id,
    timestamp: body.timestamp,
  })
  const text = html`<p>Sorry, but we’re having trouble signing you in.</p>${details}${more}`
  return sendPage(reply, 'Sign in', text)
}

function sendStep(
  step: Exclude<SignInStep, { kind: 'done' | 'refused' }>,
  request: AuthorizeRequest,
  { url, params }: FastifyRequest<Route>,
  session: SsoSession | undefined,
  answers: SignInAnswers,
  parameters: Parameters,
  reply: FastifyReply,
): FastifyReply {
  const query = url.includes('?') ? url.slice(url.indexOf('?')) : `?${parameters.encode()}`
  const action = `/${encodeURIComponent(params.tenant)}/login${query}`
  const hidden = {
    ...(answers.multiFactor ? { multi_factor: 'yes' } : {}),
    ...('persona' in step && step.kind !== 'enter' ? { account: step.persona.name } : {}),
  }
  const show = (title: string, body: Html) =>
    sendPage(reply, title, shapeForm(action, hidden, body))
  const signedIn = new Set(session?.keys())
  switch (step.kind) {
    case 'picker':
      return show(
        signedIn.size > 0 ? 'Pick an account' : 'Sign in',
        shapeAccounts(step.candidates, signedIn, step.alert),
      )
    case 'enter':
      return show('Enter password', shapeEnter(step.persona, step.alert))
    case 'multi-factor':
      return show('Approve sign in request', shapeMultiFactor(step.persona, false))
    case 'multi-factor-registration':
      return show('More information required', shapeMultiFactor(step.persona, true))
    case 'consent':
      return show(
        'Permissions requested',
        shapeConsent(
          step.persona,
          request.client.name,
          request.scope.split(' ').filter((name) => name !== ''),
        ),
      )
  }
}

function sendPage(reply: FastifyReply, title: string, body: Html): FastifyReply {
  return reply.headers(pageHeaders()).send(shapePage(title, body))
}

/** The correlation id that the client chose, by parameter or header, or a new one. */
function readCorrelationId({ headers }: FastifyRequest, parameters: Parameters): string {
  const chosen = parameters.get('client-request-id') ?? String(headers['client-request-id'] ?? '')
  return /^[0-9a-f-]{36}$/i.test(chosen) ? chosen : randomUUID()
}
