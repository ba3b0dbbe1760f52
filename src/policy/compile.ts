import { type CacheLife, cacheLifeOf } from '../cache-life.ts'
import type { DenyConfig, GrantConfig, PolicyConfig } from '../config/config.ts'
import { denyConditions, grantConditions } from './evaluate.ts'

/** A policy made ready for evaluation: lists became sets, nothing is worked out per request. */
export interface Policy {
  readonly name: string
  readonly tenants: ReadonlySet<string>
  readonly audiences: ReadonlySet<string>
  /** For how long caches may keep a verdict, in seconds. */
  readonly cacheLife: CacheLife
  readonly maxTokenLifetimeSeconds: number
  readonly requireIdtyp: boolean
  readonly reportOnlyUntilMs: number
  readonly allow: readonly Grant[]
  readonly deny: readonly DenyRule[]
  /** Group ids that reach the application; undefined for all. */
  readonly namedGroups: ReadonlySet<string> | undefined
  readonly resource: string | undefined
  /** Groups that a rule asks for. */
  readonly groupsNamed: ReadonlySet<string>
  /** Some grant takes sessions, so a browser without one is sent to sign in. */
  readonly admitsSessions: boolean
  /** Requests that a page of another site makes with a session are let through. */
  readonly allowsCrossSite: boolean
}

/** One entry of `allow`: every condition that is present must hold, any member of a set will do. */
export type Grant = Compiled<GrantConfig> & {
  /** Value of `scope` in a challenge, fully qualified as Entra wants it in a token request. */
  readonly scopeHint: string | undefined
  /** Value of the claims challenge for `authContext`, as base64 JSON. */
  readonly claimsChallenge: string | undefined
}

/** One entry of `deny`: denies when every condition that is present holds. */
export type DenyRule = Compiled<DenyConfig>

/** A rule with all its keys, whose lists became sets. */
type Compiled<Rule> = {
  readonly [Key in keyof Rule]: Rule[Key] extends infer Value
    ? Value extends readonly (infer Item)[]
      ? ReadonlySet<Item>
      : Value
    : never
}

/** Compiles one policy. */
export function compilePolicy(config: PolicyConfig): Policy {
  return {
    name: config.name,
    tenants: setOf(config.tenants),
    audiences: new Set(config.audiences),
    cacheLife: cacheLifeOf(config),
    maxTokenLifetimeSeconds: config.maxTokenLifetimeMinutes * 60,
    requireIdtyp: config.requireIdtyp,
    reportOnlyUntilMs: config.reportOnlyUntilMs ?? 0,
    allow: config.allow.map((grant) =>
      compileGrant(grant, scopePrefix(config.audiences, config.resource)),
    ),
    deny: config.deny.map((rule) => compileRule(rule, denyConditions)),
    namedGroups: config.groups === 'all' ? undefined : namedGroups(config),
    resource: config.resource,
    groupsNamed: namedGroups(config),
    admitsSessions: config.allow.some((grant) => grant.session === true),
    allowsCrossSite: config.crossSiteGuard === false,
  }
}

const sets = new WeakMap<readonly string[], ReadonlySet<string>>()

/** The set of a list; one for all policies that have the same list, as those do that name no tenant. */
function setOf(list: readonly string[]): ReadonlySet<string> {
  const known = sets.get(list)
  if (known) return known
  const set = new Set(list)
  sets.set(list, set)
  return set
}

function compileGrant(grant: GrantConfig, prefix: string): Grant {
  return {
    ...compileRule(grant, grantConditions),
    scopeHint: Array.isArray(grant.scopes)
      ? grant.scopes.map((scope) => `${prefix}/${scope}`).join(' ')
      : undefined,
    claimsChallenge:
      grant.authContext &&
      encodeClaims({ access_token: { acrs: { essential: true, value: grant.authContext } } }),
  }
}

/** Every key of a rule; throws for one that no condition looks at, since it would count as held. */
function compileRule<Rule extends object>(
  rule: Rule,
  conditions: readonly { readonly name: keyof Rule }[],
): Compiled<Rule> {
  const entries = Object.entries(rule).map(([key, value]) => {
    if (!conditions.some(({ name }) => name === key)) throw new Error(`no condition named ${key}`)
    return [key, Array.isArray(value) ? new Set(value) : value]
  })
  return Object.fromEntries(entries) as Compiled<Rule>
}

/**
 * The part before the slash in the scope that a client requests: an identifier URI of the API (the
 * one that is its resource, if any), or its client id.
 */
export function scopePrefix(audiences: readonly string[], resource?: string): string {
  // A client that sends `resource` (RFC 8707) is refused by Entra when its scopes do not match.
  const named = audiences.find((audience) => audience === resource)
  const uri = named ?? audiences.find((audience) => audience.includes(':'))
  return (uri ?? audiences[0] ?? '').replace(/\/$/, '')
}

/** The groups that the rules of a policy ask for. */
export function namedGroups(config: Pick<PolicyConfig, 'allow' | 'deny'>): ReadonlySet<string> {
  return new Set([...config.allow, ...config.deny].flatMap((rule) => rule.groups ?? []))
}

function encodeClaims(claims: object): string {
  return Buffer.from(JSON.stringify(claims)).toString('base64')
}
