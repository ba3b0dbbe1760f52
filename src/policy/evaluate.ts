import type { DenyConfig, GrantConfig } from '../config/config.ts'
import type { FailureCode, Observe } from '../failure.ts'
import { type AccessToken, isObjectId } from '../token/claims.ts'
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
      /** The authentication context that a session lacks, where another sign-in would help. */
      readonly authContext?: string | undefined
    }

/** The steps of `evaluatePolicy`, in order. */
export const policySteps = [
  'policy_tenant',
  'audience',
  'lifetime',
  'app_only',
  'deny',
  'allow',
] as const

export type PolicyStep = (typeof policySteps)[number]

/**
 * Evaluates a policy: tenant, audience and lifetime first, then `deny`, then `allow`, where one
 * grant is enough. Times are not looked at, so the verdict of a policy on a token never changes.
 */
export function evaluatePolicy(
  policy: Policy,
  token: AccessToken,
  observe?: Observe<PolicyStep>,
): PolicyVerdict {
  for (const { step, check } of bindings) {
    const failure = check(policy, token)
    observe?.(step, failure)
    if (failure) return { allow: false, failure }
  }
  const denied = policy.deny.some((rule) => denies(rule, token)) ? 'denied_by_rule' : undefined
  observe?.('deny', denied)
  if (denied) return { allow: false, failure: denied }
  const choice = chooseGrant(policy, token)
  observe?.('allow', choice.failure)
  return choice.failure ? refuse(choice, token) : { allow: true, grant: choice.grant }
}

/** What a token must be for this policy at all, whoever holds it. */
const bindings: readonly {
  readonly step: PolicyStep
  readonly check: (policy: Policy, token: AccessToken) => FailureCode | undefined
}[] = [
  {
    step: 'policy_tenant',
    check: (policy, token) =>
      policy.tenants.has(token.tenantId) ? undefined : 'tenant_not_allowed',
  },
  {
    step: 'audience',
    // The audience of a session is the web application that people sign in to, which is this service.
    check: (policy, token) =>
      token.session || policy.audiences.has(token.audience) ? undefined : 'audience_mismatch',
  },
  {
    step: 'lifetime',
    check: (policy, token) =>
      !token.session && token.expiresAt - token.issuedAt > policy.maxTokenLifetimeSeconds
        ? 'token_lifetime_too_long'
        : undefined,
  },
  {
    step: 'app_only',
    check: (policy, token) =>
      token.appOnly && policy.requireIdtyp && !token.appByIdtyp ? 'not_an_access_token' : undefined,
  },
]

/** One condition of a deny rule, under its name in the configuration. */
export interface DenyCondition {
  readonly name: keyof DenyConfig
  isSet(rule: DenyRule): boolean
  holds(rule: DenyRule, token: AccessToken): boolean
}

/** What each key of a deny rule means: the compiler refuses a key of the schema without an entry. */
const denyTable: { readonly [Name in keyof Required<DenyConfig>]: DenyCondition['holds'] } = {
  actor: (rule, token) => rule.actor === token.actor,
  users: (rule, token) => has(rule.users, token.userId),
  clients: (rule, token) => has(rule.clients, token.clientId),
  scopes: (rule, token) => hasAny(rule.scopes, token.scopes),
  roles: (rule, token) => hasAny(rule.roles, token.roles),
  // Whoever has too many groups to tell, or groups by their names, may be in this one. Entra can be told to
  // write ids of groups into roles.
  groups: (rule, token) =>
    token.groupsOverage ||
    !token.groups.every(isObjectId) ||
    hasAny(rule.groups, token.groups) ||
    hasAny(rule.groups, token.roles),
  guests: (_rule, token) => mayBeGuest(token),
}

/** The conditions of a deny rule, which denies where all that are set hold. */
export const denyConditions: readonly DenyCondition[] = keysOf(denyTable).map((name) => ({
  name,
  isSet: (rule) => rule[name] !== undefined,
  holds: denyTable[name],
}))

/** Whether a deny rule denies. */
export function denies(rule: DenyRule, token: AccessToken): boolean {
  return denyConditions.every((condition) => !condition.isSet(rule) || condition.holds(rule, token))
}

/** One condition of a grant; `check` counts only where `isSet`. */
export interface GrantCondition {
  readonly name: GrantConditionName
  isSet(grant: Grant): boolean
  check(grant: Grant, token: AccessToken): FailureCode | undefined
}

/** Names of conditions, as in the configuration. */
export type GrantConditionName = keyof GrantConfig

/**
 * The check of each key of a grant, in the order in which they run. The compiler rejects a key of
 * the schema that has no entry here.
 */
const grantTable: { readonly [Name in keyof Required<GrantConfig>]: GrantCondition['check'] } = {
  actor: (grant, token) => (grant.actor === token.actor ? undefined : 'actor_not_allowed'),
  session: (_grant, token) => (token.session ? undefined : 'actor_not_allowed'),
  clients: (grant, token) =>
    has(grant.clients, token.clientId) ? undefined : 'client_not_allowed',
  confidential: (_grant, token) => (isConfidential(token) ? undefined : 'client_not_confidential'),
  scopes: (grant, token) => (satisfies(grant.scopes, token.scopes) ? undefined : 'scope_missing'),
  roles: (grant, token) => {
    // Entra can be told to write ids of groups into roles (`emit_as_roles`). Everybody is in some group.
    const held =
      grant.roles === 'any' ? token.roles.filter((role) => !isObjectId(role)) : token.roles
    return satisfies(grant.roles, held) ? undefined : 'role_missing'
  },
  groups: (grant, token) => {
    if (hasAny(grant.groups, token.groups)) return undefined
    return token.groupsOverage ? 'groups_overage' : 'group_missing'
  },
  guests: (_grant, token) => (mayBeGuest(token) ? 'guest_not_allowed' : undefined),
  authContext: (grant, token) => {
    if (grant.authContext && token.authContexts.includes(grant.authContext)) return undefined
    return token.canAnswerClaimsChallenge ? 'step_up_possible' : 'step_up_required'
  },
}

/** Values that ask for nothing, as if the key were absent. */
const withoutEffect: { readonly [Name in GrantConditionName]?: unknown } = {
  confidential: false,
  guests: true,
}

/** The conditions of a grant, in the order in which they are checked. */
export const grantConditions: readonly GrantCondition[] = keysOf(grantTable).map((name) => ({
  name,
  isSet: (grant) => grant[name] !== undefined && grant[name] !== withoutEffect[name],
  check: grantTable[name],
}))

function keysOf<Table extends object>(table: Table): (keyof Table)[] {
  return Object.keys(table) as (keyof Table)[]
}

/** The grant that admits, or the one that came furthest, with the condition that stopped it. */
export type GrantChoice =
  | { readonly grant: Grant; readonly failure: undefined }
  | { readonly grant: Grant | undefined; readonly failure: FailureCode }

/** Chooses the grant that a verdict rests on; of several that fail, it says what is missing. */
export function chooseGrant(policy: Policy, token: AccessToken): GrantChoice {
  let nearest: GrantChoice = { grant: undefined, failure: 'actor_not_allowed' }
  let furthest = -1
  for (const grant of policy.allow) {
    if (!takes(grant, token)) continue
    const stop = findStop(grant, token)
    if (!stop) return { grant, failure: undefined }
    if (stop.index > furthest) nearest = { grant, failure: stop.failure }
    furthest = Math.max(furthest, stop.index)
  }
  return nearest
}

/** Whether a grant takes this kind of credential at all: a session or a token. */
function takes(grant: Grant, token: AccessToken): boolean {
  return (grant.session === true) === (token.session !== undefined)
}

/** Why a grant does not hold; undefined where it does. */
export function findFailure(grant: Grant, token: AccessToken): FailureCode | undefined {
  return takes(grant, token) ? findStop(grant, token)?.failure : 'actor_not_allowed'
}

/** The first condition that does not hold. */
function findStop(grant: Grant, token: AccessToken) {
  for (const [index, condition] of grantConditions.entries()) {
    const failure = condition.isSet(grant) ? condition.check(grant, token) : undefined
    if (failure) return { index, failure }
  }
  return undefined
}

function refuse(
  { failure, grant }: GrantChoice & { failure: FailureCode },
  token: AccessToken,
): PolicyVerdict {
  if (failure === 'scope_missing') return { allow: false, failure, scope: grant?.scopeHint }
  if (failure === 'step_up_possible')
    return { allow: false, failure, claims: grant?.claimsChallenge }
  if (failure === 'step_up_required' && token.session)
    return { allow: false, failure, authContext: grant?.authContext }
  return { allow: false, failure }
}

/** A user without the optional claim `acct` may be a guest, and unsure means no. */
function mayBeGuest(token: AccessToken): boolean {
  return !token.appOnly && token.guest !== false
}

function isConfidential(token: AccessToken): boolean {
  return token.clientAuthentication === '1' || token.clientAuthentication === '2'
}

function satisfies(
  wanted: ReadonlySet<string> | 'any' | undefined,
  held: readonly string[],
): boolean {
  return wanted === 'any' ? held.length > 0 : hasAny(wanted, held)
}

function has(wanted: ReadonlySet<string> | undefined, held: string): boolean {
  return wanted?.has(held) === true
}

function hasAny(wanted: ReadonlySet<string> | undefined, held: readonly string[]): boolean {
  return wanted !== undefined && held.some((item) => wanted.has(item))
}
