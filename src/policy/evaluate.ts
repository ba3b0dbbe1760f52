import type { FailureCode } from '../failure.ts'
import type { AccessToken } from '../token/claims.ts'
import type { DenyRule, Grant, Policy } from './compile.ts'

/** What a policy says of a token whose signature was verified. */
export type PolicyVerdict =
  | { readonly allow: true; readonly grant: Grant }
  | {
      readonly allow: false
      readonly failure: FailureCode
      /** For the `scope` of the challenge, where a scope would help. */
      readonly scope?: string | undefined
      /** For the `claims` of the challenge, where a stronger sign-in would help. */
      readonly claims?: string | undefined
    }

/**
 * Evaluates a policy: tenant, audience and lifetime first, then `deny`, then `allow`, where one
 * grant is enough. Times are not looked at, so the verdict of a policy on a token never changes.
 */
export function evaluatePolicy(policy: Policy, token: AccessToken): PolicyVerdict {
  const failure = checkBinding(policy, token)
  if (failure) return { allow: false, failure }
  if (policy.deny.some((rule) => denies(rule, token))) {
    return { allow: false, failure: 'denied_by_rule' }
  }
  // Of several grants that fail, the one that came furthest says what is missing.
  let nearest: FailedGrant | undefined
  for (const grant of policy.allow) {
    const failed = checkGrant(grant, token)
    if (!failed) return { allow: true, grant }
    if (!nearest || failed.step > nearest.step) nearest = failed
  }
  return nearest ? refuse(nearest) : { allow: false, failure: 'actor_not_allowed' }
}

/** What a token must be for this policy at all, whoever holds it. */
function checkBinding(policy: Policy, token: AccessToken): FailureCode | undefined {
  if (!policy.tenants.has(token.tenantId)) return 'tenant_not_allowed'
  if (!policy.audiences.has(token.audience)) return 'audience_mismatch'
  if (token.expiresAt - token.issuedAt > policy.maxTokenLifetimeSeconds) {
    return 'token_lifetime_too_long'
  }
  if (token.appOnly && policy.requireIdtyp && !token.appByIdtyp) return 'not_an_access_token'
  return undefined
}

/** A deny rule that names groups also denies whoever has too many groups to tell. */
function denies(rule: DenyRule, token: AccessToken): boolean {
  if (rule.actor && rule.actor !== token.actor) return false
  if (rule.users && !rule.users.has(token.userId)) return false
  if (rule.clients && !rule.clients.has(token.clientId)) return false
  if (rule.scopes && !hasAny(rule.scopes, token.scopes)) return false
  if (rule.roles && !hasAny(rule.roles, token.roles)) return false
  if (rule.groups && !token.groupsOverage && !hasAny(rule.groups, token.groups)) return false
  if (rule.guests && !mayBeGuest(token)) return false
  return true
}

interface FailedGrant {
  readonly step: number
  readonly failure: FailureCode
  readonly grant: Grant
}

/** The first condition of a grant that does not hold; undefined where all hold. */
function checkGrant(grant: Grant, token: AccessToken): FailedGrant | undefined {
  if (grant.actor !== token.actor) return { step: 0, failure: 'actor_not_allowed', grant }
  if (grant.clients && !grant.clients.has(token.clientId)) {
    return { step: 1, failure: 'client_not_allowed', grant }
  }
  if (grant.confidential && !isConfidential(token)) {
    return { step: 2, failure: 'client_not_confidential', grant }
  }
  if (grant.scopes && !satisfies(grant.scopes, token.scopes)) {
    return { step: 3, failure: 'scope_missing', grant }
  }
  if (grant.roles && !satisfies(grant.roles, token.roles)) {
    return { step: 4, failure: 'role_missing', grant }
  }
  if (grant.groups && !hasAny(grant.groups, token.groups)) {
    return { step: 5, failure: token.groupsOverage ? 'groups_overage' : 'group_missing', grant }
  }
  if (grant.refusesGuests && mayBeGuest(token)) {
    return { step: 6, failure: 'guest_not_allowed', grant }
  }
  if (grant.authContext && !token.authContexts.includes(grant.authContext)) {
    const failure = token.canAnswerClaimsChallenge ? 'step_up_possible' : 'step_up_required'
    return { step: 7, failure, grant }
  }
  return undefined
}

function refuse({ failure, grant }: FailedGrant): PolicyVerdict {
  if (failure === 'scope_missing') return { allow: false, failure, scope: grant.scopeHint }
  if (failure === 'step_up_possible')
    return { allow: false, failure, claims: grant.claimsChallenge }
  return { allow: false, failure }
}

/** A user without the optional claim `acct` may be a guest, and unsure means no. */
function mayBeGuest(token: AccessToken): boolean {
  return !token.appOnly && token.guest !== false
}

function isConfidential(token: AccessToken): boolean {
  return token.clientAuthentication === '1' || token.clientAuthentication === '2'
}

function satisfies(wanted: ReadonlySet<string> | 'any', held: readonly string[]): boolean {
  return wanted === 'any' ? held.length > 0 : hasAny(wanted, held)
}

function hasAny(wanted: ReadonlySet<string>, held: readonly string[]): boolean {
  for (const item of held) if (wanted.has(item)) return true
  return false
}
