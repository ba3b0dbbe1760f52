import { scopePrefix } from '../policy/compile.ts'
import type { Change } from './explanation.ts'
import { type Facts, nameTenant } from './facts.ts'

/** What to change after a failure; `claim` is the one that it is about. */
export type Advice = (facts: Facts, claim: string | undefined) => readonly Change[]

/** One thing to change. */
export function change(where: Change['where'], text: string): Change {
  return { where, text }
}

/** A scope to ask for that leads to a token for this policy. */
export function requestScope({ policy }: Facts): string {
  const hint = policy.allow.find((grant) => grant.scopeHint !== undefined)?.scopeHint
  return hint ?? `${scopePrefix([...policy.audiences], policy.resource)}/.default`
}

/** The tenant of the token, in words. */
export function tenantName({ rules, origin }: Facts): string {
  return origin ? `tenant ${nameTenant(rules, origin.tenantId)}` : 'the tenant'
}

/** Whether a text has the form of a GUID, in any letter case. */
export function isGuidLike(text: string): boolean {
  return /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(text)
}

/** A list in words; `none` where it is empty. */
export function list(items: readonly string[] | undefined, none: string): string {
  if (!items || items.length === 0) return none
  return items.length > 10 ? `${items.slice(0, 10).join(', ')} and more` : items.join(', ')
}
