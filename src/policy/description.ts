import { type CacheLife, cacheLifeOf } from '../cache-life.ts'
import type { DenyConfig, GrantConfig, LiveConfig, PolicyConfig } from '../config/config.ts'
import { wordDenyRule, wordGrant } from './words.ts'

/** A rule with what it says. */
export interface RuleDescription<Rule> {
  /** Where it stands in the configuration, such as `policies.orders.allow[0]`. */
  readonly path: string
  readonly words: string
  readonly rule: Rule
}

/** A policy in words. */
export interface PolicyDescription {
  readonly name: string
  readonly tenants: readonly { readonly name: string; readonly id: string }[]
  readonly audiences: readonly string[]
  readonly allow: readonly RuleDescription<GrantConfig>[]
  readonly deny: readonly RuleDescription<DenyConfig>[]
  /** What else is set, a sentence each. */
  readonly settings: readonly string[]
  /** Until then it refuses nobody; absent where it enforces. */
  readonly reportOnlyUntil?: string
}

/** Describes each policy; `nowMs` tells whether it only reports yet. */
export function describePolicies(
  config: Pick<LiveConfig, 'policies' | 'tenants'>,
  nowMs: number,
): PolicyDescription[] {
  const names = new Map(config.tenants.map(({ id, name }) => [id, name]))
  return config.policies.map(({ reportOnlyUntilMs = 0, ...policy }) => ({
    name: policy.name,
    tenants: policy.tenants.map((id) => ({ name: names.get(id) ?? id, id })),
    audiences: policy.audiences,
    allow: policy.allow.map((rule, index) => ({
      path: `policies.${policy.name}.allow[${index}]`,
      words: wordGrant(rule),
      rule,
    })),
    deny: policy.deny.map((rule, index) => ({
      path: `policies.${policy.name}.deny[${index}]`,
      words: wordDenyRule(rule),
      rule,
    })),
    settings: describeSettings(policy),
    ...(reportOnlyUntilMs > nowMs && {
      reportOnlyUntil: new Date(reportOnlyUntilMs).toISOString(),
    }),
  }))
}

function describeCacheLife({ action, others }: CacheLife): string {
  const text = `HAProxy caches a verdict for at most ${action} s`
  return others === action ? text : `${text}, other caches for ${others} s`
}

function describeSettings(policy: PolicyConfig): string[] {
  return [
    describeCacheLife(cacheLifeOf(policy)),
    `a token may be issued for at most ${policy.maxTokenLifetimeMinutes} min`,
    ...(policy.resource === undefined ? [] : [`resource ${policy.resource}`]),
    ...(policy.groups === 'all' ? ['all groups reach the application'] : []),
    ...(policy.requireIdtyp ? ['an app must say so with idtyp'] : []),
    ...(policy.crossSiteGuard === false ? ['requests from other sites are let through'] : []),
  ]
}
