import type { FailureCode } from '../failure.ts'
import type { Missing } from '../policy/missing.ts'

/** A refusal as the operator's page shows it: what its line in the log says. */
export interface RecentRefusal {
  /** ms since the epoch. */
  readonly atMs: number
  readonly policy: string | undefined
  readonly requestId: string
  /** Host and path that were asked for, as HAProxy said it. */
  readonly target: string
  /** Object id; only of a token whose signature was verified. */
  readonly user: string | undefined
  readonly missing: Missing | undefined
}

/** The last refusals for one reason, newest first. */
export interface RecentRefusals {
  readonly reason: FailureCode
  /** Lines in the log since the start; a flood has more refusals than lines. */
  readonly count: number
  readonly last: readonly RecentRefusal[]
}

/** Refusals kept for each reason: a flood for one reason hides no other. */
const keptPerReason = 5

/** Keeps the last refusals of each reason in memory; bounded by the number of reasons. */
export interface RefusalMemory {
  add(reason: FailureCode, refusal: RecentRefusal): void
  /** The reason with the newest refusal first. */
  list(): readonly RecentRefusals[]
}

/** Creates an empty memory. */
export function createRefusalMemory(): RefusalMemory {
  const kept = new Map<FailureCode, { count: number; last: readonly RecentRefusal[] }>()
  return {
    add(reason, refusal) {
      const { count, last } = kept.get(reason) ?? { count: 0, last: [] }
      // Reasons stand in the order of their newest refusal.
      kept.delete(reason)
      kept.set(reason, { count: count + 1, last: [refusal, ...last].slice(0, keptPerReason) })
    },
    list: () => [...kept].reverse().map(([reason, entry]) => ({ reason, ...entry })),
  }
}
