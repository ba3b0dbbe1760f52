import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import type { SignInConfig } from '../config/config.ts'
import type { Http } from '../keys/http.ts'
import type { RevocationStore } from '../revocation/revocation-store.ts'
import { readCookies, sessionCookie } from '../session/cookie.ts'
import { originOf } from '../session/hosts.ts'
import { type CurrentSession, readSession } from '../session/read-session.ts'
import type { SessionRules } from '../session/rules.ts'
import type { SealingKeys } from '../session/sealing.ts'
import { claimsOf } from '../session/session.ts'
import type { SignatureEngine } from '../token/signature.ts'
import type { OnFirstSight } from '../verify/audit-log.ts'
import type { EntraSessions } from '../verify/entra-sessions.ts'
import type { Judge } from '../verify/judge.ts'
import type { RefusalLog } from '../verify/refusal-log.ts'
import type { CreateRefusalPage, OnVerdict } from '../verify/route.ts'
import type { Rules } from '../verify/rules.ts'
import { isRevoked } from '../verify/session-verifier.ts'
import type { Entra } from './entra.ts'
import type { AccountCounts } from './own-revocations.ts'
import type { PageStyle } from './page.ts'
import type { ParallelSignIns } from './parallel-sign-ins.ts'
import { type ProblemCode, problems } from './problems.ts'

/** How a sign-in ended, for the metric. */
export type SignInOutcome = (typeof endings)[number] | ProblemCode

const endings = ['signed_in', 'rechecked', 'postponed', 'signed_out'] as const

/** All of them. */
export const signInOutcomes: readonly SignInOutcome[] = [
  ...endings,
  ...(Object.keys(problems) as ProblemCode[]),
]

/** What the listener takes from the service. */
export interface SignInRuntime {
  readonly clock: () => number
  /** The clock for intervals, in ms, as `createElapsedClock` makes it. */
  readonly elapsed: () => number
  readonly http: Http
  readonly engine: SignatureEngine
  readonly sealingKeys: SealingKeys
  readonly revocations: RevocationStore
  readonly rules: () => Rules
  readonly judge: Judge
  /** Which sessions of Entra's are in use. */
  readonly entraSessions: EntraSessions
  readonly log: FastifyBaseLogger
  readonly onOutcome: (outcome: SignInOutcome) => void
  /** Is told of each verdict of `/oauth2/auth`. */
  readonly onVerdict: OnVerdict
  readonly refusals: RefusalLog
  /** Whether the event loop lags behind so far that answers would come too late. */
  readonly isOverloaded: () => boolean
  /** Absent where nobody keeps an audit. */
  readonly onFirstSight?: OnFirstSight | undefined
}

/** What each route works with. */
export interface SignInContext extends SignInRuntime {
  readonly config: () => SignInConfig
  readonly entra: () => Entra
  readonly style: PageStyle
  /** Whether a sign-out can be enforced: there is a place for revocations. */
  readonly canRevoke: () => boolean
  /** How many revocations each account caused. */
  readonly accounts: AccountCounts
  readonly parallelSignIns: ParallelSignIns
  readonly refusalPage: CreateRefusalPage
}

/** A request at a host that people sign in at. */
export interface Visit {
  readonly host: string
  /** Scheme and host of the pages here. */
  readonly origin: string
  readonly sessions: SessionRules
  readonly nowMs: number
  readonly nowSeconds: number
}

/** The visit of a request; undefined at an unknown host. */
export function readVisit(context: SignInContext, request: FastifyRequest): Visit | undefined {
  const { sessions } = context.rules()
  if (!sessions) return undefined
  // HAProxy passes the browser's Host on; a proxy that does not says it in X-Forwarded-Host. Whoever
  // makes up either one comes to another of our hosts at most.
  const host =
    sessions.hosts.match(request.headers.host) ??
    sessions.hosts.match(single(request.headers['x-forwarded-host']))
  if (host === undefined) return undefined
  const nowMs = context.clock()
  const origin = originOf(host, isHttps(request))
  return { host, origin, sessions, nowMs, nowSeconds: Math.floor(nowMs / 1000) }
}

/** Whether the proxy says that the browser came over TLS. */
export function isHttps({ headers }: FastifyRequest): boolean {
  return single(headers['x-forwarded-proto'])?.toLowerCase() === 'https'
}

/** The session of the browser; undefined where there is none that counts. */
export function currentSession(
  context: SignInContext,
  request: FastifyRequest,
  visit: Visit,
): CurrentSession | undefined {
  const session = sessionInCookie(context, request, visit)
  if (!session) return undefined
  const { list } = context.revocations
  return isRevoked(list, claimsOf(session, ''), session.keyId, visit.nowMs) ? undefined : session
}

/** The same, also where it was revoked. */
function sessionInCookie(
  context: SignInContext,
  request: FastifyRequest,
  { host, sessions, nowMs }: Visit,
): CurrentSession | undefined {
  const [cookie, second] = readCookies(request.raw.rawHeaders, sessionCookie)
  if (second !== undefined) return undefined
  const read = readSession(sessions, context.sealingKeys, { cookie, host }, nowMs)
  return read.ok ? read.value : undefined
}

/** Whether the session of the browser was ended after that time (s), here or at Entra. */
export function wasEndedSince(
  context: SignInContext,
  request: FastifyRequest,
  visit: Visit,
  seconds: number,
): boolean {
  const session = sessionInCookie(context, request, visit)
  return [session?.id, session?.entraSessionId].some((id) => {
    const ended = id === undefined ? undefined : context.revocations.list.get('session', id)
    return ended !== undefined && (ended.madeAt ?? ended.before) > seconds
  })
}

/** Attributes of both cookies: what `__Host-` demands, and out of reach for scripts and other sites. */
const attributes = { path: '/', secure: true, httpOnly: true, sameSite: 'lax' } as const

/** Sets a cookie, for as long as the browser runs where `maxAgeSeconds` is left out. */
export function setCookie(
  reply: FastifyReply,
  name: string,
  value: string,
  maxAgeSeconds?: number,
): void {
  reply.setCookie(name, value, {
    ...attributes,
    ...(maxAgeSeconds !== undefined && { maxAge: maxAgeSeconds }),
  })
}

/** Removes a cookie; a browser does so only where all attributes are the same. */
export function clearCookie(reply: FastifyReply, name: string): void {
  reply.setCookie(name, '', { ...attributes, maxAge: 0, expires: new Date(0) })
}

/** Sends the browser elsewhere. */
export function redirect(reply: FastifyReply, location: string, status = 302): FastifyReply {
  return reply.code(status).header('Location', location).send()
}

/** A header or parameter that comes exactly once. */
export function single(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
