import type { FailureCode } from '../failure.ts'
import type { SessionStep } from '../verify/session-verifier.ts'
import type { VerifyStep } from '../verify/verifier.ts'

/** Why a policy admits or refuses a token or a session, check by check; the JSON of `explain`. */
export interface Explanation {
  readonly policy: string
  readonly verdict: 'allow' | 'deny' | 'unavailable'
  /** The reason that /verify gives; null for an allow. */
  readonly reason: FailureCode | null
  /** HTTP status of /verify, before `reportOnlyUntil` turns a refusal into a report. */
  readonly status: number
  /** Until then a refusal is only reported; null where the policy enforces. */
  readonly reportOnlyUntil: string | null
  /** The time of this machine that the token was compared with. */
  readonly now: string
  /** Every check of the verification, in its order. */
  readonly checks: readonly Check[]
}

/** How far a check or a rule came. */
export type State = 'passed' | 'failed' | 'not_reached'

/** One step of the verification. */
export interface Check {
  readonly step: VerifyStep | SessionStep
  readonly title: string
  readonly state: State
  /** Why it failed; null otherwise. */
  readonly reason: FailureCode | null
  /** What the configuration or Entra's documentation asks for; empty where it was not reached. */
  readonly expected: readonly string[]
  /** The claims that were looked at. */
  readonly said: readonly Said[]
  /** What to change; empty unless the check failed. */
  readonly changes: readonly Change[]
  /** For the steps `deny` and `allow`: each rule of the policy. */
  readonly rules?: readonly RuleReport[]
}

/** A claim or header member, as the token has it; without `value` where it is absent. */
export interface Said {
  readonly claim: string
  readonly value?: unknown
  /** The value in other words, such as a time. */
  readonly note?: string
}

/** Where something has to change, and what. */
export interface Change {
  readonly where:
    | 'request'
    | 'client'
    | 'registration'
    | 'directory'
    | 'policy'
    | 'configuration'
    | 'clock'
    | 'network'
  readonly text: string
  /** The grant that would hold then, where several come into question. */
  readonly rule?: string
}

/** One grant or deny rule with its conditions. */
export interface RuleReport {
  /** Where it stands in the configuration, such as `policies.orders.allow[0]`. */
  readonly path: string
  /** A grant admits, a deny rule denies, if all its conditions hold. */
  readonly holds: boolean
  readonly conditions: readonly ConditionReport[]
}

export interface ConditionReport {
  readonly name: string
  readonly holds: boolean
  readonly expected: string
  readonly said: readonly Said[]
  /** Why a condition of a grant does not hold; null otherwise. */
  readonly reason: FailureCode | null
}
