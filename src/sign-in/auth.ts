import type { FastifyReply, FastifyRequest } from 'fastify'
import { failures } from '../failure.ts'
import { originOf } from '../session/hosts.ts'
import { isRightKey } from '../verify/caller.ts'
import { readCorrelation } from '../verify/correlation.ts'
import type { Refusal } from '../verify/outcome.ts'
import { readRequest } from '../verify/request.ts'
import { logRefusal, type RefusalOfToken, sendRefusal, verdictOf } from '../verify/route.ts'
import { signInPath } from '../verify/session-verifier.ts'
import { allowOrigin } from './answer.ts'
import {
  currentSession,
  isHttps,
  readVisit,
  redirect,
  type SignInContext,
  single,
} from './context.ts'
import { comesFromHere, isNavigation, isOwnRequest } from './navigation.ts'
import { readReturnPath } from './return-path.ts'

/**
 * `GET /oauth2/auth`: the verdict of a policy, for proxies without the action. It answers 202 with
 * the identity headers, 401, 403 or 503. It also does what the action does for sessions: requests
 * of other sites are rejected, and navigations after the soft end are redirected to a re-check.
 */
export async function answerAuth(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { policy: name = 'default', redirect: wantsRedirect } = request.query as Record<
    string,
    unknown
  >
  const rules = context.rules()
  const { headers } = request
  const correlation = readCorrelation(headers)
  const { requestId } = correlation
  const policy = typeof name === 'string' ? rules.policies.get(name) : undefined
  const forwardedHost = single(headers['x-forwarded-host']) ?? headers.host
  const rawHeaders = withHost(request.raw.rawHeaders, forwardedHost)
  const askedMethod = headers['x-forwarded-method'] ?? headers['x-original-method']
  const method = String(askedMethod ?? request.method).toUpperCase()
  const goesSomewhere = isNavigation(method, headers)

  function refuse(refusal: RefusalOfToken): FastifyReply {
    const { failure, token } = refusal
    context.onVerdict(policy?.name, verdictOf(failure), failure)
    logRefusal(context.refusals, correlation, refusal, policy)
    if (wantsRedirect === 'true' && goesSomewhere && refusal.signIn !== undefined) {
      const host = rules.sessions?.hosts.match(forwardedHost)
      if (host !== undefined) return redirect(reply, startUrl(request, host, refusal.signIn))
    }
    // Whatever the method: a form that is sent shows what comes back as well.
    const isForPerson = isNavigation('GET', headers) && headers.authorization === undefined
    const person =
      policy?.admitsSessions && isForPerson && refusal.signIn === undefined
        ? {
            failure,
            policy: policy.name,
            requestId,
            name: token?.name ?? token?.preferredUsername,
          }
        : undefined
    const page = person && context.refusalPage(person)
    if (page) allowOrigin(reply)
    return sendRefusal(reply, refusal, requestId, policy?.name, undefined, undefined, page)
  }

  if (!isRightKey(single(headers['x-entra-auth-key']), rules.callerKeys)) {
    return refuse({ allow: false, failure: 'caller_not_allowed' })
  }
  if (!policy) return refuse({ allow: false, failure: 'unknown_policy' })
  const verdict = await context.judge(rules, policy, readRequest(rawHeaders), rawHeaders)
  // A reload while a key was looked up: what counts are the rules in force now.
  if (context.rules() !== rules) return answerAuth(context, request, reply)
  if (!verdict.allow) {
    const isReported = context.clock() < policy.reportOnlyUntilMs
    if (!isReported) return refuse(verdict)
    context.onVerdict(policy.name, 'report', verdict.failure)
    logRefusal(context.refusals, correlation, verdict, policy, 'refusal only reported')
    return reply.code(202).header('X-Entra-Auth-Report', verdict.failure).send()
  }
  if (verdict.session) {
    // A session counts at a known host only.
    const host = String(rules.sessions?.hosts.match(forwardedHost))
    const origin = originOf(host, isHttps(request))
    // nginx always asks with GET. If it does not send the original method, the request may have
    // been a form.
    const saysNothing = headers['sec-fetch-site'] === undefined && headers.origin === undefined
    const isOwn =
      askedMethod === undefined && !saysNothing
        ? comesFromHere(headers, origin)
        : isOwnRequest(method, headers, origin)
    if (!isOwn && !policy.allowsCrossSite) {
      return refuse({ allow: false, failure: 'cross_site_request' })
    }
    if (goesSomewhere && has(verdict.allowance.headers, 'X-Entra-Auth-Recheck')) {
      return refuse({ allow: false, failure: 'session_recheck', signIn: signInPath })
    }
  }
  context.onVerdict(policy.name, 'allow')
  const sight = context.onFirstSight && verdict.firstSight?.()
  if (sight) context.onFirstSight?.(policy.name, sight, correlation)
  const identity = verdict.allowance.headers
  for (let i = 0; i < identity.length; i += 2) reply.header(String(identity[i]), identity[i + 1])
  return reply
    .code(202)
    .header('X-Entra-Auth-Verdict', 'allow')
    .header('X-Entra-Auth-Headers', rules.headerSet.list)
    .send()
}

/** Whether a list of names and values in turn has a name; a value may be the same text. */
function has(headers: readonly string[], name: string): boolean {
  return headers.some((text, i) => i % 2 === 0 && text === name)
}

/** The sign-in that comes back to where the browser was going. */
function startUrl(request: FastifyRequest, host: string, signIn: string): string {
  const uri =
    single(request.headers['x-forwarded-uri']) ?? single(request.headers['x-original-uri']) ?? '/'
  const rd = encodeURIComponent(readReturnPath(uri))
  return `${originOf(host, isHttps(request))}${signIn}${signIn.includes('?') ? '&' : '?'}rd=${rd}`
}

/** The headers as they came, with the host where no proxy said it: then the client speaks to us. */
function withHost(rawHeaders: readonly string[], host: string | undefined): readonly string[] {
  const isThere = rawHeaders.some(
    (name, i) => i % 2 === 0 && name.toLowerCase() === 'x-forwarded-host',
  )
  return isThere ? rawHeaders : [...rawHeaders, 'X-Forwarded-Host', String(host)]
}

/** `GET /oauth2/userinfo`: who is signed in, as JSON for the pages of the application. */
export function answerUserinfo(
  context: SignInContext,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const visit = readVisit(context, request)
  const session = visit && currentSession(context, request, visit)
  if (!session) {
    const { requestId } = readCorrelation(request.headers)
    const refusal: Refusal = { allow: false, failure: 'no_session', signIn: signInPath }
    return sendRefusal(reply, refusal, requestId).code(failures.no_session.status)
  }
  return reply.send({
    user: session.userId,
    tenant: session.tenantId,
    name: session.name ?? null,
    preferredUsername: session.preferredUsername ?? null,
    email: session.email ?? null,
    roles: session.roles,
    groups: session.groups,
    signedInAt: session.signedInAt,
    recheckAt: session.softEnd,
    endsAt: session.hardEnd,
  })
}
