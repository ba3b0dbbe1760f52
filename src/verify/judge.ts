import type { Policy } from '../policy/compile.ts'
import { readSessionRequest } from '../session/request.ts'
import type { VerifyRequest } from './request.ts'
import type { Rules } from './rules.ts'
import { type SessionVerifierContext, verifySession } from './session-verifier.ts'
import type { Verdict, Verifier } from './verifier.ts'

/** Answers whether a policy admits a request, by its token or by its session. */
export type Judge = (
  rules: Rules,
  policy: Policy,
  request: VerifyRequest,
  rawHeaders: readonly string[],
) => Verdict | Promise<Verdict>

/**
 * Creates the judge. If the request has `Authorization`, only the token counts, whatever else it
 * has. A session is read only if the policy accepts sessions. Without `sessions` no cookie is read.
 */
export function createJudge(verifier: Verifier, sessions?: SessionVerifierContext): Judge {
  return (rules, policy, request, rawHeaders) => {
    const isForSession =
      policy.admitsSessions && request.authorization === undefined && !request.hasBody
    return isForSession && sessions
      ? verifySession(sessions, rules, policy, readSessionRequest(rawHeaders))
      : verifier.verify(rules, policy, request)
  }
}
