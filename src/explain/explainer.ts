import type { Observe } from '../failure.ts'
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
import type { Explanation } from './explanation.ts'
import { collectFacts, type Facts, type FailedStep } from './facts.ts'
import { reportVerdict, type Wording } from './report.ts'

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

const wording: Wording<VerifyStep, Facts> = {
  order: verifySteps,
  describe: (step) => stepDescriptions[step],
  advise: (step, facts, failed) =>
    step === 'allow' ? adviseOnGrants(facts, failed) : adviseChanges(facts, failed),
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
      return reportVerdict(wording, facts, steps, verdict)
    },
    explainClaims(rules, policy, claims) {
      const nowMs = clock()
      const steps = new Map<VerifyStep, FailedStep | undefined>()
      const verdict = judgeClaims(rules, policy, claims, nowMs, (step, failure, claim) => {
        steps.set(step, failure && { failure, claim })
      })
      // Only for the description. It has no signature, and nothing verifies it.
      const facts = collectFacts(rules, policy, unsignedToken(claims.payload), nowMs)
      return reportVerdict(wording, facts, steps, verdict)
    },
  }
}

function unsignedToken(payload: JsonObject): string {
  const parts = [{ alg: 'RS256', kid: 'none' }, payload].map((part) =>
    Buffer.from(JSON.stringify(part)).toString('base64url'),
  )
  return `Bearer ${parts.join('.')}.AAAA`
}
