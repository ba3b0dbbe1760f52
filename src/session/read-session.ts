import { fail, pass, type Result } from '../failure.ts'
import type { SessionRequest } from './request.ts'
import type { SessionRules } from './rules.ts'
import type { SealingKeys } from './sealing.ts'
import { openSession, type Session } from './session.ts'

/** A session that counts, and what its cookie says where the rules of now end it earlier. */
export interface CurrentSession extends Session {
  /** The hard end in the cookie: longer hours, set later, make it count again (s). */
  readonly sealedHardEnd?: number
}

/** The hard end that a cookie of this session has: a sign-out must last as long as each copy of it. */
export function sealedHardEndOf(
  session: Pick<CurrentSession, 'hardEnd' | 'sealedHardEnd'>,
): number {
  return session.sealedHardEnd ?? session.hardEnd
}

/**
 * Reads the session of a request. Anything but exactly one valid session for this host and
 * registration counts as no session. The reply never says what is wrong with a forged one.
 */
export function readSession(
  rules: SessionRules,
  keys: SealingKeys,
  { cookie, host }: SessionRequest,
  nowMs: number,
): Result<CurrentSession> {
  const own = rules.hosts.match(host)
  if (cookie === undefined || own === undefined) return fail('no_session')
  const session = openSession(keys, cookie)
  if (
    session?.host !== own ||
    session.clientId !== rules.clientId ||
    session.tenantId !== rules.tenantId
  ) {
    return fail('no_session')
  }
  // As for a token from the future: a revocation of today would not find it.
  if (session.checkedAt > nowMs / 1000 + rules.clockSkewSeconds) return fail('no_session')
  // Shorter hours count at once for sessions that were made under longer ones.
  const hardEnd = Math.min(session.hardEnd, session.signedInAt + rules.sessionSeconds)
  if (nowMs / 1000 >= hardEnd) return fail('session_ended')
  return pass(
    hardEnd === session.hardEnd ? session : { ...session, hardEnd, sealedHardEnd: session.hardEnd },
  )
}
