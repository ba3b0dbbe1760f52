import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type FailureCode, failures } from '../failure.ts'
import type { Policy } from '../policy/compile.ts'
import { findMissing, tellCaller } from '../policy/missing.ts'
import type { AccessToken } from '../token/claims.ts'
import { createAllowReply, formatLines, formatPrepared } from './allow-reply.ts'
import type { OnFirstSight } from './audit-log.ts'
import { isRightKey } from './caller.ts'
import { createChallenge, createRefusalBody } from './challenge.ts'
import { type Correlation, readCorrelation } from './correlation.ts'
import type { Judge } from './judge.ts'
import { type Allowance, type Refusal, statusOf } from './outcome.ts'
import type { RefusalLog } from './refusal-log.ts'
import { readRequest } from './request.ts'
import type { Rules } from './rules.ts'
import type { Verdict } from './verifier.ts'

/** Version of the contract between this service and the action in HAProxy. */
const contractVersion = '1'

/** What the route needs. */
export interface VerifyRouteOptions {
  readonly judge: Judge
  /** The rules in force; another object after a reload. */
  readonly rules: () => Rules
  readonly clock: () => number
  readonly isStopping: () => boolean
  readonly isOverloaded: () => boolean
  /** The longest time that a verdict may be cached now (s). Absent if there is no limit. */
  readonly verdictLife?: (() => number) | undefined
  readonly onVerdict: OnVerdict
  /** Is told how long each answer took, in ms. */
  readonly onAnswer?: ((ms: number) => void) | undefined
  readonly refusals: RefusalLog
  /** Absent where nobody keeps an audit. */
  readonly onFirstSight?: OnFirstSight | undefined
  /** Absent where nobody signs in with a browser. */
  readonly refusalPage?: CreateRefusalPage | undefined
}

/** Whom a page about a refusal is for. */
export interface RefusedPerson {
  readonly failure: FailureCode
  readonly policy: string
  readonly requestId: string
  /** As Entra spells it, where it is known. */
  readonly name: string | undefined
}

/** A page for a person, in place of the JSON of a refusal. */
export interface RefusalPage {
  readonly html: string
  readonly contentSecurityPolicy: string
}

/** Makes the page for a person whom a policy refuses. */
export type CreateRefusalPage = (person: RefusedPerson) => RefusalPage

/** Is told of each verdict; `policy` is undefined where no configured policy was asked for. */
export type OnVerdict = (
  policy: string | undefined,
  verdict: 'allow' | 'report' | 'deny' | 'unavailable',
  reason?: FailureCode,
) => void

/** One request with the rules that it is answered by. */
interface Exchange {
  readonly rules: Rules
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly wantsPrepared: boolean | undefined
}

/** A refusal with what the log may say of the token. */
export type RefusalOfToken = Refusal & { readonly token?: AccessToken }

/** Adds `GET /verify` and `GET /verify/{policy}`. */
export function addVerifyRoutes(app: FastifyInstance, options: VerifyRouteOptions): void {
  const { judge, clock } = options
  const { keepAliveTimeout: keepAliveTimeoutMs = 0 } = app.initialConfig
  const allowReply = createAllowReply({ clock, keepAliveTimeoutMs })

  function answer(policyName: string, request: FastifyRequest, reply: FastifyReply) {
    const startMs = performance.now()
    const answered = decide(policyName, request, reply)
    if (!(answered instanceof Promise)) {
      options.onAnswer?.(performance.now() - startMs)
      return answered
    }
    return answered.then((late) => {
      options.onAnswer?.(performance.now() - startMs)
      return late
    })
  }

  function decide(
    policyName: string,
    request: FastifyRequest,
    reply: FastifyReply,
  ): FastifyReply | undefined | Promise<FastifyReply | undefined> {
    const rules = options.rules()
    const verifyRequest = readRequest(request.raw.rawHeaders)
    const exchange = { rules, request, reply, wantsPrepared: verifyRequest.wantsPrepared }
    // Before any work: an answer at once is what keeps the others in time.
    if (options.isOverloaded()) return refuse(exchange, { allow: false, failure: 'overloaded' })
    if (!isRightKey(verifyRequest.callerKey, rules.callerKeys)) {
      return refuse(exchange, { allow: false, failure: 'caller_not_allowed' })
    }
    const policy = rules.policies.get(policyName)
    if (!policy) return refuse(exchange, { allow: false, failure: 'unknown_policy' })
    const verdict = judge(rules, policy, verifyRequest, request.raw.rawHeaders)
    if (!(verdict instanceof Promise)) return send(exchange, policy, verdict)
    return verdict.then((late) => {
      // A reload while a key was looked up: what counts are the rules in force now.
      if (options.rules() === rules) return send(exchange, policy, late)
      return decide(policyName, request, reply)
    })
  }

  function send(exchange: Exchange, policy: Policy, verdict: Verdict) {
    if (!verdict.allow) {
      if (options.clock() < policy.reportOnlyUntilMs) return report(exchange, policy, verdict)
      return refuse(exchange, verdict, policy)
    }
    const sight = options.onFirstSight && verdict.firstSight?.()
    if (sight) {
      const correlation = readCorrelation(exchange.request.headers)
      options.onFirstSight?.(policy.name, sight, correlation)
    }
    const { verdictLife } = options
    const longest = verdictLife ? Math.max(0, Math.floor(verdictLife())) : Infinity
    const lines = linesOf(exchange, policy, verdict.allowance)
    const { maxAgeSeconds, actionMaxAgeSeconds = maxAgeSeconds } = verdict
    allow(
      exchange.reply,
      lines,
      Math.min(maxAgeSeconds, longest),
      exchange.wantsPrepared ? Math.min(actionMaxAgeSeconds, longest) : undefined,
    )
    // Last: an exception before is answered as one, and counted as one.
    options.onVerdict(policy.name, 'allow')
    return undefined
  }

  /** Sends each 200, past Fastify's reply: its header handling costs more than the verdict itself. */
  function allow(
    reply: FastifyReply,
    lines: string,
    maxAgeSeconds: number,
    actionMaxAgeSeconds = maxAgeSeconds,
  ): undefined {
    const age = { maxAgeSeconds, actionMaxAgeSeconds }
    // First, so that an exception still reaches the error handler and the request an answer.
    allowReply.send(reply.raw, lines, age, options.isStopping())
    reply.hijack()
  }

  /** The reply as text; made once, since most tokens come again. */
  function linesOf(exchange: Exchange, policy: Policy, allowance: Allowance): string {
    const kind = exchange.wantsPrepared ? 'preparedLines' : 'lines'
    allowance[kind] ??= formatLines(allowHeadersFor(exchange, policy, allowance))
    return allowance[kind]
  }

  /** A refusal that is only reported yet: an allow without any identity. */
  function report(exchange: Exchange, policy: Policy, refusal: RefusalOfToken): undefined {
    const { rules, request } = exchange
    options.onVerdict(policy.name, 'report', refusal.failure)
    const correlation = readCorrelation(request.headers)
    logRefusal(options.refusals, correlation, refusal, policy, 'refusal only reported')
    const empty = rules.headerSet.names.flatMap((name) => [name, ''])
    const headers = allowHeaders(rules, policy, ['X-Entra-Auth-Report', refusal.failure, ...empty])
    return allow(exchange.reply, formatLines(headers), 0)
  }

  function refuse({ rules, request, reply }: Exchange, refusal: RefusalOfToken, policy?: Policy) {
    const correlation = readCorrelation(request.headers)
    const { failure, token } = refusal
    options.onVerdict(policy?.name, verdictOf(failure), failure)
    logRefusal(options.refusals, correlation, refusal, policy)
    const url = policy && rules.resources.get(policy.name)?.url
    const missing = policy && token ? findMissing(policy, token, failure) : undefined
    const detail = tellCaller(missing, failure)
    const page = policy && pageFor(request, refusal, policy, correlation.requestId)
    return sendRefusal(reply, refusal, correlation.requestId, policy?.name, url, detail, page)
  }

  /** The page for a person who goes somewhere with a session, which the action in HAProxy says. */
  function pageFor(
    { headers }: FastifyRequest,
    { failure, signIn, token }: RefusalOfToken,
    policy: Policy,
    requestId: string,
  ): RefusalPage | undefined {
    const isForPerson = headers['x-entra-auth-page'] === '1' && headers.authorization === undefined
    if (!isForPerson || signIn !== undefined || !policy.admitsSessions) return undefined
    const name = token?.name ?? token?.preferredUsername
    return options.refusalPage?.({ failure, policy: policy.name, requestId, name })
  }

  app.get('/verify', (request, reply) => answer('default', request, reply))
  app.get<{ Params: { policy: string } }>('/verify/:policy', (request, reply) =>
    answer(request.params.policy, request, reply),
  )
}

/** Writes a refusal to the log, with what the policy wanted where the token is known. */
export function logRefusal(
  refusals: RefusalLog,
  correlation: Correlation,
  { failure: reason, token }: RefusalOfToken,
  policy: Policy | undefined,
  message?: string,
): void {
  const missing = policy && token ? () => findMissing(policy, token, reason) : undefined
  refusals.write({ reason, policy: policy?.name, correlation, token, missing }, message)
}

/** All that the verdict of a policy with sessions depends on. */
const varyWithSessions = 'Authorization, Cookie, X-Entra-Auth-Session, X-Forwarded-Host'

/** Headers of an allow in the form that is asked for, but for its age. */
function allowHeadersFor(
  { rules, wantsPrepared }: Exchange,
  policy: Policy,
  allowance: Allowance,
): readonly string[] {
  const prepared = wantsPrepared
    ? formatPrepared(rules.version, rules.headerSet, allowance.headers)
    : undefined
  if (prepared === undefined) return allowHeaders(rules, policy, allowance.headers)
  return [
    'X-Entra-Auth-Verdict',
    'allow',
    'X-Entra-Auth-Contract',
    contractVersion,
    'X-Entra-Auth-Prepared',
    prepared,
    'Vary',
    'Authorization, X-Entra-Auth-Prepared',
    'Content-Length',
    '0',
  ]
}

/** Headers of an allow, but for its age. */
function allowHeaders(
  rules: Rules,
  policy: Policy,
  identity: readonly string[],
): readonly string[] {
  return [
    'X-Entra-Auth-Verdict',
    'allow',
    'X-Entra-Auth-Contract',
    contractVersion,
    'X-Entra-Auth-Version',
    rules.version,
    'X-Entra-Auth-Headers',
    rules.headerSet.list,
    'Vary',
    policy.admitsSessions ? varyWithSessions : 'Authorization',
    'Content-Length',
    '0',
    ...identity,
  ]
}

/** Sends a refusal in the one form that all of them have. */
export function sendRefusal(
  reply: FastifyReply,
  refusal: Refusal,
  requestId: string,
  policy?: string,
  resourceMetadata?: string,
  detail?: string,
  page?: RefusalPage,
): FastifyReply {
  const status = statusOf(refusal)
  const challenge = createChallenge(refusal, resourceMetadata)
  if (challenge) reply.header('WWW-Authenticate', challenge)
  if (refusal.signIn) reply.header('X-Entra-Auth-Sign-In', refusal.signIn)
  if (status === 503) reply.header('Retry-After', '2')
  if (status === 405) reply.header('Allow', 'GET, HEAD')
  // A body that nobody reads would be taken for the next request on this connection.
  if (refusal.failure === 'body_not_allowed') reply.header('Connection', 'close')
  reply
    .code(status)
    .header('X-Entra-Auth-Verdict', verdictOf(refusal.failure))
    .header('X-Entra-Auth-Contract', contractVersion)
    .header('X-Entra-Auth-Reason', refusal.failure)
    .header('Cache-Control', 'no-store')
  if (page) {
    return reply
      .header('Content-Security-Policy', page.contentSecurityPolicy)
      .header('X-Content-Type-Options', 'nosniff')
      .header('Content-Type', 'text/html; charset=utf-8')
      .send(page.html)
  }
  return reply
    .header('Content-Type', 'application/json; charset=utf-8')
    .send(createRefusalBody(refusal.failure, policy, requestId, detail))
}

/** What a refusal counts as: nobody was judged where the service itself cannot answer. */
export function verdictOf(failure: FailureCode): 'deny' | 'unavailable' {
  return failures[failure].status >= 500 ? 'unavailable' : 'deny'
}
