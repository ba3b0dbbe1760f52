import type { FastifyReply, FastifyRequest } from 'fastify'
import { loginCookie, readCookies, sessionCookie } from '../session/cookie.ts'
import { type CurrentSession, sealedHardEndOf } from '../session/read-session.ts'
import { sealSession } from '../session/session.ts'
import { sendProblem, tryAgain } from './answer.ts'
import {
  currentSession,
  readVisit,
  redirect,
  type SignInContext,
  setCookie,
  single,
  type Visit,
} from './context.ts'
import type { Endpoints, EntraRefusal } from './entra.ts'
import {
  codeVerifierOf,
  countStart,
  createLogin,
  createState,
  type Login,
  loginSeconds,
  nonceOf,
  openLogin,
  sealLogin,
  sealState,
} from './login.ts'
import { hashOf } from './pkce.ts'
import { readReturnPath } from './return-path.ts'

/** Metadata hardly changes; before a re-check it also tells whether Entra can be reached. */
const metadataMs = 24 * 3_600_000
const reachableMs = 60_000

/** After so long a re-check that could not be made is tried again, in seconds. */
const postponedSeconds = 5 * 60

const authContextForm = /^c[1-9][0-9]?$/

/** What is asked of Entra. */
export interface Beginning {
  readonly target: string
  readonly authContext: string | undefined
  /** Asks without a page, and takes the answer for this session only. */
  readonly recheck: CurrentSession | undefined
  /** Whom Entra suggests. */
  readonly loginHint: string | undefined
}

/** `GET /oauth2/start`: sends the browser to Entra. */
export async function answerStart(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const visit = readVisit(context, request)
  if (!visit) return sendProblem(context, reply, 'host_unknown')
  const { rd, acrs } = request.query as Record<string, unknown>
  const asked = single(acrs)
  const authContext = authContextForm.test(asked ?? '') ? asked : undefined
  const session = currentSession(context, request, visit)
  return begin(context, request, reply, visit, {
    target: readReturnPath(rd),
    authContext,
    recheck: authContext === undefined ? session : undefined,
    loginHint: session?.loginHint,
  })
}

/** Begins a sign-in or a re-check. */
export async function begin(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
  visit: Visit,
  beginning: Beginning,
): Promise<FastifyReply> {
  const { target, recheck } = beginning
  const login = countStart(
    readLogin(context, request, visit) ?? newLogin(visit),
    target,
    visit.nowSeconds,
  )
  if (!login) {
    // To the page and not to another start: whoever opened it in many tabs may be signed in by now.
    const action = { label: 'Go to the page', href: target }
    return sendProblem(context, reply, 'too_many_starts', { action })
  }
  let endpoints: Endpoints
  try {
    endpoints = await context.entra().endpoints(recheck ? reachableMs : metadataMs)
  } catch (error) {
    const { description } = error as EntraRefusal
    context.log.error({ problem: description }, 'Entra cannot be reached for a sign-in')
    if (!recheck) {
      return sendProblem(context, reply, 'entra_unavailable', { action: tryAgain(target) })
    }
    // Counted as well: a session that lacks the groups of a new policy is sent here again at once.
    setLogin(context, reply, login)
    return postpone(context, reply, visit, recheck, target)
  }
  const address = authorizationUrl(context, visit, endpoints, login, beginning)
  if (address === undefined) throw new Error('there is no sealing key')
  setLogin(context, reply, login)
  return redirect(reply, address)
}

function setLogin({ sealingKeys }: SignInContext, reply: FastifyReply, login: Login): void {
  const cookie = sealLogin(sealingKeys, login)
  if (cookie === undefined) throw new Error('there is no sealing key')
  setCookie(reply, loginCookie, cookie, loginSeconds)
}

/** The login of the browser; undefined where there is none, or more than one. */
export function readLogin(
  { sealingKeys }: SignInContext,
  request: FastifyRequest,
  { host, nowSeconds }: Visit,
): Login | undefined {
  const [value, second] = readCookies(request.raw.rawHeaders, loginCookie)
  if (value === undefined || second !== undefined) return undefined
  return openLogin(sealingKeys, value, host, nowSeconds)
}

function newLogin({ host, nowSeconds }: Visit): Login {
  return createLogin(host, nowSeconds)
}

function authorizationUrl(
  { config, sealingKeys }: SignInContext,
  visit: Visit,
  endpoints: Endpoints,
  login: Login,
  { target, authContext, recheck, loginHint }: Beginning,
): string | undefined {
  const state = createState(login, {
    target,
    authContext,
    startedAt: visit.nowSeconds,
    isRecheck: recheck !== undefined,
  })
  const sealed = sealState(sealingKeys, state)
  if (sealed === undefined) return undefined
  const url = new URL(endpoints.authorization)
  const parameters = {
    client_id: config().clientId,
    response_type: 'code',
    response_mode: 'query',
    redirect_uri: redirectUriOf(visit),
    // `oid` needs the scope profile.
    scope: 'openid profile email',
    state: sealed,
    nonce: nonceOf(state, login),
    code_challenge: hashOf(codeVerifierOf(state, login)),
    code_challenge_method: 'S256',
    ...(recheck && { prompt: 'none' }),
    ...(loginHint !== undefined && { login_hint: loginHint }),
    ...(authContext !== undefined && { claims: claimsRequest(authContext) }),
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url.href
}

/** The redirect URI of a host, as it is registered. */
export function redirectUriOf({ origin }: Pick<Visit, 'origin'>): string {
  return `${origin}/oauth2/callback`
}

function claimsRequest(authContext: string): string {
  return JSON.stringify({ id_token: { acrs: { essential: true, value: authContext } } })
}

/**
 * Lets a session go on for a while that could not be re-checked, through no fault of the person. What
 * Entra last said of it keeps its time, so revocations find it as before.
 */
export function postpone(
  { sealingKeys, onOutcome }: SignInContext,
  reply: FastifyReply,
  { nowSeconds }: Visit,
  session: CurrentSession,
  target: string,
): FastifyReply {
  const softEnd = Math.min(session.hardEnd, nowSeconds + postponedSeconds)
  const hardEnd = sealedHardEndOf(session)
  const sealed = sealSession(sealingKeys, { ...session, softEnd, hardEnd })
  if (sealed !== undefined) setCookie(reply, sessionCookie, sealed)
  onOutcome('postponed')
  return redirect(reply, target)
}
