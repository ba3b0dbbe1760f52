import type { Actor, DenyConfig, GrantConfig, PolicyConfig } from '../config/config.ts'

/** A policy made ready for evaluation: lists became sets, nothing is worked out per request. */
export interface Policy {
  readonly name: string
  readonly tenants: ReadonlySet<string>
  readonly audiences: ReadonlySet<string>
  readonly cacheSeconds: number
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

/** One entry of `allow`: everything that is present must hold, any member of a set will do. */
export interface Grant {
  readonly actor: Actor
  /** Takes sessions and no token; every other grant takes tokens and no session. */
  readonly session: boolean
  readonly scopes: ReadonlySet<string> | 'any' | undefined
  readonly roles: ReadonlySet<string> | 'any' | undefined
  readonly groups: ReadonlySet<string> | undefined
  readonly clients: ReadonlySet<string> | undefined
  readonly refusesGuests: boolean
  readonly confidential: boolean
  readonly authContext: string | undefined
  /** Value of `scope` in a challenge, fully qualified as Entra wants it in a token request. */
  readonly scopeHint: string | undefined
  /** Value of the claims challenge for `authContext`, as base64 JSON. */
  readonly claimsChallenge: string | undefined
}

/** One entry of `deny`: denies when everything that is present holds. */
export interface DenyRule {
  readonly actor: Actor | undefined
  readonly scopes: ReadonlySet<string> | undefined
  readonly roles: ReadonlySet<string> | undefined
  readonly groups: ReadonlySet<string> | undefined
  readonly clients: ReadonlySet<string> | undefined
  readonly users: ReadonlySet<string> | undefined
  readonly guests: boolean
}

/** Compiles the policies, by their exact names. */
export function compilePolicies(policies: readonly PolicyConfig[]): ReadonlyMap<string, Policy> {
  return new Map(policies.map((policy) => [policy.name, compilePolicy(policy)]))
}

/** Compiles one policy. */
export function compilePolicy(config: PolicyConfig): Policy {
  return {
    name: config.name,
    tenants: new Set(config.tenants),
    audiences: new Set(config.audiences),
    cacheSeconds: config.cacheSeconds,
    maxTokenLifetimeSeconds: config.maxTokenLifetimeMinutes * 60,
    requireIdtyp: config.requireIdtyp,
    reportOnlyUntilMs: config.reportOnlyUntilMs ?? 0,
    allow: config.allow.map((grant) =>
      compileGrant(grant, scopePrefix(config.audiences, config.resource)),
    ),
    deny: config.deny.map(compileDenyRule),
    namedGroups: config.groups === 'all' ? undefined : namedGroups(config),
    resource: config.resource,
    groupsNamed: namedGroups(config),
    admitsSessions: config.allow.some((grant) => grant.session === true),
    allowsCrossSite: config.crossSiteGuard === false,
  }
}

function compileGrant(grant: GrantConfig, prefix: string): Grant {
  return {
    actor: grant.actor,
    session: grant.session === true,
    scopes: setOrAny(grant.scopes),
    roles: setOrAny(grant.roles),
    groups: setOf(grant.groups),
    clients: setOf(grant.clients),
    refusesGuests: grant.guests === false,
    confidential: grant.confidential === true,
    authContext: grant.authContext,
    scopeHint: Array.isArray(grant.scopes)
      ? grant.scopes.map((scope) => `${prefix}/${scope}`).join(' ')
      : undefined,
    claimsChallenge:
      grant.authContext &&
      encodeClaims({ access_token: { acrs: { essential: true, value: grant.authContext } } }),
  }
}

function compileDenyRule(rule: DenyConfig): DenyRule {
  return {
    actor: rule.actor,
    scopes: setOf(rule.scopes),
    roles: setOf(rule.roles),
    groups: setOf(rule.groups),
    clients: setOf(rule.clients),
    users: setOf(rule.users),
    guests: rule.guests === true,
  }
}

/**
 * What stands before the slash in the scope that a client asks for: an identifier URI of the API,
 * the one that is its resource if there is such, or its client id.
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

function setOf(list: readonly string[] | undefined): ReadonlySet<string> | undefined {
  return list && new Set(list)
}

function setOrAny(list: readonly string[] | 'any' | undefined) {
  return list === 'any' ? list : setOf(list)
}

function encodeClaims(claims: object): string {
  return Buffer.from(JSON.stringify(claims)).toString('base64')
}
