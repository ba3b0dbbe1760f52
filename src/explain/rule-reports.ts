import type { DenyRule, Grant, Policy } from '../policy/compile.ts'
import {
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
          said: quoteFor(condition.name, facts, token),
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
        said: quoteFor(condition.name, facts, token),
        reason: null,
      })),
  }))
}

function pathOf(policy: Policy, list: 'allow' | 'deny', index: number): string {
  return `policies.${policy.name}.${list}[${index}]`
}

function describeGrantCondition(grant: Grant, name: GrantConditionName): string {
  if (name === 'guests') return 'no guest (acct = 0)'
  if (name === 'confidential') return 'a client with a secret or certificate (1 or 2)'
  return describeWanted(grant[name])
}

function describeDenyCondition(rule: DenyRule, name: keyof DenyRule): string {
  return name === 'guests' ? 'a guest, or nobody can tell' : describeWanted(rule[name])
}

function describeWanted(wanted: ReadonlySet<string> | string | boolean | undefined): string {
  if (!(wanted instanceof Set)) return wanted === 'any' ? 'any at all' : String(wanted)
  const items = [...wanted]
  return items.length === 1 ? String(items[0]) : `one of ${items.join(', ')}`
}

/** The claims that a condition looks at. */
function quoteFor(condition: string, { payload }: Facts, token: AccessToken): Said[] {
  const isV1 = token.version === '1.0'
  switch (condition) {
    case 'actor':
      return [{ claim: 'actor', value: token.actor, note: 'derived' }]
    case 'users':
      return quoteClaims(payload, 'oid')
    case 'clients':
      return quoteClaims(payload, isV1 ? 'appid' : 'azp')
    case 'confidential':
      return quoteClaims(payload, isV1 ? 'appidacr' : 'azpacr')
    case 'scopes':
      return quoteClaims(payload, 'scp')
    case 'groups': {
      const said = quoteClaims(payload, 'groups')
      return token.groupsOverage
        ? [{ claim: 'groups', note: 'left out by Entra: more than 200 groups' }]
        : said
    }
    case 'guests':
      return token.appOnly ? [{ claim: 'acct', note: 'no user, so no guest' }] : quoteAcct(payload)
    case 'authContext':
      return quoteClaims(payload, 'acrs', 'xms_cc')
    default:
      return quoteClaims(payload, condition)
  }
}

function quoteAcct(payload: Facts['payload']): Said[] {
  return quoteClaims(payload, 'acct').map((said) => ({
    ...said,
    note:
      said.value === 0
        ? 'member'
        : said.value === 1
          ? 'guest'
          : 'nobody can tell, so it counts as guest',
  }))
}
