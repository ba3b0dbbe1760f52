import type { FailureCode } from '../failure.ts'
import type { AccessToken } from '../token/claims.ts'
import type { Grant, Policy } from './compile.ts'
import { chooseGrant, denies, type GrantConditionName, grantConditions } from './evaluate.ts'
import { wordCondition, wordDenyRule } from './words.ts'

/** Why a policy refused a good token: the rule that came nearest, what it wanted, what there was. */
export interface Missing {
  /** Where the nearest grant stands in the configuration, such as `policies.orders.allow[0]`. */
  readonly grant?: string
  /** Where the rule stands that denies. */
  readonly denyRule?: string
  readonly wanted: string
  readonly had?: string
}

/**
 * Tells what was missing, for the log and the operator's page, never for the caller. Undefined for a
 * refusal that is none of the policy. Not for the hot path: it judges a second time.
 */
export function findMissing(
  policy: Policy,
  token: AccessToken,
  failure: FailureCode,
): Missing | undefined {
  if (failure === 'audience_mismatch') {
    return { wanted: `the audience ${[...policy.audiences].join(' or ')}`, had: token.audience }
  }
  if (failure === 'tenant_not_allowed') {
    return { wanted: `the tenant ${[...policy.tenants].join(' or ')}`, had: token.tenantId }
  }
  if (failure === 'token_lifetime_too_long') {
    return {
      wanted: `a lifetime of at most ${policy.maxTokenLifetimeSeconds} s`,
      had: `${token.expiresAt - token.issuedAt} s`,
    }
  }
  if (failure === 'denied_by_rule') return findDenyRule(policy, token)
  const { grant, ...choice } = chooseGrant(policy, token)
  if (choice.failure !== failure) return undefined
  const stop = grant && findStop(grant, token)
  if (!stop) {
    return { wanted: token.session ? 'an access token' : 'a session', had: kindOf(token) }
  }
  return {
    grant: pathOf(policy, 'allow', policy.allow.indexOf(grant)),
    wanted: wordCondition(grant, stop.name),
    had: held[stop.name](token),
  }
}

/**
 * What the caller is told: only a missing scope or role, which Entra shows to anyone who requests a
 * token. Other conditions (groups, clients, deny rules) appear only in the log.
 */
export function tellCaller(missing: Missing | undefined, failure: FailureCode): string | undefined {
  const isOwnBusiness = failure === 'scope_missing' || failure === 'role_missing'
  return missing && isOwnBusiness ? `Needed: ${missing.wanted}.` : undefined
}

/** The first condition of a grant that does not hold. */
function findStop(grant: Grant, token: AccessToken) {
  return grantConditions.find(
    (condition) => condition.isSet(grant) && condition.check(grant, token) !== undefined,
  )
}

function findDenyRule(policy: Policy, token: AccessToken): Missing | undefined {
  const index = policy.deny.findIndex((rule) => denies(rule, token))
  const rule = policy.deny[index]
  if (!rule) return undefined
  return { denyRule: pathOf(policy, 'deny', index), wanted: `not: ${wordDenyRule(rule)}` }
}

function pathOf(policy: Policy, list: 'allow' | 'deny', index: number): string {
  return `policies.${policy.name}.${list}[${index}]`
}

/** What a token has for a condition: only ids and names of rights, nothing personal. */
const held: Readonly<Record<GrantConditionName, (token: AccessToken) => string>> = {
  actor: ({ actor }) => `the actor ${actor}`,
  session: kindOf,
  clients: ({ clientId }) => `the client ${clientId}`,
  confidential: ({ clientAuthentication }) =>
    clientAuthentication === undefined ? 'a client of unknown kind' : 'a public client',
  scopes: ({ scopes }) => list('scope', scopes),
  roles: ({ roles }) => list('role', roles),
  groups: ({ groups, groupsOverage }) =>
    groupsOverage ? 'more groups than Entra puts into a token' : count(groups.length),
  guests: ({ guest }) => (guest ? 'a guest' : 'no claim acct, so it counts as guest'),
  authContext: ({ authContexts }) => list('authentication context', authContexts),
}

function kindOf({ session }: AccessToken): string {
  return session ? 'a session' : 'an access token'
}

const mostShown = 10

function list(what: string, items: readonly string[]): string {
  if (items.length === 0) return `no ${what}`
  const shown = items.slice(0, mostShown).map((item) => item.slice(0, 120))
  const more = items.length - shown.length
  return `the ${what} ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

function count(groups: number): string {
  if (groups === 0) return 'no group'
  return groups === 1 ? '1 other group' : `${groups} other groups`
}
