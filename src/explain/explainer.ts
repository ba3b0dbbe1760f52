import { type FailureCode, failures, type Observe } from '../failure.ts'
import type { Policy } from '../policy/compile.ts'
import type { RevocationList } from '../revocation/revocation-list.ts'
import type { JsonObject } from '../token/decode.ts'
import type { SignatureEngine } from '../token/signature.ts'
import type { VerifyRequest } from '../verify/request.ts'
import type { Rules } from '../verify/rules.ts'
import { noTokenCache } from '../verify/token-cache.ts'
import { createVerifier, type VerifyStep, verifySteps } from '../verify/verifier.ts'
import { adviseChanges, adviseOnGrants } from './changes.ts'
import { stepDescriptions } from './checks.ts'
import { type ClaimsToJudge, judgeClaims } from './claims.ts'
import type { Check, Explanation, RuleReport } from './explanation.ts'
import { collectFacts, type Facts, type FailedStep } from './facts.ts'
import { reportDenyRules, reportGrants } from './rule-reports.ts'

/** What an explanation depends on, besides the rules and the request. */
export interface ExplainerContext {
  /** Now, in ms since the epoch. */
  readonly clock: () => number
  /** The clock that ages of keys are measured by; `clock` where absent. */
  readonly elapsed?: () => number
  readonly engine: SignatureEngine
  /** The revocations in force. */
  readonly revocations: () => RevocationList
}

/** Explains verdicts. */
export interface Explainer {
  /** Verifies the request and tells how each check went. Never rejects for bad input. */
  explain(rules: Rules, policy: Policy, request: VerifyRequest): Promise<Explanation>
  /** The same for claims that no token holds; checks of a token are not reached. */
  explainClaims(rules: Rules, policy: Policy, claims: ClaimsToJudge): Explanation
}

/**
 * Creates the explainer. It has no rules of its own. It runs the same verification as /verify, with
 * a cache that stores nothing, and describes each step.
 */
export function createExplainer({
  clock,
  elapsed = clock,
  engine,
  revocations,
}: ExplainerContext): Explainer {
  return {
    async explain(rules, policy, request) {
      // One instant for the verification and for the words about it.
      const nowMs = clock()
      const verifier = createVerifier({
        clock: () => nowMs,
        elapsed,
        engine,
        cache: noTokenCache,
        revocations,
      })
      const steps = new Map<VerifyStep, FailedStep | undefined>()
      const observe: Observe<VerifyStep> = (step, failure, claim) =>
        void steps.set(step, failure && { failure, claim })
      const verdict = await verifier.verify(rules, policy, request, observe)
      const facts = collectFacts(rules, policy, request.authorization, nowMs)
      return describe(facts, steps, verdict)
    },
    explainClaims(rules, policy, claims) {
      const nowMs = clock()
      const steps = new Map<VerifyStep, FailedStep | undefined>()
      const verdict = judgeClaims(rules, policy, claims, nowMs, (step, failure, claim) => {
        steps.set(step, failure && { failure, claim })
      })
      // Only for the description. It has no signature, and nothing verifies it.
      const facts = collectFacts(rules, policy, unsignedToken(claims.payload), nowMs)
      return describe(facts, steps, verdict)
    },
  }
}

function unsignedToken(payload: JsonObject): string {
  const parts = [{ alg: 'RS256', kid: 'none' }, payload].map((part) =>
    Buffer.from(JSON.stringify(part)).toString('base64url'),
  )
  return `Bearer ${parts.join('.')}.AAAA`
}

function describe(
  facts: Facts,
  steps: ReadonlyMap<VerifyStep, FailedStep | undefined>,
  verdict: { readonly allow: true } | { readonly allow: false; readonly failure: FailureCode },
): Explanation {
  const { policy, nowMs } = facts
  const status = verdict.allow ? 200 : failures[verdict.failure].status
  return {
    policy: policy.name,
    verdict: verdict.allow ? 'allow' : status === 503 ? 'unavailable' : 'deny',
    reason: verdict.allow ? null : verdict.failure,
    status,
    reportOnlyUntil:
      nowMs < policy.reportOnlyUntilMs ? new Date(policy.reportOnlyUntilMs).toISOString() : null,
    now: new Date(nowMs).toISOString(),
    checks: verifySteps.map((step) =>
      steps.has(step) ? reportCheck(step, steps.get(step), facts) : skipCheck(step),
    ),
  }
}

function reportCheck(step: VerifyStep, failed: FailedStep | undefined, facts: Facts): Check {
  const { title, expected, said } = stepDescriptions[step]
  return {
    step,
    title,
    state: failed ? 'failed' : 'passed',
    reason: failed?.failure ?? null,
    expected: expected(facts),
    said: said(facts, failed),
    changes: failed ? (step === 'allow' ? adviseOnGrants : adviseChanges)(facts, failed) : [],
    ...reportRules(step, facts),
  }
}

function skipCheck(step: VerifyStep): Check {
  const { title } = stepDescriptions[step]
  return {
    step,
    title,
    state: 'not_reached',
    reason: null,
    expected: [],
    said: [],
    changes: [],
    ...(step === 'deny' || step === 'allow' ? { rules: [] } : {}),
  }
}

function reportRules(step: VerifyStep, facts: Facts): { rules?: readonly RuleReport[] } {
  if (!facts.claims) return {}
  if (step === 'deny') return { rules: reportDenyRules(facts, facts.claims) }
  return step === 'allow' ? { rules: reportGrants(facts, facts.claims) } : {}
}
