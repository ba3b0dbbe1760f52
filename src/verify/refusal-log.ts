import type { FastifyBaseLogger } from 'fastify'
import type { FailureCode } from '../failure.ts'
import type { Missing } from '../policy/missing.ts'
import type { AccessToken } from '../token/claims.ts'
import type { Correlation } from './correlation.ts'
import { createRefusalMemory, type RecentRefusals } from './recent-refusals.ts'

/** One refusal, as its line in the log tells it. */
export interface LoggedRefusal {
  readonly reason: FailureCode
  /** Undefined where no configured policy was asked for. */
  readonly policy: string | undefined
  readonly correlation: Correlation
  /** Only of a token whose signature was verified: anybody can write any id into another. */
  readonly token?: AccessToken | undefined
  /** What the policy wanted; only asked for where the line is written. */
  readonly missing?: (() => Missing | undefined) | undefined
}

/** Writes refusals, and of a flood of them a sample. */
export interface RefusalLog {
  write(refusal: LoggedRefusal, message?: string): void
  /** The last of those that were written, for the operator's page. */
  recent(): readonly RecentRefusals[]
  /** How many lines were left out since the start. */
  readonly suppressed: number
  /** Writes what is left to say. */
  stop(): void
}

/** Of the refusals beyond the limit one in so many is written all the same. */
const sampleEvery = 100

const windowMs = 1_000

/**
 * Creates the log. In each second the first `limit()` refusals of a reason get a line each, then one
 * in a hundred, and at its end one line says how many had none. What it remembers is a number for
 * each reason, whatever is sent.
 */
export function createRefusalLog(
  log: FastifyBaseLogger,
  limit: () => number,
  clock: () => number = () => 0,
): RefusalLog {
  const memory = createRefusalMemory()
  let counts = new Map<FailureCode, { refusals: number; suppressed: number }>()
  let suppressed = 0
  let timer: NodeJS.Timeout | undefined

  function isToBeWritten(reason: FailureCode): boolean {
    // In real time: it bounds lines, and says nothing of when something happened.
    timer ??= setTimeout(endWindow, windowMs).unref()
    let count = counts.get(reason)
    if (!count) {
      count = { refusals: 0, suppressed: 0 }
      counts.set(reason, count)
    }
    count.refusals++
    const beyond = count.refusals - limit()
    if (beyond <= 0 || beyond % sampleEvery === 0) return true
    count.suppressed++
    suppressed++
    return false
  }

  function endWindow(): void {
    clearTimeout(timer)
    timer = undefined
    const ended = counts
    counts = new Map()
    for (const [reason, count] of ended) {
      if (count.suppressed > 0) log.warn({ reason, ...count }, 'refusals not logged one by one')
    }
  }

  return {
    write({ reason, policy, correlation, token, missing }, message = 'refused') {
      if (!isToBeWritten(reason)) return
      const found = missing?.()
      log.info({ reason, policy, ...correlation, ...(token && idsOf(token)), ...found }, message)
      const { requestId, forwarded } = correlation
      memory.add(reason, {
        atMs: clock(),
        policy,
        requestId,
        target: `${forwarded.host ?? ''}${forwarded.uri ?? ''}`,
        user: token?.userId,
        missing: found,
      })
    },
    recent: memory.list,
    get suppressed() {
      return suppressed
    },
    stop: endWindow,
  }
}

/** What a log line says about a verified token: ids only, no names of people. */
export function idsOf(token: AccessToken): object {
  const { tenantId, userId, clientId, actor, tokenId, session } = token
  const ids = { tenant: tenantId, user: userId, client: clientId, actor, tokenId }
  return session ? { ...ids, session: session.id } : ids
}
