import { randomBytes } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { failures } from '../failure.ts'
import { loginCookie, readCookies, sessionCookie } from '../session/cookie.ts'
import { type CurrentSession, sealedHardEndOf } from '../session/read-session.ts'
import { type Session, sealSession } from '../session/session.ts'
import { sendProblem, tryAgain } from './answer.ts'
import {
  clearCookie,
  currentSession,
  readVisit,
  redirect,
  type SignInContext,
  setCookie,
  single,
  type Visit,
  wasEndedSince,
} from './context.ts'
import type { EntraRefusal } from './entra.ts'
import { type IdToken, verifyIdToken } from './id-token.ts'
import {
  codeVerifierOf,
  isBound,
  type Login,
  type LoginState,
  loginSeconds,
  nonceOf,
  openState,
} from './login.ts'
import { ownReasons, revokeSession } from './own-revocations.ts'
import { isHarmless, isOutage, type ProblemCode, problemOf, readDetails } from './problems.ts'
import { begin, postpone, readLogin, redirectUriOf } from './start.ts'

/** One answer of Entra, with all that it belongs to. */
interface Return {
  readonly visit: Visit
  readonly state: LoginState
  readonly sealedState: string
  readonly login: Login
  /** The session that the browser has already. */
  readonly session: CurrentSession | undefined
  /** Whether it had one when the answer came. */
  readonly hadSession: boolean
}

/** Errors that only say that Entra wants to show a page, which a re-check forbade it. */
const needsPage = new Set([
  'login_required',
  'interaction_required',
  'consent_required',
  'account_selection_required',
])

/** `GET /oauth2/callback`: takes the answer of Entra and makes the session. */
export async function answerCallback(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const visit = readVisit(context, request)
  if (!visit) return sendProblem(context, reply, 'host_unknown')
  const query = request.query as Record<string, unknown>
  const sealedState = single(query.state)
  const state =
    sealedState === undefined ? undefined : openState(context.sealingKeys, sealedState, visit.host)
  if (sealedState === undefined || !state) {
    return sendProblem(context, reply, 'state_invalid', {
      details: readDetails(query.error_description),
    })
  }
  const session = currentSession(context, request, visit)
  // Back button, reload, or one of several tabs: what this answer was to bring is there.
  if (session && isNewer(session, state)) return redirect(reply, state.target)
  const action = tryAgain(state.target)
  const cookies = readCookies(request.raw.rawHeaders, loginCookie)
  if (cookies.length === 0) return sendProblem(context, reply, 'cookies_blocked', { action })
  const login = readLogin(context, request, visit)
  const isLate = visit.nowSeconds - state.startedAt > loginSeconds
  if (!login || isLate) return sendProblem(context, reply, 'state_invalid', { action })
  // Tabs that began before the browser had a cookie have states of cookies that are gone. Nothing of
  // this answer is used; the same browser begins anew, with the cookie that it has now.
  if (!isBound(state, login)) {
    return redirect(reply, `/oauth2/start?rd=${encodeURIComponent(state.target)}`)
  }
  const returned = { visit, state, sealedState, login, session, hadSession: session !== undefined }
  const error = errorInAddress(single(query.error))
  // One of each: of two, Entra and we might mean different ones.
  if (error === undefined && single(query.code) === undefined) {
    return sendProblem(context, reply, 'state_invalid', { action })
  }
  return error === undefined
    ? redeem(context, request, reply, returned)
    : refuse(context, request, reply, returned, {
        error,
        description: (single(query.error_description) ?? '').slice(0, maxDescription),
        isProven: false,
      })
}

/** Entra's own are shorter; the text in an address is whatever somebody writes there. */
const maxDescription = 1_000

/** An error of Entra's. */
interface SaidError {
  readonly error: string
  readonly description: string
  /** Whether it came from Entra's own server, and not in an address that anybody can write. */
  readonly isProven: boolean
}

/** The error that Entra sent along (RFC 6749 section 4.1.2.1), in a form that can be logged. */
function errorInAddress(said: string | undefined): string | undefined {
  if (said === undefined) return undefined
  return /^[a-z_]{1,64}$/.test(said) ? said : 'invalid_request'
}

/** Whether a session is what a sign-in that began at that time was for. */
function isNewer(session: Session, { startedAt, authContext }: LoginState): boolean {
  // `checkedAt` is a time of Entra's where the clock here is ahead; `signedInAt` is one of the clock here.
  if (Math.max(session.checkedAt, session.signedInAt) < startedAt) return false
  return authContext === undefined || session.authContexts.includes(authContext)
}

async function redeem(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
  returned: Return,
): Promise<FastifyReply> {
  const { visit, state, sealedState, login } = returned
  // Signed out after this sign-in began: its answer must not sign in again. The next sign-in begins after that.
  if (wasEndedSince(context, request, visit, state.startedAt) && !parallelOf(context, state)) {
    clearCookie(reply, sessionCookie)
    return redirect(reply, state.target)
  }
  const nonce = nonceOf(state, login)
  const askedAtMs = context.clock()
  let aheadMs = 0
  let token: string
  try {
    token = await context.entra().redeem({
      parameters: new URL(request.url, visit.origin).searchParams,
      state: sealedState,
      redirectUri: redirectUriOf(visit),
      codeVerifier: codeVerifierOf(state, login),
      nonce,
      onDate(ms) {
        aheadMs = context.clock() - ms
      },
    })
  } catch (error) {
    const { error: code, description } = error as EntraRefusal
    const said = { error: code, description, isProven: true }
    return refuse(context, request, reply, asOfNow(context, request, returned), said)
  }
  const { authorities, clockSkewSeconds } = context.rules()
  const verified = await verifyIdToken(token, {
    authorities,
    engine: context.engine,
    tenantId: visit.sessions.tenantId,
    clientId: visit.sessions.clientId,
    nonce,
    nowMs: context.clock(),
    clockSkewSeconds,
  })
  if (!verified.ok) {
    const { failure: reason, claim } = verified
    // Without the keys of the authority nothing is known of the token: an outage, not a wrong answer.
    const error = failures[reason].status === 503 ? 'entra_unavailable' : 'id_token_refused'
    context.log.error({ reason, claim }, 'ID token refused')
    return refuse(context, request, reply, asOfNow(context, request, returned), {
      error,
      description: '',
      isProven: error === 'entra_unavailable',
    })
  }
  const correctMs = askedAtMs - (aheadMs > toleratedAheadMs ? aheadMs : 0)
  const latest = verified.value.issuedAt + mostDatedBackSeconds
  const checkedAt = Math.floor(Math.min(correctMs / 1000, latest))
  return accept(
    context,
    request,
    reply,
    asOfNow(context, request, returned),
    verified.value,
    checkedAt,
  )
}

/** The same where the session may have been revoked while Entra was asked: then there is none. */
function asOfNow(context: SignInContext, request: FastifyRequest, returned: Return): Return {
  return { ...returned, session: currentSession(context, request, returned.visit) }
}

/**
 * A session is dated by the moment before Entra was asked. A revocation of the user compares with it, and
 * may be made while Entra answers. It may also come from a replica with another clock: where ours is ahead
 * of Entra's, by however much, a session from before the revocation would count. One that is dated too early is
 * revoked too often, and never too rarely. So the earlier clock counts.
 *
 * `Date` has whole seconds, and a server may send that of the second before.
 */
const toleratedAheadMs = 2_000
/** Where something on the way writes `Date`, the ID token says it too: Entra dates it up to five minutes back. */
const mostDatedBackSeconds = 5 * 60

async function accept(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { visit, state, session: former, hadSession }: Return,
  idToken: IdToken,
  checkedAt: number,
): Promise<FastifyReply> {
  const { target, authContext, isRecheck } = state
  if (authContext !== undefined && !idToken.authContexts.includes(authContext)) {
    return sendProblem(context, reply, 'step_up_required', { action: tryAgain(target) })
  }
  const parallel = isRecheck ? undefined : parallelOf(context, state)
  const isOwn = parallel !== undefined && isSamePerson(parallel.session, idToken)
  // Signed out in another tab meanwhile: this answer must not bring back what was ended.
  if (isOwn && parallel.isEnded) return redirect(reply, target)
  if (!former && (isRecheck || hadSession) && !isOwn) return redirect(reply, target)
  if (isRecheck && former && !isSamePerson(former, idToken)) {
    return begin(context, request, reply, visit, {
      target,
      authContext: undefined,
      recheck: undefined,
      loginHint: undefined,
    })
  }
  // Two tabs at once have one session. One that the browser has already is replaced, as by any sign-in.
  const isShared = isOwn && parallel.session.id !== former?.id
  const continued = isRecheck ? former : isShared ? parallel.session : undefined
  const session = createSession(visit, idToken, continued, checkedAt)
  const sealed = sealSession(context.sealingKeys, session)
  if (sealed === undefined) {
    context.log.warn({ user: session.userId, roles: session.roles.length }, 'session too large')
    return sendProblem(context, reply, 'session_too_large')
  }
  setCookie(reply, sessionCookie, sealed)
  context.entraSessions.see(session)
  if (!isRecheck) context.parallelSignIns.add(state, session)
  // The browser forgets the former one, so its sign-out could not end a copy of that cookie. That of another
  // person is theirs.
  if (!isRecheck && former && isSamePerson(former, idToken)) {
    await revokeSession(context, former, visit.nowSeconds, ownReasons.replaced)
  }
  const { id, tenantId: tenant, userId: user, host } = session
  const outcome = isRecheck ? 'rechecked' : 'signed_in'
  context.log.info({ tenant, user, session: id, host, outcome }, 'signed in')
  context.onOutcome(outcome)
  return redirect(reply, target)
}

/** The session of a tab that signed in at the same time, and whether it was ended since. */
function parallelOf({ parallelSignIns, revocations }: SignInContext, state: LoginState) {
  const session = parallelSignIns.find(state)
  return session && { session, isEnded: revocations.list.get('session', session.id) !== undefined }
}

/** OpenID Connect: `sub` is the person for this client; the others are how policies know it. */
function isSamePerson(session: Session, idToken: IdToken): boolean {
  return (
    session.subject === idToken.subject &&
    session.userId === idToken.userId &&
    session.tenantId === idToken.tenantId
  )
}

/** A session from an ID token; a re-check or a parallel tab keeps id, sign-in time and hard end of the former one. */
function createSession(
  { host, sessions, nowSeconds }: Visit,
  idToken: IdToken,
  former: CurrentSession | undefined,
  checkedAt: number,
): Session {
  const hardEnd = former ? sealedHardEndOf(former) : nowSeconds + sessions.sessionSeconds
  return {
    id: former?.id ?? randomBytes(16).toString('base64url'),
    host,
    clientId: sessions.clientId,
    tenantId: idToken.tenantId,
    userId: idToken.userId,
    subject: idToken.subject,
    keyId: idToken.keyId,
    signedInAt: former?.signedInAt ?? nowSeconds,
    checkedAt,
    softEnd: Math.min(hardEnd, nowSeconds + sessions.recheckSeconds),
    hardEnd,
    roles: idToken.roles,
    groups: idToken.groups.filter((group) => sessions.groups.has(group)),
    groupsLookedAt: sessions.groupsLookedAt,
    groupsOverage: idToken.groupsOverage,
    guest: idToken.guest,
    authContexts: idToken.authContexts,
    name: idToken.name,
    preferredUsername: idToken.preferredUsername,
    email: idToken.email,
    entraSessionId: idToken.entraSessionId,
    loginHint: idToken.loginHint,
  }
}

/** What follows an error: a page, another attempt, or nothing where the person is not to blame. */
async function refuse(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { visit, state, session }: Return,
  { error, description, isProven }: SaidError,
): Promise<FastifyReply> {
  const { target, isRecheck } = state
  const code = problemOf(error)
  const details = readDetails(description)
  const cause = isProven && code === 'invalid_client' && { description }
  // An alarm only for what Entra's server said: anybody can open an address.
  report(context, code, { error, ...details, ...cause }, isProven && isOutage(code))
  if (isRecheck && session) {
    // The same answer twice, as of a page that was reloaded: the first one brought what it could.
    if (error === 'invalid_grant') return redirect(reply, target)
    // An answer that is not Entra's, as of a proxy on the way, says nothing about the person.
    if (isHarmless(code)) {
      return postpone(context, reply, visit, session, target)
    }
    // Entra no longer confirms this person without showing a page, so the session ends. The person
    // has to sign in again.
    clearCookie(reply, sessionCookie)
    await revokeSession(context, session, visit.nowSeconds, ownReasons.recheck)
    if (needsPage.has(error)) {
      const { loginHint } = session
      const beginning = { target, authContext: undefined, recheck: undefined, loginHint }
      return begin(context, request, reply, visit, beginning)
    }
  }
  // One that is counted calls somebody. In an address, Entra never says that our credential is wrong.
  const isMadeUp = !isProven && code === 'invalid_client'
  const outcome = isMadeUp ? 'sign_in_failed' : code
  return sendProblem(context, reply, code, { details, action: tryAgain(target), outcome })
}

function report(context: SignInContext, code: ProblemCode, fields: object, isAlarm: boolean): void {
  if (code === 'overloaded') {
    // Anybody can cause this line.
    context.log.info({ reason: code }, 'too many sign-ins at a time')
  } else if (isAlarm) {
    context.log.error(fields, 'sign-in is out of order: Entra or the credential does not answer')
  } else {
    context.log.info({ ...fields, reason: code }, 'sign-in refused by Entra')
  }
}
