/** Compares what happened with what had to happen. */
import { decisiveHeaders, type Identity, type SeenIdentity } from './identity.ts'

/** What a call must lead to. */
export interface Expectation {
  readonly status: number
  /** Reason code in `X-Entra-Auth-Reason`; undefined: none may be there. */
  readonly reason?: string
  /** What the application must have seen; undefined: nothing at all. */
  readonly application?: Identity
}

/** What a call led to. */
export interface Observation {
  readonly status: number
  readonly reason: string | undefined
  /** The requests that reached the application. */
  readonly seen: readonly SeenIdentity[]
}

/** Every difference, a sentence each; empty where all is as expected. */
export function findDifferences(expected: Expectation, observed: Observation): string[] {
  const differences: string[] = []
  const compare = (what: string, wanted: unknown, found: unknown) => {
    if (wanted !== found) {
      differences.push(`${what}: expected ${show(wanted)}, found ${show(found)}`)
    }
  }
  compare('status', expected.status, observed.status)
  compare('reason', expected.reason, observed.reason)
  compare('requests at the application', expected.application ? 1 : 0, observed.seen.length)
  for (const { identity, foreign } of observed.seen) {
    for (const kind of decisiveHeaders) {
      if (expected.application) {
        compare(`X-Auth-Request ${kind}`, expected.application[kind], identity[kind])
      }
    }
    if (foreign.length > 0) {
      differences.push(`the application saw headers that nobody verified: ${foreign.join(', ')}`)
    }
  }
  return differences
}

function show(value: unknown): string {
  return value === undefined || value === '' ? 'none' : String(value)
}
