import { refuseAmbiguousPaths } from '../haproxy/plain-path.ts'
import { serverKey } from './address.ts'
import { conditionHolds, testsOf } from './condition.ts'
import { sourcesOf } from './data-flow.ts'
import { isAction, isRefusal, rewrites } from './effect.ts'
import { expressionsIn, readExpression, readTest } from './expression.ts'
import { type Finding, finding } from './finding.ts'
import { type ProxySection, placeOf, type Route, type Rule } from './proxy.ts'
import type { Way } from './way.ts'

const hint = `Refuse before it what can be read in two ways: ${refuseAmbiguousPaths} (see docs/drift.md).`

/** Names the policies of a proxy; two proxies with the same name protect alike. */
export type PolicyKey = (proxy: ProxySection) => string

/**
 * Decisions by path: `/%61dmin`, `//admin` and `/x/../admin` are `/admin` to many applications and
 * not to `path_beg /admin`, so the request gets the other policy.
 */
export function checkPaths(
  ways: readonly Way[],
  policyKey: PolicyKey,
  isExempt: (proxy: ProxySection) => boolean,
): Finding[] {
  const entries = new Set(ways.flatMap(({ entry }) => entry ?? []))
  return [
    ...ways.flatMap(checkActions),
    ...[...entries]
      .filter((entry) => !isExempt(entry))
      .flatMap((entry) =>
        checkRoutes(
          entry,
          ways.filter((way) => way.entry === entry && !isExempt(way.target)),
          policyKey,
        ),
      ),
  ]
}

/** Two lines with the action, chosen by path. */
function checkActions(way: Way): Finding[] {
  const actions = way.steps.filter(({ rule }) => isAction(rule))
  const policies = actions.map(
    ({ rule, proxy }) => `${rule.words[0]} ${rule.action.endsWith('-backend') ? proxy.name : ''}`,
  )
  if (new Set(policies).size < 2) return []
  const byPath = actions.find(({ rule }) =>
    testsOf(rule.condition).some((test) => isPathTest(test, way)),
  )
  const isTurned = refusesAmbiguousPaths(way)
  if (!byPath || (isTurned && !turnsPaths(way))) return []
  return [
    finding(
      'path-bypass',
      placeOf(byPath.rule.line, byPath.proxy.section),
      isTurned
        ? 'chooses the policy by a path that a rule turns into another one'
        : 'chooses the policy by a path that the application may read in another way',
      isTurned ? turnedHint : hint,
    ),
  ]
}

function checkRoutes(entry: ProxySection, ways: readonly Way[], policyKey: PolicyKey): Finding[] {
  const byPath = ways.find((way) => way.route && isPathRoute(way.route, way))?.route
  const isOpen = ways.some((way) => !refusesAmbiguousPaths(way))
  const isTurned = ways.some((way) => turnsPaths(way, way.target))
  if (!byPath || !(isOpen || isTurned)) return []
  if (!ways.some(({ steps }) => steps.some(({ rule }) => isAction(rule)))) return []
  const targets = [...new Set(ways.map(({ target }) => target))]
  if (new Set(targets.map(policyKey)).size < 2) return []
  const place = placeOf(byPath.line, entry.section)
  const shared = sharedServer(targets, policyKey)
  if (shared !== undefined) {
    return [
      finding(
        'path-bypass',
        place,
        `chooses between policies by path, and ${shared} serves both: ${isOpen ? 'it may read the path in another way' : 'a rule turns the path into another one'}`,
        isOpen ? hint : turnedHint,
      ),
    ]
  }
  if (!isOpen) return []
  return [
    finding(
      'path-ambiguous',
      place,
      'chooses by path between backends with different policies, and passes on paths that can be read in two ways',
      hint,
    ),
  ]
}

const turnedHint =
  'Choose by the path that the application gets: remove the rule that rewrites it, or only put a fixed beginning before it.'

/** Whether a rule, of one section or of all, makes of one path another that a client may choose. */
function turnsPaths({ steps }: Way, only?: ProxySection): boolean {
  return steps.some(
    ({ rule, proxy }) =>
      (only === undefined || proxy === only) && rewrites(rule, 'path', '') && !keepsPath(rule),
  )
}

/** A fixed beginning before the path of the request, or a path without anything of the client's. */
function keepsPath({ action, words: [value = ''] }: Rule): boolean {
  if (action === 'normalize-uri') return true
  if (!action.startsWith('set-')) return false
  return !value.includes('%[') || /^(\/[\w-]+)*%\[(path|pathq)\]$/.test(value)
}

function isPathRoute(route: Route, way: Way): boolean {
  const byName = expressionsIn(route.target).some((text) => readsPath(text, way))
  return byName || testsOf(route.condition).some((test) => isPathTest(test, way))
}

function sharedServer(targets: readonly ProxySection[], policyKey: PolicyKey): string | undefined {
  const keyOfServer = new Map<string, string>()
  for (const target of targets) {
    const key = policyKey(target)
    for (const { address } of target.servers) {
      const server = serverKey(address)
      const earlier = keyOfServer.get(server)
      if (earlier !== undefined && earlier !== key) return address
      keyOfServer.set(server, key)
    }
  }
  return undefined
}

const pathFetches = /^(path|pathq|base|baseq|base32|base32\+src|url|url32|url32\+src)$/

function readsPath(text: string, { steps }: Way): boolean {
  const rules = steps.map(({ rule }) => rule)
  return sourcesOf(readExpression(text), rules).some(({ fetch }) => pathFetches.test(fetch))
}

/** Whether an ACL test looks at the path, itself or through variables. */
export function isPathTest(test: readonly string[], way: Way): boolean {
  const { fetch } = readTest(test).expression
  return pathFetches.test(fetch) || readsPath(test[0] ?? '', way)
}

/** Compares the whole path: what matches is read in one way only. */
export function isExactPath(test: readonly string[]): boolean {
  const { expression, method, ignoresCase } = readTest(test)
  const { fetch, converters } = expression
  return (
    fetch === 'path' && converters.length === 0 && /^(default|str)$/.test(method) && !ignoresCase
  )
}

/**
 * Paths that some application reads as another one: `%61` is `a` to all; `\` is `/` to the WHATWG URL
 * parser, .NET and PHP on Windows; Java cuts `;…` off a segment; `#` ends a path; bytes that are no UTF-8 (`%c0%ae`)
 * and encoded slashes and dots come out differently everywhere.
 */
const ambiguousPaths = [
  '/%61dmin',
  '/pub/%2e%2e/admin',
  '/pub%2fadmin',
  '/pub%5c..%5cadmin',
  '/%c0%ae%c0%ae/admin',
  '//admin',
  '/pub//admin',
  '/./admin',
  '/pub/../admin',
  '/admin/.',
  '/pub/..',
  '/pub/..;/admin',
  '/pub/..;x/admin',
  '/;x/admin',
  '/admin#.css',
  '/pub/%252e%252e/admin',
  '/pub\\..\\admin',
  '/.\\admin',
]

/** Whether a rule makes a path of something else than the path, such as a header. */
function bringsPath(rule: Rule, { steps }: Way): boolean {
  if (!/^set-(path|pathq|uri)$/.test(rule.action)) return false
  const rules = steps.map((step) => step.rule)
  return expressionsIn(rule.words[0] ?? '').some((text) =>
    sourcesOf(readExpression(text), rules).some(
      ({ fetch }) => !/^(path|pathq|url|query)$/.test(fetch),
    ),
  )
}

/**
 * Whether each ambiguous path is rejected, without exception. Nothing less is safe: the normalizers
 * of HAProxy leave `\` and `;` as they are, and an application can read a path in yet another way.
 */
export function refusesAmbiguousPaths(way: Way): boolean {
  const left = new Set<unknown>()
  let rules: Rule[] = []
  for (const { rule, proxy } of way.steps) {
    if (left.has(proxy)) continue
    if (rule.action === 'allow' && conditionHolds(rule.condition, way.known) !== false)
      left.add(proxy)
    // What was refused before tells nothing of a path that comes from elsewhere.
    if (bringsPath(rule, way)) rules = []
    if (isRefusal(rule)) rules.push(rule)
  }
  return ambiguousPaths.every((path) => {
    // The facts of a way say what HAProxy reads in the path, and so not which path it is.
    const request = { ...way.known.request, path }
    return rules.some(
      ({ condition }) => conditionHolds(condition, { ...way.known, request }) === true,
    )
  })
}
