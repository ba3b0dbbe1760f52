import type { DenyRule, Grant, Policy } from '../policy/compile.ts'
import {
  type DenyCondition,
  denies,
  denyConditions,
  type GrantConditionName,
  grantConditions,
} from '../policy/evaluate.ts'
import type { AccessToken } from '../token/claims.ts'
import type { RuleReport, Said } from './explanation.ts'
import { type Facts, quoteClaims } from './facts.ts'

/** Each grant of the policy, with all its conditions and not only the first that stops it. */
export function reportGrants(facts: Facts, token: AccessToken): RuleReport[] {
  const { policy } = facts
  return policy.allow.map((grant, index) => {
    const conditions = grantConditions
      .filter((condition) => condition.isSet(grant))
      .map((condition) => {
        const reason = condition.check(grant, token) ?? null
        return {
          name: condition.name,
          holds: reason === null,
          expected: describeGrantCondition(grant, condition.name),
          said: quotes[condition.name](facts.payload, token),
          reason,
        }
      })
    const holds = conditions.every((condition) => condition.holds)
    return { path: pathOf(policy, 'allow', index), holds, conditions }
  })
}

/** Each deny rule of the policy. */
export function reportDenyRules(facts: Facts, token: AccessToken): RuleReport[] {
  const { policy } = facts
  return policy.deny.map((rule, index) => ({
    path: pathOf(policy, 'deny', index),
    holds: denies(rule, token),
    conditions: denyConditions
      .filter((condition) => condition.isSet(rule))
      .map((condition) => ({
        name: condition.name,
        holds: condition.holds(rule, token),
        expected: describeDenyCondition(rule, condition.name),
        said: quotes[condition.name](facts.payload, token),
        reason: null,
      })),
  }))
}

function pathOf(policy: Policy, list: 'allow' | 'deny', index: number): string {
  return `policies.${policy.name}.${list}[${index}]`
}

function describeGrantCondition(grant: Grant, name: GrantConditionName): string {
  if (name === 'session') return 'a session of a browser, not a token'
  if (name === 'guests') return 'no guest (acct = 0)'
  if (name === 'confidential') return 'a client with a secret or certificate (1 or 2)'
  if (name === 'roles' && grant.roles === 'any') return 'any but an id of a group'
  return describeWanted(grant[name])
}

function describeDenyCondition(rule: DenyRule, name: DenyCondition['name']): string {
  return name === 'guests' ? 'a guest, or nobody can tell' : describeWanted(rule[name])
}

function describeWanted(wanted: ReadonlySet<string> | string | boolean | undefined): string {
  if (!(wanted instanceof Set)) return wanted === 'any' ? 'any at all' : String(wanted)
  const items = [...wanted]
  return items.length === 1 ? String(items[0]) : `one of ${items.join(', ')}`
}

/** The claims that a condition looks at; the compiler refuses a condition without an entry. */
const quotes: Readonly<
  Record<ConditionName, (payload: Facts['payload'], token: AccessToken) => Said[]>
> = {
  actor: (_payload, token) => [{ claim: 'actor', value: token.actor, note: 'derived' }],
  session: (_payload, { session }) => [
    { claim: 'session', value: session !== undefined, note: 'derived' },
  ],
  users: (payload) => quoteClaims(payload, 'oid'),
  clients: (payload, { version }) => quoteClaims(payload, version === '1.0' ? 'appid' : 'azp'),
  confidential: (payload, { version }) =>
    quoteClaims(payload, version === '1.0' ? 'appidacr' : 'azpacr'),
  scopes: (payload) => quoteClaims(payload, 'scp'),
  roles: (payload) => quoteClaims(payload, 'roles'),
  groups: (payload, { groupsOverage }) =>
    groupsOverage
      ? [{ claim: 'groups', note: 'left out by Entra: more than 200 groups' }]
      : quoteClaims(payload, 'groups'),
  guests: (payload, { appOnly }) =>
    appOnly ? [{ claim: 'acct', note: 'no user, so no guest' }] : quoteAcct(payload),
  authContext: (payload) => quoteClaims(payload, 'acrs', 'xms_cc'),
}

type ConditionName = DenyCondition['name'] | GrantConditionName

function quoteAcct(payload: Facts['payload']): Said[] {
  return quoteClaims(payload, 'acct').map((said) => ({
    ...said,
    note:
      said.value === 0 ? 'member' : said.value === 1 ? 'guest' : 'unknown, so it counts as guest',
  }))
}
