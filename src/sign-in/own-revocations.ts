import { LRUCache } from 'lru-cache'
import { type CurrentSession, sealedHardEndOf } from '../session/read-session.ts'
import type { SignInContext } from './context.ts'

/** Reasons of the revocations that sign-in makes by itself. */
export const ownReasons = {
  signedOut: 'signed out',
  recheck: 'refused at a re-check',
  elsewhere: 'signed out elsewhere',
  replaced: 'replaced by another sign-in',
} as const

/**
 * The most at one time. Everybody who can sign in can create them, and administrators must always
 * have room.
 */
const maxOwnRevocations = 8_000

/** The most of one account, so that others can still sign out: more than one a minute in eight hours. */
export const maxOfAccount = 500

/** Accounts that are counted. Each of the 8,000 revocations may be of another one. */
const maxAccounts = maxOwnRevocations

/** Above the time for which HAProxy keeps a recent one. */
const recentSeconds = 2 * 3_600

/** The session that ends; without an account where there is only an id, which anybody can make up. */
type EndingSession = Pick<CurrentSession, 'id' | 'hardEnd' | 'sealedHardEnd'> &
  Partial<Pick<CurrentSession, 'tenantId' | 'userId'>>

/** How many revocations in force each account caused here. A restart forgets them. */
export interface AccountCounts {
  /** Revocations of the account that have not ended. */
  count(account: string, nowSeconds: number): number
  /** Counts one that ends at `until` (s). */
  add(account: string, until: number, nowSeconds: number): void
}

/** Creates the counts. */
export function createAccountCounts(): AccountCounts {
  const ends = new LRUCache<string, readonly number[]>({ max: maxAccounts })
  const inForce = (account: string, nowSeconds: number) =>
    ends.get(account)?.filter((until) => until > nowSeconds) ?? []
  return {
    count: (account, nowSeconds) => inForce(account, nowSeconds).length,
    add(account, until, nowSeconds) {
      ends.set(account, [...inForce(account, nowSeconds), until])
    },
  }
}

/** Revocations in force that sign-in made by itself, of the given reason or of any. */
export function countOwn(context: SignInContext, reason?: string): number {
  const { list } = context.revocations
  const nowSeconds = context.clock() / 1000
  // Of a store's million only the recent ones: anybody can make this run. Those that a store had lost and
  // was given back are recent too, but were not made now.
  const counted =
    list
      .recent?.()
      .map(({ revocation }) => revocation)
      .filter(({ madeAt = 0 }) => madeAt >= nowSeconds - recentSeconds) ?? list.entries
  const reasons: readonly string[] = reason === undefined ? Object.values(ownReasons) : [reason]
  return counted.filter((one) => reasons.includes(String(one.reason)) && one.until > nowSeconds)
    .length
}

/** Ends a session everywhere, as far as there is a place for it; never rejects. */
export async function revokeSession(
  context: SignInContext,
  session: EndingSession,
  nowSeconds: number,
  reason: string,
): Promise<void> {
  if (!context.canRevoke()) return
  const until = Math.ceil(sealedHardEndOf(session)) + 60
  // That of an administrator may last longer, and must not end earlier for this.
  const { list } = context.revocations
  const known = list.get('session', session.id)
  if (known && list.endOf(known) >= until) return
  const { id, tenantId, userId } = session
  const account = userId === undefined ? undefined : `${tenantId}/${userId}`
  // An alarm only for a session that there is: anybody can make up an id.
  const level = account === undefined ? 'warn' : 'error'
  if (!known) {
    if (account !== undefined && context.accounts.count(account, nowSeconds) >= maxOfAccount) {
      context.log.error(
        { session: id, user: userId },
        'session not revoked, its account has ended too many: a copy of its cookie goes on to its hard end',
      )
      return
    }
    if (countOwn(context) >= maxOwnRevocations) {
      context.log[level](
        { session: id },
        'session not revoked, too many are already: a copy of its cookie goes on to its hard end',
      )
      return
    }
  }
  // Counted first, so that many at once are counted too.
  if (account !== undefined && !known) context.accounts.add(account, until, nowSeconds)
  try {
    await context.revocations.add(
      { kind: 'session', id, before: nowSeconds, until, reason },
      { isYielding: true, isGuess: account === undefined },
    )
  } catch (error) {
    context.log[level](
      { problem: (error as Error).message, session: id },
      'session not revoked: a copy of its cookie goes on to its hard end',
    )
  }
}
