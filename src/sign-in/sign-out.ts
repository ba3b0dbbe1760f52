import type { FastifyReply, FastifyRequest } from 'fastify'
import { loginCookie, sessionCookie } from '../session/cookie.ts'
import { allowOrigin, sendPage, sendProblem } from './answer.ts'
import {
  clearCookie,
  currentSession,
  readVisit,
  redirect,
  type SignInContext,
  single,
} from './context.ts'
import { comesFromHere, isNavigation } from './navigation.ts'
import { countOwn, createAccountCounts, ownReasons, revokeSession } from './own-revocations.ts'
import { createSignedOutPage, createSignOutPage } from './page.ts'

const metadataMs = 24 * 3_600_000

/** `GET` and `POST /oauth2/sign_out`: ends the session here and at Entra, or asks first. */
export async function answerSignOut(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const visit = readVisit(context, request)
  if (!visit) return sendProblem(context, reply, 'host_unknown')
  const session = currentSession(context, request, visit)
  if (!isMeant(request, visit.origin)) {
    const name = session?.name ?? session?.preferredUsername
    return sendPage(allowOrigin(reply), createSignOutPage(context.style, name))
  }
  clearCookie(reply, sessionCookie)
  clearCookie(reply, loginCookie)
  if (!session) return redirect(reply, '/oauth2/signed_out', 303)
  await revokeSession(context, session, visit.nowSeconds, ownReasons.signedOut)
  context.log.info({ user: session.userId, session: session.id }, 'signed out')
  context.onOutcome('signed_out')
  const signedOut = `${visit.origin}/oauth2/signed_out`
  const endpoints = await context
    .entra()
    .endpoints(metadataMs)
    .catch(() => undefined)
  if (endpoints?.endSession === undefined) return redirect(reply, '/oauth2/signed_out', 303)
  const url = new URL(endpoints.endSession)
  url.searchParams.set('post_logout_redirect_uri', signedOut)
  // Without it Entra asks which account is meant.
  if (session.loginHint !== undefined) url.searchParams.set('logout_hint', session.loginHint)
  return redirect(reply, url.href, 303)
}

/** Another site can make a browser come here, and nobody else should sign a person out. */
function isMeant(request: FastifyRequest, origin: string): boolean {
  const { headers } = request
  const isSilent = headers['sec-fetch-site'] === undefined && headers.origin === undefined
  if (request.method === 'POST' && isSilent) return true
  // A picture or a link that is fetched ahead is nobody's wish.
  if (request.method === 'GET' && headers['sec-fetch-mode'] !== undefined) {
    if (!isNavigation(request.method, headers)) return false
  }
  return comesFromHere(headers, origin)
}

/** `GET /oauth2/signed_out`: where Entra sends the browser after it. */
export function answerSignedOut(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  if (!readVisit(context, request)) return sendProblem(context, reply, 'host_unknown')
  return sendPage(reply, createSignedOutPage(context.style))
}

/**
 * Calls of the front channel for sessions that nobody was seen with here, in a minute, and recent revocations of
 * the front channel: anybody can make these calls, and administrators must always find room.
 */
const maxFrontchannelCalls = 120
const maxFrontchannelRevocations = 1_000

/**
 * The same in all, recent or not: each is kept for `sessionHours`, up to a week. As many as those limits leave in eight
 * hours, at about 600 bytes.
 */
export const maxGuesses = 24_000

/** Creates `GET /oauth2/frontchannel_logout`: somebody signed out elsewhere (OpenID Connect Front-Channel Logout 1.0). */
export function createFrontchannelLogout(context: SignInContext) {
  const guesses = createAccountCounts()
  let windowStartMs = 0
  let calls = 0
  let loggedAtMs = Number.NEGATIVE_INFINITY

  /** The id of a session is a secret of Entra's, so guesses are harmless. Their number must be as well. */
  function isTooMany(): boolean {
    const nowMs = context.clock()
    if (Math.abs(nowMs - windowStartMs) >= 60_000) {
      windowStartMs = nowMs
      calls = 0
    }
    calls++
    if (calls > maxFrontchannelCalls) return true
    if (guesses.count('', nowMs / 1_000) >= maxGuesses) return true
    return countOwn(context, ownReasons.elsewhere) >= maxFrontchannelRevocations
  }

  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const visit = readVisit(context, request)
    if (!visit) return sendProblem(context, reply, 'host_unknown')
    // The id is a GUID of Entra's. It sends no `iss`, and the specification lets an application ignore it
    // (section 3): anybody knows the issuer, and a call for a session that exists must always count.
    const sid = single((request.query as Record<string, unknown>).sid)
    if (sid === undefined || !/^[\w-]{16,128}$/.test(sid)) {
      return sendProblem(context, reply, 'malformed_request')
    }
    // Of a session that is known here, or was until a while ago: no guess, so nobody can use this up.
    const known = context.entraSessions.find(sid, visit.nowSeconds)
    if (!known && isTooMany()) {
      // Anybody can cause this line.
      if (Math.abs(visit.nowSeconds * 1000 - loggedAtMs) >= 60_000) {
        loggedAtMs = visit.nowSeconds * 1000
        context.log.warn({}, 'front-channel logouts beyond the limit are left out')
      }
      return reply.code(429).header('Retry-After', '60').send()
    }
    // Another replica may have made one that ends later.
    const hardEnd = Math.max(visit.nowSeconds + visit.sessions.sessionSeconds, known?.hardEnd ?? 0)
    if (!known) guesses.add('', hardEnd, visit.nowSeconds)
    const ending = { ...known, id: sid, hardEnd }
    await revokeSession(context, ending, visit.nowSeconds, ownReasons.elsewhere)
    return reply.code(200).type('text/html; charset=utf-8').send('')
  }
}
