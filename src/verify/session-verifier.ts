import { LRUCache } from 'lru-cache'
import { type FailureCode, fail, type Observe } from '../failure.ts'
import { encodeValue } from '../identity/encode.ts'
import type { Policy } from '../policy/compile.ts'
import { findRevocations, type RevocationList } from '../revocation/revocation-list.ts'
import { readSession } from '../session/read-session.ts'
import type { SessionRequest } from '../session/request.ts'
import type { SealingKeys } from '../session/sealing.ts'
import { claimsOf, type Session } from '../session/session.ts'
import type { AccessToken } from '../token/claims.ts'
import type { EntraSessions } from './entra-sessions.ts'
import { createOutcome, type OutcomeStep, type Refusal } from './outcome.ts'
import type { Rules } from './rules.ts'
import type { Verdict } from './verifier.ts'

/** What a verdict on a session depends on, besides the request and the rules. */
export interface SessionVerifierContext {
  readonly clock: () => number
  readonly revocations: () => RevocationList
  readonly sealingKeys: SealingKeys
  /** Absent where nobody keeps an audit. */
  readonly firstSights?: FirstSights | undefined
  /** Learns which sessions of Entra's are in use. */
  readonly entraSessions?: EntraSessions
}

/** Which session was admitted by which policy. */
export interface FirstSights {
  /** Whether this is the first time; from now on it is not. */
  isFirst(sessionId: string, policyName: string): boolean
}

/** At about 150 bytes each, 3 MB. Of more sessions than that, some have a second line in the audit. */
const maxFirstSights = 20_000

/** Creates the memory of the audit. */
export function createFirstSights(): FirstSights {
  const seen = new LRUCache<string, true>({ max: maxFirstSights })
  return {
    isFirst(sessionId, policyName) {
      const key = `${sessionId} ${policyName}`
      if (seen.get(key)) return false
      seen.set(key, true)
      return true
    },
  }
}

/** The steps of a verification of a session, in order. */
export type SessionStep = 'session' | 'revocation' | 'groups' | OutcomeStep

/** Path of the sign-in, as the refusals name it. */
export const signInPath = '/oauth2/start'

/**
 * How long a verdict may be cached after the soft end, in seconds: long enough for the requests of
 * one page, and short enough to notice the next navigation.
 */
const recheckMaxAgeSeconds = 5

/** What another sign-in changes. */
const signInHelps: ReadonlySet<FailureCode> = new Set([
  'no_session',
  'session_ended',
  'session_revoked',
  'session_recheck',
])

/**
 * Answers whether a policy admits the session of a request. At once and without a cache: opening a
 * session costs less than half of verifying a token, and HAProxy remembers the verdict.
 */
export function verifySession(
  { clock, revocations, sealingKeys, firstSights, entraSessions }: SessionVerifierContext,
  rules: Rules,
  policy: Policy,
  request: SessionRequest,
  observe?: Observe<SessionStep>,
): Verdict {
  const nowMs = clock()
  const read = rules.sessions
    ? readSession(rules.sessions, sealingKeys, request, nowMs)
    : fail('no_session')
  observe?.('session', read.ok ? undefined : read.failure)
  if (!read.ok) return refuse(read)
  const session = read.value
  const token = claimsOf(session, issuerOf(rules, session))
  const revoked = isRevoked(revocations(), token, session.keyId, nowMs)
  observe?.('revocation', revoked ? 'session_revoked' : undefined)
  if (revoked) return refuse({ failure: 'session_revoked' }, token)
  entraSessions?.see(session)
  const knowsGroups =
    policy.groupsNamed.size === 0 || session.groupsLookedAt === rules.sessions?.groupsLookedAt
  observe?.('groups', knowsGroups ? undefined : 'session_recheck')
  if (!knowsGroups) return refuse({ failure: 'session_recheck' }, token)
  const keyed = { claims: token, key: { id: session.keyId } }
  const outcome = createOutcome(policy, keyed, rules.headerSet, observe)
  if (!outcome.allow) return refuse(outcome, token)
  const softLeft = session.softEnd - nowMs / 1000
  const hardLeft = session.hardEnd - nowMs / 1000
  const isDue = softLeft <= 0
  const longest = isDue ? Math.min(recheckMaxAgeSeconds, hardLeft) : Math.min(softLeft, hardLeft)
  return {
    allow: true,
    allowance: { ...outcome, headers: [...outcome.headers, ...headersOf(policy, session, isDue)] },
    maxAgeSeconds: Math.max(0, Math.floor(Math.min(longest, policy.cacheLife.others))),
    session: token,
    firstSight: () => (firstSights?.isFirst(session.id, policy.name) ? token : undefined),
  }
}

/** Whether a revocation of the session, its user, tenant, client or key is in force. */
export function isRevoked(
  list: RevocationList,
  token: AccessToken,
  keyId: string,
  nowMs: number,
): boolean {
  return findRevocations(list, token, keyId).some(({ until }) => until > nowMs / 1000)
}

/** The issuer of the ID token that the session rests on; it is the same for all of a tenant. */
export function issuerOf(rules: Rules, { tenantId }: Pick<Session, 'tenantId'>): string {
  return rules.authorities.get(tenantId)?.issuerKeys('2.0').issuer ?? ''
}

function refuse(
  { failure, authContext, ...rest }: Pick<Refusal, 'failure' | 'authContext'>,
  token?: AccessToken,
): Verdict {
  const query = failure === 'step_up_required' && authContext ? `?acrs=${authContext}` : ''
  const helps = signInHelps.has(failure) || query !== ''
  return {
    ...rest,
    allow: false,
    failure,
    ...(helps && { signIn: signInPath + query }),
    ...(token && { token }),
  }
}

function headersOf(policy: Policy, session: Session, isDue: boolean): readonly string[] {
  const headers = ['X-Entra-Auth-Session-Id', session.id]
  if (session.entraSessionId !== undefined) {
    headers.push('X-Entra-Auth-Session-Sid', encodeValue(session.entraSessionId))
  }
  if (policy.allowsCrossSite) headers.push('X-Entra-Auth-Cross-Site', 'allow')
  if (isDue) headers.push('X-Entra-Auth-Recheck', '1')
  return headers
}
