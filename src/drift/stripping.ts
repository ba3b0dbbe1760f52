import type { IdentityHeaderSet } from '../config/config.ts'
import { managedHeaders, spellingsOf, stripLines } from '../haproxy/strip.ts'
import { alternativesOf, type Condition, conditionHolds } from './condition.ts'
import { sourcesOf } from './data-flow.ts'
import { isAction, isEnforcing, isRefusal } from './effect.ts'
import { expressionsIn, readExpression, readTest } from './expression.ts'
import { type Finding, type FindingCode, finding, type Place } from './finding.ts'
import type { Section } from './haproxy-file.ts'
import { headerRemover, optionOf, placeOf, type Rule, settingOf, type Topology } from './proxy.ts'
import type { Request } from './request.ts'
import type { Step, Way } from './way.ts'

interface Gap {
  readonly code: FindingCode
  readonly message: string
  readonly hint: string
}

/**
 * What must be gone from a request before the action sets identity headers, and what must not get
 * this far. The rules may stand in front of the action itself or in the frontend; each way in is
 * looked at by itself.
 */
export function checkStripping(
  ways: readonly Way[],
  set: IdentityHeaderSet,
  { config }: Topology,
): Finding[] {
  return ways.flatMap((way) => {
    const at = way.steps.findIndex(({ rule }) => isAction(rule))
    if (at < 0) return []
    const before = surelyMet(way, way.steps.slice(0, at))
    const all = surelyMet(way, way.steps)
    const place: Place = (way.entry ?? way.target).place
    const gaps = [
      ...unstripped(way, before, set),
      ...upgradeGap(way, all),
      ...connectionGap(way, all),
      ...connectGap(way, all),
      ...violationGap(way),
    ]
    return [
      ...gaps.map((gap) => finding(gap.code, place, gap.message, gap.hint)),
      ...checkLateStripping(way, at, set),
      ...checkWriters(way, at, set),
      ...checkSettings(way, set, config.sections),
      ...checkFilters(way),
    ]
  })
}

/** After an `allow` that may fire, no rule of its section is sure to be evaluated. */
export function surelyMet({ known }: Way, steps: readonly Step[]): readonly Rule[] {
  const left = new Set<unknown>()
  return steps.flatMap(({ rule, proxy }) => {
    if (left.has(proxy)) return []
    if (rule.action === 'allow' && conditionHolds(rule.condition, known) !== false) left.add(proxy)
    return [rule]
  })
}

function fires(rule: Rule, way: Way, request: Request = {}): boolean {
  const known = { ...way.known, request: { ...way.known.request, ...request } }
  return conditionHolds(rule.condition, known) === true
}

/** Spellings of these names that the rules leave to a client, the first of each name. */
export function unremoved(way: Way, rules: readonly Rule[], names: readonly string[]): string[] {
  const removers = rules
    .filter((rule) => fires(rule, way))
    .flatMap((rule) => headerRemover(rule) ?? [])
  const sections = [way.entry, way.target].flatMap((proxy) => proxy?.section ?? [])
  const isPlain = sections.some((section) =>
    /^(delete|reject)$/.test(optionOf(section, 'http-restrict-req-hdr-names')?.words[2] ?? ''),
  )
  return names.flatMap((name) => {
    const spelling = spellingsOf(name)
      .filter((one) => !isPlain || /^[a-z0-9-]+$/.test(one))
      .find((one) => !removers.some((removes) => removes(one)))
    return spelling === undefined ? [] : [spelling]
  })
}

function unstripped(way: Way, rules: readonly Rule[], set: IdentityHeaderSet): Gap[] {
  const open = unremoved(way, rules, managedHeaders(set))
  if (open.length === 0) return []
  const shown =
    open.slice(0, 3).join(', ') + (open.length > 3 ? `, and ${open.length - 3} more` : '')
  return [
    {
      code: 'strip-missing',
      message: `passes identity headers of the client on: ${shown}`,
      hint: stripHint(set),
    },
  ]
}

/** Upgrades that a rule for WebSocket must not take for one. */
const otherUpgrades: readonly (readonly string[])[] = [
  ['h2c'],
  ['TLS/1.0'],
  ['h2c, websocket'],
  ['websocket, h2c'],
  ['h2c', 'websocket'],
  ['websocket', 'h2c'],
]

function upgradeGap(way: Way, rules: readonly Rule[]): Gap[] {
  const isSafe = otherUpgrades.every(
    (upgrade) =>
      !passes(rules, way, { headers: { upgrade, connection: ['upgrade'] } }, (rule) =>
        changeOf(rule, 'upgrade', /^websocket$/i),
      ),
  )
  if (isSafe) return []
  return [
    {
      code: 'upgrade-unprotected',
      message:
        'passes the Upgrade header of the client on: an h2c upgrade opens a tunnel past all rules',
      hint: 'Add: http-request del-header upgrade unless { req.fhdr_cnt(upgrade) eq 1 } { req.fhdr(upgrade) -m str -i websocket }',
    },
  ]
}

/** Names of headers that a client can have dropped; a rule that looks for one of them misses another. */
const namedForRemoval = ['upgrade, x-auth-request-user', 'X-AUTH-REQUEST-USER', 'x-a', 'close, x-a']

function connectionGap(way: Way, rules: readonly Rule[]): Gap[] {
  const isSafe = [[], ['websocket']].every((upgrade) =>
    namedForRemoval.every(
      (connection) =>
        !passes(rules, way, { headers: { upgrade, connection: [connection] } }, (rule) =>
          changeOf(rule, 'connection', /^(upgrade|close|keep-alive)$/i),
        ),
    ),
  )
  if (isSafe) return []
  return [
    {
      code: 'connection-unprotected',
      message:
        'passes the Connection header of the client on: "Connection: X-Auth-Request-User" makes the next server drop that header',
      hint: 'Add: http-request del-header connection, and for WebSocket: http-request set-header connection upgrade if { req.fhdr(upgrade) -m found }',
    },
  ]
}

function connectGap(way: Way, rules: readonly Rule[]): Gap[] {
  // A route by method, where no rule sets another one.
  const isForOthers =
    conditionHolds(way.route?.condition, { facts: [], request: { method: 'CONNECT' } }) === false &&
    !rules.some(({ action }) => action === 'set-method')
  if (isForOthers) return []
  const isSafe = !passes(rules, way, { method: 'CONNECT' }, ({ action, words, condition }) => {
    if (action !== 'set-method') return undefined
    const values = valuesOf(words[0] ?? '', condition)
    return values?.every((value) => value !== 'CONNECT') ? 'replaces' : 'lets in'
  })
  if (isSafe) return []
  return [
    {
      code: 'connect-unprotected',
      message:
        'passes CONNECT on: an application that answers it with 200 opens a tunnel past all rules',
      hint: 'Add behind every set-method: http-request deny deny_status 405 if { method CONNECT }',
    },
  ]
}

/** What a rule does with something that clients must not send: it takes it out, or lets it in again. */
type Change = 'replaces' | 'lets in' | undefined

/** Whether a request reaches the end of the rules with what the client sent, or with what a rule copied. */
function passes(
  rules: readonly Rule[],
  way: Way,
  request: Request,
  change: (rule: Rule) => Change,
): boolean {
  const known = { ...way.known, request: { ...way.known.request, ...request } }
  let isIn = true
  for (const rule of rules) {
    const holds = conditionHolds(rule.condition, known)
    if (isRefusal(rule) && !rule.condition) return false
    const effect = isRefusal(rule) ? 'replaces' : change(rule)
    if (effect === 'replaces' && holds === true) isIn = false
    // Requests without it, which nothing above has refused, get it here.
    if (effect === 'lets in' && conditionHolds(rule.condition, way.known) !== false) isIn = true
  }
  return isIn
}

/** What a rule does with a header of which only some values are safe. */
function changeOf(rule: Rule, name: string, safe: RegExp): Change {
  if (headerRemover(rule)?.(name)) return 'replaces'
  const [header = '', first = '', second = ''] = rule.words
  const [, kind] = /^(set|add|replace)-(?:header|value)$/.exec(rule.action) ?? []
  if (header.toLowerCase() !== name || kind === undefined) return undefined
  const values = valuesOf(kind === 'replace' ? second : first, rule.condition)
  if (!values?.every((one) => safe.test(one))) return 'lets in'
  return rule.action === 'set-header' ? 'replaces' : undefined
}

/** The values that a rule can write; undefined where a client may choose. */
function valuesOf(format: string, condition: Condition | undefined): readonly string[] | undefined {
  const [expression, ...others] = expressionsIn(format)
  if (expression === undefined) return [format]
  if (others.length > 0 || format !== `%[${expression}]`) return undefined
  const key = JSON.stringify(readExpression(expression))
  const alternatives = alternativesOf(condition)?.map((terms) =>
    terms.flatMap(({ negated, tests: [own = [], ...more] }) => {
      const test = readTest(own)
      const isSame = JSON.stringify(test.expression) === key
      const isExact = /^(default|str)$/.test(test.method) && !test.fromFile
      return !negated && more.length === 0 && isSame && isExact ? [test.values] : []
    }),
  )
  if (!alternatives || alternatives.length === 0) return undefined
  const lists = alternatives.map(([list]) => list)
  return lists.includes(undefined) ? undefined : lists.flatMap((list) => list ?? [])
}

/** Options that let in what HAProxy and a server behind it may read as two different requests. */
const laxOptions = ['accept-unsafe-violations-in-http-request', 'accept-invalid-http-request']

function violationGap({ entry, target }: Way): Gap[] {
  const { section } = entry ?? target
  const option = laxOptions.find((name) => optionOf(section, name))
  if (option === undefined) return []
  return [
    {
      code: 'violations-accepted',
      message: `has option ${option}: a server may read such a request in another way than HAProxy`,
      hint: 'Remove it; where one old client needs it, give that client a frontend of its own.',
    },
  ]
}

/** Removes what the action has just set: the application then sees nobody. */
function checkLateStripping(way: Way, at: number, set: IdentityHeaderSet): Finding[] {
  const names = managedHeaders(set)
    .map((name) => name.toLowerCase())
    .filter((name) => !name.startsWith('x-entra-auth-'))
  return way.steps.slice(lastAction(way, at) + 1).flatMap(({ rule, proxy }) => {
    const removed = names.find((name) => headerRemover(rule)?.(name))
    if (removed === undefined) return []
    return [
      finding(
        'strip-after-action',
        placeOf(rule.line, proxy.section),
        `removes ${removed} after the action has set it`,
        'Move it before the action.',
      ),
    ]
  })
}

function lastAction({ steps }: Way, otherwise: number): number {
  return Math.max(
    otherwise,
    steps.findLastIndex(({ rule }) => isAction(rule)),
  )
}

const writers = new Set([
  'set-header',
  'add-header',
  'replace-header',
  'replace-value',
  'set-headers-bin',
  'add-headers-bin',
  'del-headers-bin',
])

/**
 * Finds rules that write an identity header themselves. The action overwrites them only if they
 * come before it, if the name is the one that it sets, and if it sets headers at all.
 */
function checkWriters(way: Way, at: number, set: IdentityHeaderSet): Finding[] {
  const managed = new Map(
    managedHeaders(set).flatMap((name) => spellingsOf(name).map((one) => [plain(one), name])),
  )
  const enforced = way.steps.some(({ rule }) => isEnforcing(rule) && !rule.condition)
  return way.steps.flatMap(({ rule, proxy }, index) => {
    const isBehind = index > at
    const place = placeOf(rule.line, proxy.section)
    if (!writers.has(rule.action)) return isBehind ? luaWriter(rule, place, managed) : []
    const name = (rule.words[0] ?? '').toLowerCase()
    const isBinary = rule.action.endsWith('-bin')
    const isUnknown = isBinary || mayBeManaged(name, rule, managed)
    const header = isUnknown ? 'headers that no file names' : managed.get(plain(name))
    if (header === undefined || isHandedOn(rule, way)) return []
    if (!isBehind && enforced && name === header.toLowerCase()) return []
    const later = way.steps.slice(index + 1).map((step) => step.rule)
    if (later.some((other) => fires(other, way) && headerRemover(other)?.(name))) return []
    return [
      finding(
        'identity-overwritten',
        place,
        `${rule.action.startsWith('del-') ? 'removes' : 'writes'} ${isUnknown ? header : name} by itself, and the application takes it for the verifier's word`,
        'Remove it, or give the header a name outside the identity headers.',
      ),
    ]
  })
}

/** Whether a name with a variable of the environment in it can be the one of an identity header. */
function mayBeManaged(
  name: string,
  { line: { unresolved } }: Rule,
  managed: ReadonlyMap<string, string>,
): boolean {
  const at = unresolved.map((one) => name.indexOf(`$${one.toLowerCase()}`)).find((one) => one >= 0)
  if (at === undefined) return false
  const start = plain(name.slice(0, at))
  return [...managed.keys()].some((one) => one.startsWith(start))
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '-')
}

/** Headers that a setting writes, besides rules: the address of the client, an id, the name of a server. */
function checkSettings(way: Way, set: IdentityHeaderSet, all: readonly Section[]): Finding[] {
  const managed = new Set(managedHeaders(set).flatMap((name) => spellingsOf(name).map(plain)))
  const sections = [way.entry, way.target].flatMap((proxy) => (proxy ? [proxy] : []))
  return sections.flatMap(({ section, place }) => {
    const named = ['forwardfor', 'originalto'].map((name) => {
      const line = optionOf(section, name)
      return { line, name: line?.words[line.words.indexOf('header') + 1] }
    })
    const written = ['unique-id-header', 'http-send-name-header'].map((keyword) => {
      const line = settingOf(section, keyword)
      return { line, name: line?.words[1] }
    })
    const app = settingOf(section, 'use-fcgi-app')?.words[1]
    const parameters = all
      .filter(({ kind, name }) => kind === 'fcgi-app' && name === app)
      .flatMap(({ lines }) => lines)
      .filter(({ words }) => words[0] === 'set-param')
      .map((line) => ({ line, name: line.words[1]?.replace(/^HTTP_/, '').replaceAll('_', '-') }))
    return [...named, ...written, ...parameters].flatMap(({ line, name = '' }) =>
      line && managed.has(plain(name))
        ? [
            finding(
              'identity-overwritten',
              section.lines.includes(line) ? placeOf(line, section) : place,
              `writes ${name.toLowerCase()} by itself, and the application takes it for the verifier's word`,
              'Give the header a name outside the identity headers.',
            ),
          ]
        : [],
    )
  })
}

/** The value is what the action said: `set-header NAME %[var(txn.entra.user)]`, also by a variable. */
function isHandedOn({ action, words }: Rule, { steps }: Way): boolean {
  const value = words[1] ?? ''
  const [text, ...others] = expressionsIn(value)
  if (action !== 'set-header' || text === undefined || others.length > 0) return false
  const sources = sourcesOf(
    readExpression(text),
    steps.map(({ rule }) => rule),
  )
  return (
    value === `%[${text}]` &&
    sources.every(
      ({ fetch, argument, converters }) =>
        fetch === 'var' && /^txn\.entra\.[a-z_]+$/.test(argument) && converters.length === 0,
    )
  )
}

/** A filter of another script sees the request behind all rules. */
function checkFilters({ entry, target }: Way): Finding[] {
  return [entry, target].flatMap((proxy) =>
    (proxy?.section.lines ?? [])
      .filter(({ words }) => words[0] === 'filter' && words[1]?.startsWith('lua.'))
      .map((line) =>
        finding(
          'identity-unclear',
          placeOf(line, proxy?.section ?? target.section),
          `runs the filter ${line.words[1]} after the action, and its script may write identity headers`,
          'Look at its script and write "# drift: ignore identity-unclear" in the section.',
        ),
      ),
  )
}

/** Other Lua actions: what they write stands in their script. */
function luaWriter(rule: Rule, place: Place, managed: ReadonlyMap<string, string>): Finding[] {
  if (!rule.action.startsWith('lua.') || isAction(rule)) return []
  const names = [...managed.keys()]
  const named = rule.words.some((word) =>
    plain(word)
      .split(',')
      .some(
        (one) =>
          names.includes(one) ||
          (one.length > 2 && names.some((name) => name.startsWith(one.replace(/-+$/, '')))),
      ),
  )
  if (!named)
    return [
      finding(
        'identity-unclear',
        place,
        `runs ${rule.action} after the action, and its script may write identity headers`,
        'Move it before the action, or look at its script and write "# drift: ignore identity-unclear" in the section.',
      ),
    ]
  return [
    finding(
      'identity-overwritten',
      place,
      `lets ${rule.action} write identity headers after the action`,
      'Move it before the action, or give the header a name outside the identity headers.',
    ),
  ]
}

function stripHint(set: IdentityHeaderSet): string {
  return `Add before the action, without a condition: ${stripLines(set).join(' and ')}`
}
