import { isLoopback } from '../loopback.ts'
import { nearest } from '../nearest.ts'
import type { Actor, DenyConfig, GrantConfig, PolicyConfig, TenantConfig } from './config.ts'
import { defaults } from './defaults.ts'
import { checkGuids, isGuid } from './guid.ts'
import { nameMicrosoftApi } from './microsoft-apis.ts'
import { type Path, quote, type Report } from './problems.ts'
import { AUDIENCES_DESCRIPTION, denyRuleSchema, GUID_PATTERN, grantSchema } from './schema.ts'
import { entriesOf, itemsOf, mappingOf, memberOf, numberOr, textOf } from './values.ts'

const GUID_HINT = 'Write each id as a GUID.'
const GUID_HINTS: Readonly<Record<string, string>> = {
  groups: 'Write the object id of the group (its page in Entra), not its name.',
  clients: 'Write the application (client) id of the calling app.',
  users: 'Write the object id of the user, not a name or an address.',
}

/** The conditions that are lists of GUIDs: tokens have these in lower case. */
const guidLists: ReadonlySet<string> = new Set(
  [grantSchema, denyRuleSchema].flatMap(({ properties }) =>
    entriesOf(properties)
      .filter(([, schema]) => memberOf(memberOf(schema, 'items'), 'pattern') === GUID_PATTERN)
      .map(([key]) => key),
  ),
)

/** Checks the section `policies`, whose tenant names are looked up in `tenants`. */
export function checkPolicies(
  section: unknown,
  tenants: readonly TenantConfig[],
  hasSignIn: boolean,
  report: Report,
): PolicyConfig[] {
  const known: KnownTenants = {
    ids: tenants.map(({ id }) => id),
    idsByName: new Map(tenants.map(({ name, id }) => [name, id])),
  }
  return entriesOf(section).map(([name, raw]) => {
    if (!hasSignIn) reportSessionGrants(name, raw, report)
    return checkPolicy(name, raw, known, report)
  })
}

/** The configured tenants. */
interface KnownTenants {
  /** One list for all policies that name no tenant: a thousand of them would each have hundreds. */
  readonly ids: readonly string[]
  readonly idsByName: ReadonlyMap<string, string>
}

function checkPolicy(
  name: string,
  raw: unknown,
  tenants: KnownTenants,
  report: Report,
): PolicyConfig {
  const path: Path = ['policies', name]
  const resource = textOf(memberOf(raw, 'resource'))
  requireAudiences(raw, path, report)
  if (resource) checkResource(resource, [...path, 'resource'], report)
  const until = textOf(memberOf(raw, 'reportOnlyUntil'))
  const cacheSeconds = memberOf(raw, 'cacheSeconds')
  return {
    name,
    tenants: checkTenantNames(memberOf(raw, 'tenants'), tenants, [...path, 'tenants'], report),
    audiences: checkAudiences(memberOf(raw, 'audiences'), [...path, 'audiences'], report),
    ...(resource === undefined ? {} : { resource }),
    cacheSeconds: numberOr(cacheSeconds, defaults.cacheSeconds),
    ...(cacheSeconds === defaults.cacheSeconds ? { actionCacheSeconds: cacheSeconds } : {}),
    maxTokenLifetimeMinutes: numberOr(
      memberOf(raw, 'maxTokenLifetimeMinutes'),
      defaults.maxTokenLifetimeMinutes,
    ),
    groups: memberOf(raw, 'groups') === 'all' ? 'all' : 'named',
    requireIdtyp: memberOf(raw, 'requireIdtyp') === true,
    ...(until === undefined
      ? {}
      : { reportOnlyUntilMs: checkDate(until, [...path, 'reportOnlyUntil'], report) }),
    ...(memberOf(raw, 'crossSiteGuard') === false ? { crossSiteGuard: false } : {}),
    allow: itemsOf(memberOf(raw, 'allow')).map((grant, index) =>
      checkGrant(grant, [...path, 'allow', index], report),
    ),
    deny: itemsOf(memberOf(raw, 'deny')).map((rule, index) =>
      checkDenyRule(rule, [...path, 'deny', index], report),
    ),
  }
}

function reportSessionGrants(name: string, raw: unknown, report: Report): void {
  for (const [index, grant] of itemsOf(memberOf(raw, 'allow')).entries()) {
    if (memberOf(grant, 'session') !== true) continue
    report(
      ['policies', name, 'allow', index, 'session'],
      'admits sessions although nobody can sign in: there is no section signIn',
      'Add the section signIn, or remove the grant.',
    )
  }
}

/** Audiences are those of tokens; a policy that takes sessions alone needs none. */
function requireAudiences(raw: unknown, path: Path, report: Report): void {
  if (mappingOf(raw) === undefined || memberOf(raw, 'audiences') !== undefined) return
  const grants = itemsOf(memberOf(raw, 'allow'))
  if (grants.length > 0 && grants.every((grant) => memberOf(grant, 'session') === true)) return
  report([...path, 'audiences'], 'is missing', AUDIENCES_DESCRIPTION)
}

function checkTenantNames(
  value: unknown,
  { ids: all, idsByName }: KnownTenants,
  path: Path,
  report: Report,
): readonly string[] {
  // Without a section `tenants` that is the one problem, not each name that refers to it.
  if (value === undefined || all.length === 0) return all
  const ids = itemsOf(value).map((item, index) => {
    const name = textOf(item)
    const id = idsByName.get(name ?? '')
    if (name !== undefined && id === undefined) {
      const names = [...idsByName.keys()]
      const near =
        names.find((one) => idsByName.get(one) === name.toLowerCase()) ?? nearest(name, names)
      report(
        [...path, index],
        `is not a configured tenant: ${quote(name)}`,
        near === undefined
          ? `Configured: ${names.join(', ')}.`
          : `Write the name ${quote(near)}, or add the tenant to tenants.`,
      )
    }
    return id ?? ''
  })
  return [...new Set(ids)]
}

function checkAudiences(value: unknown, path: Path, report: Report): string[] {
  const audiences = itemsOf(value).map((item, index) => {
    const text = textOf(item) ?? ''
    if (nameMicrosoftApi(text) !== undefined) {
      report(
        [...path, index],
        `is an API of Microsoft: ${quote(text)}; its tokens were not issued for your API`,
        'Use the client id or an identifier URI of your own registration, and request tokens for that.',
      )
    }
    if (/^[0-9a-f-]{28,44}$/i.test(text) && text.includes('-') && !isGuid(text)) {
      report(
        [...path, index],
        `is not a GUID: ${quote(text)}`,
        'Copy the application (client) id from the Overview page of the registration.',
      )
    }
    return isGuid(text) ? text.toLowerCase() : text
  })
  return [...new Set(audiences)]
}

function checkResource(text: string, path: Path, report: Report): void {
  const hint = 'Write an absolute https URL such as https://api.contoso.com/orders (RFC 9728).'
  if (!/^https?:\/\/[!-~]+$/i.test(text) || text.includes('\\') || !URL.canParse(text)) {
    report(path, 'is not an absolute https URL', hint)
    return
  }
  const url = new URL(text)
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    report(path, 'uses http: away from loopback', hint)
  } else if (/[?#]/.test(text)) {
    report(path, 'has a query or a fragment', hint)
  } else if (url.username !== '' || url.password !== '') {
    report(path, 'holds credentials', hint)
  } else if (url.href !== text && url.href !== `${text}/`) {
    // Clients compare it letter for letter with the address that they called (RFC 9728 section 3.3).
    report(path, 'is not written as clients write it', `Write ${url.href}.`)
  }
}

function checkDate(text: string, path: Path, report: Report): number {
  const ms = Date.parse(text.toUpperCase().replace(' ', 'T'))
  // Date.parse takes 30 February for 2 March.
  const [year, month, day] = text.slice(0, 10).split('-').map(Number)
  const lastDay = new Date(Date.UTC(year ?? 0, month ?? 0, 0)).getUTCDate()
  if (Number.isNaN(ms) || (day ?? 0) > lastDay) {
    report(
      path,
      `is not a date: ${quote(text)}`,
      'Write a date such as 2026-12-31, or a time with its zone such as 2026-12-31T18:00:00Z.',
    )
    return 0
  }
  return ms
}

function checkGrant(raw: unknown, path: Path, report: Report): GrantConfig {
  const actor = actorOf(memberOf(raw, 'actor')) ?? 'user'
  const has = (key: string) => memberOf(raw, key) !== undefined
  if (actor === 'app' && mappingOf(raw) !== undefined) {
    for (const key of ['scopes', 'guests', 'authContext']) {
      if (!has(key)) continue
      report(
        [...path, key],
        `cannot hold for an app: an app token ${key === 'scopes' ? 'has no scopes' : 'has no user'}`,
        'Remove it; use roles or clients.',
      )
    }
    if (!has('roles') && !has('clients')) {
      report(
        path,
        'admits apps with neither roles nor clients: any app of the tenant can get such a token',
        'Add roles: [NAME] (or any), or clients: [GUID].',
      )
    }
  }
  if (actor === 'agent' && !has('scopes') && !has('roles') && !has('clients')) {
    report(
      path,
      'admits agents with none of scopes, roles and clients',
      'Add scopes: [NAME], roles: [NAME] or clients: [GUID].',
    )
  }
  if (has('session')) checkSessionGrant(raw, actor, path, report)
  return conditionsOf<GrantConfig>(raw, path, report)
}

/** A session has no scopes and no client that asked for it: with one of these it could never hold. */
function checkSessionGrant(raw: unknown, actor: Actor, path: Path, report: Report): void {
  if (memberOf(raw, 'session') !== true) return
  if (actor !== 'user') {
    report(
      [...path, 'session'],
      `cannot hold for ${actor === 'app' ? 'an app' : 'an agent'}: only people sign in with a browser`,
      'Write actor: user, or remove session.',
    )
  }
  for (const key of ['scopes', 'clients', 'confidential']) {
    if (memberOf(raw, key) === undefined) continue
    report(
      [...path, key],
      'cannot stand beside session: it is a condition on tokens',
      'Write two grants, one for sessions and one for tokens; for sessions use roles or groups.',
    )
  }
}

function checkDenyRule(raw: unknown, path: Path, report: Report): DenyConfig {
  return conditionsOf<DenyConfig>(raw, path, report)
}

/**
 * Copies every key of a grant or a deny rule, so no condition can be dropped here. The schema
 * reports unknown keys and wrong types.
 */
function conditionsOf<Rule>(raw: unknown, path: Path, report: Report): Rule {
  const conditions = entriesOf(raw).map(([key, value]) => [
    key,
    conditionOf(key, value, [...path, key], report),
  ])
  return Object.fromEntries(conditions) as Rule
}

function conditionOf(key: string, value: unknown, path: Path, report: Report): unknown {
  if (guidLists.has(key)) return checkGuids(value, path, GUID_HINTS[key] ?? GUID_HINT, report)
  if (!Array.isArray(value)) return value
  const words = [...new Set(value.map((item) => textOf(item) ?? ''))]
  if (key === 'scopes') checkScopes(words, path, report)
  return words
}

function checkScopes(scopes: readonly string[], path: Path, report: Report): void {
  for (const [index, scope] of scopes.entries()) {
    if (!/^(api|https?):\/\/|^\.default$/i.test(scope)) continue
    report(
      [...path, index],
      `can never match: ${quote(scope)} is what a client requests, not what a token contains`,
      'Write the scope as in the claim scp: the part after the last slash, such as Orders.Read.',
    )
  }
}

function actorOf(value: unknown): Actor | undefined {
  return value === 'user' || value === 'app' || value === 'agent' ? value : undefined
}
