import { type CacheSettings, cacheLifeOf } from '../cache-life.ts'
import { runAtOnce, type Steps } from '../steps.ts'
import type { LiveConfig, PolicyConfig, TenantConfig } from './config.ts'

/** Puts a grant or a deny rule into words; the words are those of `policies`. */
export interface RuleWords {
  grant(rule: PolicyConfig['allow'][number]): string
  denyRule(rule: PolicyConfig['deny'][number]): string
}

/**
 * Tells what a reload changed, one sentence each: policies rule by rule, tenants, and other settings by
 * name. Of a key or a certificate it says only that it is another one.
 */
export function describeChanges(
  before: LiveConfig,
  after: LiveConfig,
  words: RuleWords,
): readonly string[] {
  return runAtOnce(describeChangesInSteps(before, after, words))
}

/** The same for a reload, which must not hold requests up. */
export function* describeChangesInSteps(
  before: LiveConfig,
  after: LiveConfig,
  words: RuleWords,
): Steps<readonly string[]> {
  const policies = yield* changedPolicies(before, after, words)
  const tenants = changedTenants(before.tenants, after.tenants)
  return [...policies, ...tenants, ...changedSettings(before, after)]
}

/** Most changes that a line of the log lists. */
const mostListed = 100

/** The changes for one line of the log: each of bounded length, and how many more there are. */
export function summarize(changes: readonly string[]): readonly string[] {
  const listed = changes.slice(0, mostListed).map((text) => text.slice(0, 1_000))
  const more = changes.length - listed.length
  return more > 0 ? [...listed, `and ${more} more changes`] : listed
}

function* changedPolicies(
  before: LiveConfig,
  after: LiveConfig,
  words: RuleWords,
): Steps<readonly string[]> {
  const former = new Map(before.policies.map((policy) => [policy.name, policy]))
  const next = new Set(after.policies.map(({ name }) => name))
  const changes = before.policies
    .filter(({ name }) => !next.has(name))
    .map(({ name }) => `policies.${name} removed`)
  const changedLists = compareOnce()
  for (const policy of after.policies) {
    yield
    const known = former.get(policy.name)
    // Of a policy that admits every tenant the changed tenants say it all.
    const admitsAll =
      known?.tenants.length === before.tenants.length &&
      policy.tenants.length === after.tenants.length
    const compareTenants = admitsAll ? () => noChange : changedLists
    if (known) changes.push(...changedPolicy(known, policy, words, compareTenants))
    else changes.push(`policies.${policy.name} added: ${policy.allow.map(words.grant).join('; ')}`)
  }
  return changes
}

/** What two lists do not share. */
interface ListChange {
  readonly removed: readonly string[]
  readonly added: readonly string[]
}

const noChange: ListChange = { removed: [], added: [] }

/** Compares lists; those of the pair before at once, since hundreds of policies have the same tenants. */
function compareOnce(): (before: readonly string[], after: readonly string[]) => ListChange {
  let last: { before: readonly string[]; after: readonly string[]; change: ListChange } | undefined
  return (before, after) => {
    if (last?.before !== before || last.after !== after) {
      last = { before, after, change: compareLists(before, after) }
    }
    return last.change
  }
}

function compareLists(before: readonly string[], after: readonly string[]): ListChange {
  const [former, next] = [new Set(before), new Set(after)]
  return {
    removed: before.filter((item) => !next.has(item)),
    added: after.filter((item) => !former.has(item)),
  }
}

function changedPolicy(
  before: PolicyConfig,
  after: PolicyConfig,
  words: RuleWords,
  changedLists: ReturnType<typeof compareOnce>,
): string[] {
  const path = `policies.${before.name}`
  const { allow: _a, deny: _d, audiences: _u, tenants: _t, ...former } = withLife(before)
  const { allow, deny, audiences, tenants, ...settings } = withLife(after)
  const changes = [
    ...changedRules(`${path}.allow`, before.allow, allow, words.grant),
    ...changedRules(`${path}.deny`, before.deny, deny, words.denyRule),
    ...nameItems(`${path}.audiences`, compareLists(before.audiences, audiences)),
    ...nameItems(`${path}.tenants`, changedLists(before.tenants, tenants)),
    ...changedMembers(path, former, settings),
  ]
  if (changes.length > 0 || (same(before.allow, allow) && same(before.deny, deny))) return changes
  return [`${path}: another order of the same rules`]
}

/** With both times of `cacheSeconds` in one member. */
function withLife<Settings extends CacheSettings>(policy: Settings) {
  const { actionCacheSeconds: _, ...rest } = policy
  const { action, others } = cacheLifeOf(policy)
  const cacheSeconds = action === others ? others : `${others}, in HAProxy ${action}`
  return { ...rest, cacheSeconds }
}

/** The removed and the added rules. A rule that appears twice counts twice. */
function changedRules<Rule>(
  path: string,
  before: readonly Rule[],
  after: readonly Rule[],
  word: (rule: Rule) => string,
): string[] {
  const name = (rule: Rule, index: number, what: string) =>
    `${path}[${index}] ${what}: ${word(rule)}`
  return [
    ...missingFrom(after, before).map(([rule, index]) => name(rule, index, 'removed')),
    ...missingFrom(before, after).map(([rule, index]) => name(rule, index, 'added')),
  ]
}

/** The rules of a list that another list does not have, with their index. */
function missingFrom<Rule>(others: readonly Rule[], rules: readonly Rule[]): [Rule, number][] {
  const left = others.map(keyOf)
  return rules.flatMap((rule, index): [Rule, number][] => {
    const at = left.indexOf(keyOf(rule))
    if (at < 0) return [[rule, index]]
    left.splice(at, 1)
    return []
  })
}

/** Text that is the same for the same content, whatever the order of its members. */
function keyOf(value: unknown): string {
  return JSON.stringify(value, (_key, member) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  )
}

function same(one: unknown, other: unknown): boolean {
  return keyOf(one) === keyOf(other)
}

function nameItems(path: string, { removed, added }: ListChange): string[] {
  return [
    ...removed.map((item) => `${path} removed: ${item}`),
    ...added.map((item) => `${path} added: ${item}`),
  ]
}

function changedTenants(before: readonly TenantConfig[], after: readonly TenantConfig[]): string[] {
  const former = new Map(before.map((tenant) => [tenant.id, tenant]))
  const next = new Set(after.map(({ id }) => id))
  return [
    ...before.filter(({ id }) => !next.has(id)).map((it) => `tenants.${it.name} removed: ${it.id}`),
    ...after.flatMap((tenant) => {
      const known = former.get(tenant.id)
      if (!known) return [`tenants.${tenant.name} added: ${tenant.id}`]
      return changedMembers(`tenants.${tenant.name}`, known, tenant)
    }),
  ]
}

function changedSettings(before: LiveConfig, after: LiveConfig): string[] {
  const keys: readonly (readonly [string, boolean])[] = [
    [
      'callerKeyFile: another key',
      before.callerKey !== after.callerKey || before.nextCallerKey !== after.nextCallerKey,
    ],
    [
      'admin.adminKeyFile: another key',
      before.admin.key !== after.admin.key || before.admin.nextKey !== after.admin.nextKey,
    ],
    [
      'listen.tls: another certificate',
      before.listen.tls?.certificate !== after.listen.tls?.certificate,
    ],
  ]
  return [
    ...keys.filter(([, isChanged]) => isChanged).map(([sentence]) => sentence),
    ...changedMembers('', settingsOf(before), settingsOf(after)),
    ...changedMembers('overload', before.overload, after.overload),
    ...changedMembers('log', settingsOfLog(before), settingsOfLog(after)),
    ...changedMembers('signIn', before.signIn ?? {}, after.signIn ?? {}),
  ]
}

function settingsOf({ clockSkewSeconds, identityHeaders }: LiveConfig): object {
  return { clockSkewSeconds, identityHeaders }
}

function settingsOfLog({ log: { refusalsPerSecond } }: LiveConfig): object {
  return { refusalsPerSecond }
}

function changedMembers(path: string, before: object, after: object): string[] {
  const former = new Map(Object.entries(before))
  const next = new Map(Object.entries(after))
  return [...new Set([...former.keys(), ...next.keys()])]
    .filter((name) => !same(former.get(name), next.get(name)))
    .map((name) => {
      // As the file names it.
      const key = name === 'reportOnlyUntilMs' ? 'reportOnlyUntil' : name
      const full = path === '' ? key : `${path}.${key}`
      return `${full}: ${show(name, former.get(name))} → ${show(name, next.get(name))}`
    })
}

function show(name: string, value: unknown): string {
  if (value === undefined) return 'not set'
  if (name === 'reportOnlyUntilMs') return new Date(Number(value)).toISOString()
  return typeof value === 'string' ? value : JSON.stringify(value)
}
