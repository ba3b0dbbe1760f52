import type { PolicyConfig } from '../config/config.ts'

/** Who can be given a role, in the words of Entra. */
export type MemberType = 'User' | 'Application'

/** What policies ask of one registration. */
export interface Needs {
  /** Scope → names of the policies that ask for it. */
  readonly scopes: ReadonlyMap<string, readonly string[]>
  readonly roles: ReadonlyMap<string, NeededRole>
  /** Some policy takes any scope, so each may be wanted. */
  readonly anyScope: boolean
  readonly anyRole: boolean
}

export interface NeededRole {
  readonly policies: readonly string[]
  /** Kinds of which each must be able to have the role. */
  readonly members: readonly MemberType[]
}

/**
 * The policies as far as they judge access tokens. Sessions come from ID tokens, whose audience and claims
 * are others.
 */
export function takingTokens(policies: readonly PolicyConfig[]): readonly PolicyConfig[] {
  return policies
    .map((policy) => ({ ...policy, allow: policy.allow.filter(({ session }) => !session) }))
    .filter(({ allow }) => allow.length > 0)
}

/** Collects scopes and roles from grants and deny rules: a deny rule on an unknown role denies nobody. */
export function collectNeeds(policies: readonly PolicyConfig[]): Needs {
  const scopes = new Map<string, string[]>()
  const roles = new Map<string, { policies: string[]; members: MemberType[] }>()
  let anyScope = false
  let anyRole = false
  for (const { name, allow, deny } of policies) {
    for (const rule of [...allow, ...deny]) {
      if (rule.scopes === 'any') anyScope = true
      else for (const scope of rule.scopes ?? []) add(name, at(scopes, scope, []))
      if (rule.roles === 'any') anyRole = true
      else {
        for (const role of rule.roles ?? []) {
          const need = at(roles, role, { policies: [], members: [] })
          add(name, need.policies)
          // An agent has roles as an application or as a user, and a deny rule may name no actor.
          if (rule.actor === 'user') add('User', need.members)
          if (rule.actor === 'app') add('Application', need.members)
        }
      }
    }
  }
  return { scopes, roles, anyScope, anyRole }
}

function at<V>(map: Map<string, V>, key: string, fresh: V): V {
  const value = map.get(key) ?? fresh
  map.set(key, value)
  return value
}

function add<T>(item: T, list: T[]): void {
  if (!list.includes(item)) list.push(item)
}
