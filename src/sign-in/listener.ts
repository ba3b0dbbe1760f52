import cookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { SignInConfig, TenantConfig } from '../config/config.ts'
import type { Credential } from '../credential/credential.ts'
import type { FailureCode } from '../failure.ts'
import { buildListener } from '../listener.ts'
import { readCorrelation } from '../verify/correlation.ts'
import { type CreateRefusalPage, sendRefusal } from '../verify/route.ts'
import { sendProblem } from './answer.ts'
import { answerAuth, answerUserinfo } from './auth.ts'
import { answerCallback } from './callback.ts'
import type { SignInContext, SignInRuntime } from './context.ts'
import { createEntra, type Entra } from './entra.ts'
import { createAccountCounts } from './own-revocations.ts'
import { contentSecurityPolicy, type PageStyle } from './page.ts'
import { createParallelSignIns } from './parallel-sign-ins.ts'
import { type ProblemCode, problems } from './problems.ts'
import { createRefusalPage } from './refusal-page.ts'
import { answerSignedOut, answerSignOut, createFrontchannelLogout } from './sign-out.ts'
import { answerStart } from './start.ts'

/** What the listener is built from; a reload brings another one. */
export interface SignInSettings {
  readonly config: SignInConfig
  readonly tenant: TenantConfig
  readonly credential: Credential
  readonly style: PageStyle
  /** Whether there is a place for revocations. */
  readonly canRevoke: boolean
}

/** The listener that people sign in at. */
export interface SignInListener {
  readonly app: FastifyInstance
  /** The page for a person whom a policy refuses. */
  readonly refusalPage: CreateRefusalPage
  /** Puts other settings in force; its address stays as it was. */
  reload(settings: SignInSettings): void
}

/** Builds the listener; it is not yet listening. */
export function buildSignIn(settings: SignInSettings, runtime: SignInRuntime): SignInListener {
  let current = settings
  let entra = entraOf(settings)

  function entraOf({ tenant, config, credential }: SignInSettings): Entra {
    return createEntra(tenant, config.clientId, credential, runtime)
  }

  const authority = () => new URL(current.tenant.authority).origin

  const context: SignInContext = {
    ...runtime,
    config: () => current.config,
    entra: () => entra,
    get style() {
      return current.style
    },
    canRevoke: () => current.canRevoke,
    accounts: createAccountCounts(),
    parallelSignIns: createParallelSignIns(),
    refusalPage: (person) => createRefusalPage(current.style, authority(), person),
  }
  // An address that cannot be decoded reaches no hook.
  function answer(request: FastifyRequest, reply: FastifyReply, failure: FailureCode) {
    protect(reply, authority())
    const isUnrouted = failure === 'not_found' || failure === 'method_not_allowed'
    if (!isUnrouted) return sendProblem(context, reply, pageOf(failure))
    const url = request.url.replace(/\?.*/s, '')
    const allowed = ['GET', 'HEAD', 'POST'].filter((method) => app.hasRoute({ method, url }))
    if (allowed.length === 0) return sendProblem(context, reply, 'not_found')
    return sendProblem(context, reply.header('Allow', allowed.join(', ')), 'method_not_allowed')
  }
  const onUnread = () => context.onOutcome('malformed_request')
  const app = buildListener(runtime.log, { answer, onUnread })
  app.register(cookie)
  // A form of ours has nothing in it, and nobody else has anything to say.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => done(null))
  app.addHook('onRequest', (request, reply, done) => {
    const origin = authority()
    protect(reply, origin)
    // Entra loads this one in a frame, and nobody else may.
    if (request.routeOptions.url === '/oauth2/frontchannel_logout') {
      reply.header('Content-Security-Policy', `default-src 'none'; frame-ancestors ${origin}`)
      reply.removeHeader('X-Frame-Options')
    }
    if (shedWhenOverloaded.has(request.routeOptions.url ?? '') && context.isOverloaded()) {
      return void shed(context, request, reply)
    }
    done()
  })
  addRoutes(app, context)
  return {
    app,
    refusalPage: context.refusalPage,
    reload(next) {
      current = next
      entra = entraOf(next)
    },
  }
}

/** Sets the headers of each answer: nothing is stored, framed or loaded from elsewhere. */
function protect(reply: FastifyReply, authority: string): FastifyReply {
  return reply.headers({
    'Cache-Control': 'no-store',
    'Content-Security-Policy': contentSecurityPolicy(authority),
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
  })
}

/** The page for a failure of the listener itself. */
function pageOf(failure: FailureCode): ProblemCode {
  const known = [failure, 'internal_error'].find((code) => Object.hasOwn(problems, code))
  return known as ProblemCode
}

/** Routes that cost something. Signing out is not among them: it must always work. */
const shedWhenOverloaded: ReadonlySet<string> = new Set([
  '/oauth2/start',
  '/oauth2/callback',
  '/oauth2/auth',
  '/oauth2/userinfo',
])

/** Answers at once, which is what keeps the others in time; a callback can be loaded again. */
function shed(context: SignInContext, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const path = request.routeOptions.url
  if (path !== '/oauth2/auth' && path !== '/oauth2/userinfo') {
    return sendProblem(context, reply, 'overloaded')
  }
  if (path === '/oauth2/auth') context.onVerdict(undefined, 'unavailable', 'overloaded')
  const { requestId } = readCorrelation(request.headers)
  return sendRefusal(reply, { allow: false, failure: 'overloaded' }, requestId)
}

function addRoutes(app: FastifyInstance, context: SignInContext): void {
  const frontchannelLogout = createFrontchannelLogout(context)
  // Nothing but GET and POST: a HEAD would begin a sign-in that nobody ends.
  const options = { exposeHeadRoute: false }
  app.get('/oauth2/start', options, (request, reply) => answerStart(context, request, reply))
  app.get('/oauth2/callback', options, (request, reply) => answerCallback(context, request, reply))
  app.get('/oauth2/sign_out', options, (request, reply) => answerSignOut(context, request, reply))
  app.post('/oauth2/sign_out', (request, reply) => answerSignOut(context, request, reply))
  app.get('/oauth2/signed_out', options, (request, reply) =>
    answerSignedOut(context, request, reply),
  )
  app.get('/oauth2/userinfo', options, (request, reply) => answerUserinfo(context, request, reply))
  app.get('/oauth2/auth', options, (request, reply) => answerAuth(context, request, reply))
  app.get('/oauth2/frontchannel_logout', options, (request, reply) =>
    context.canRevoke()
      ? frontchannelLogout(request, reply)
      : sendProblem(context, reply, 'not_found'),
  )
}
