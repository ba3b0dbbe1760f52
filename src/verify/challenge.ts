import { type FailureCode, failures } from '../failure.ts'
import type { Refusal } from './outcome.ts'
import type { Rules } from './rules.ts'

/**
 * The `WWW-Authenticate` header of a refusal (RFC 6750 section 3, RFC 9728 section 5.1); undefined
 * for refusals that no other token would change. Without credentials it carries no error code.
 */
export function createChallenge(
  refusal: Refusal,
  resourceMetadata: string | undefined,
): string | undefined {
  const { text, status, ...row } = failures[refusal.failure]
  // Whoever can sign in with a browser needs no other token.
  const error = refusal.signIn ? undefined : row.error
  if (!error && status !== 401 && !refusal.signIn) return undefined
  const parameters = ['realm="entra-id"']
  if (resourceMetadata) parameters.push(`resource_metadata="${resourceMetadata}"`)
  if (error) parameters.push(`error="${error}"`, `error_description="${text}"`)
  if (refusal.scope) parameters.push(`scope="${refusal.scope}"`)
  if (refusal.claims) parameters.push(`claims="${refusal.claims}"`)
  return `Bearer ${parameters.join(', ')}`
}

/**
 * Policy → `WWW-Authenticate` for a request without credentials, so that the action refuses such a
 * request without a call. A policy on probation refuses nobody, and one that takes sessions looks
 * for one first, so these have none.
 */
export function openChallenges(rules: Rules, nowMs: number): Record<string, string> {
  // Without a prototype: a policy may be named __proto__.
  const challenges: Record<string, string> = Object.create(null)
  for (const { name, reportOnlyUntilMs, admitsSessions } of rules.policies.values()) {
    if (admitsSessions || nowMs < reportOnlyUntilMs) continue
    const url = rules.resources.get(name)?.url
    const challenge = createChallenge({ allow: false, failure: 'no_credentials' }, url)
    if (challenge) challenges[name] = challenge
  }
  return challenges
}

/** The JSON body of a refusal. */
export function createRefusalBody(
  failure: FailureCode,
  policy: string | undefined,
  requestId: string,
  detail?: string,
): string {
  const { error, text } = failures[failure]
  const body = JSON.stringify({
    error: error ?? failure,
    error_description: text,
    reason: failure,
    ...(detail !== undefined && { detail }),
    ...(policy !== undefined && { policy }),
    request_id: requestId,
  })
  // The end of the line keeps a terminal readable.
  return `${body}\n`
}
