import type { Refusal } from '../verify/outcome.ts'
import { statusOf } from '../verify/outcome.ts'
import type { StepDescription } from './checks.ts'
import type { Change, Check, Explanation } from './explanation.ts'
import type { Facts, FailedStep } from './facts.ts'
import { reportDenyRules, reportGrants } from './rule-reports.ts'

/** What is said of each step of a verification, and in which order. */
export interface Wording<Step extends Check['step'], F extends Facts> {
  readonly order: readonly Step[]
  describe(step: Step): StepDescription<F>
  /** What to change where the step failed. */
  advise(step: Step, facts: F, failed: FailedStep): readonly Change[]
}

/** Reports a verdict and each step of its verification; a step that is not in `steps` was not reached. */
export function reportVerdict<Step extends Check['step'], F extends Facts>(
  { order, describe, advise }: Wording<Step, F>,
  facts: F,
  steps: ReadonlyMap<Step, FailedStep | undefined>,
  verdict: { readonly allow: true } | Refusal,
): Explanation {
  const { policy, nowMs, claims } = facts

  function reportCheck(step: Step): Check {
    const { title, expected, said } = describe(step)
    const isReached = steps.has(step)
    const failed = steps.get(step)
    const check: Check = {
      step,
      title,
      state: failed ? 'failed' : isReached ? 'passed' : 'not_reached',
      reason: failed?.failure ?? null,
      expected: isReached ? expected(facts) : [],
      said: isReached ? said(facts, failed) : [],
      changes: failed ? advise(step, facts, failed) : [],
    }
    if (step !== 'deny' && step !== 'allow') return check
    if (!isReached || !claims) return { ...check, rules: [] }
    const reportRules = step === 'deny' ? reportDenyRules : reportGrants
    return { ...check, rules: reportRules(facts, claims) }
  }

  const status = verdict.allow ? 200 : statusOf(verdict)
  return {
    policy: policy.name,
    verdict: verdict.allow ? 'allow' : status >= 500 ? 'unavailable' : 'deny',
    reason: verdict.allow ? null : verdict.failure,
    status,
    reportOnlyUntil:
      nowMs < policy.reportOnlyUntilMs ? new Date(policy.reportOnlyUntilMs).toISOString() : null,
    now: new Date(nowMs).toISOString(),
    checks: order.map(reportCheck),
  }
}
