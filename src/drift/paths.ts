import { testsOf } from './condition.ts'
import { type Finding, finding } from './finding.ts'
import { firstAction, isAction, isRefusal } from './protection.ts'
import { type ProxySection, placeOf, type Route, type Topology } from './proxy.ts'

const hint =
  'Refuse before it what can be read in two ways: http-request deny deny_status 400 if { path_sub // /./ /../ % } or { path_end /. /.. } (or use http-request normalize-uri, see docs/drift.md).'

/** Names the policies of a proxy; two proxies with the same name protect alike. */
export type PolicyKey = (proxy: ProxySection) => string

/**
 * Decisions by path: `/%61dmin`, `//admin` and `/x/../admin` are `/admin` to many applications and
 * not to `path_beg /admin`, so the request gets the other policy.
 */
export function checkPaths(
  topology: Topology,
  policyKey: PolicyKey,
  isExempt: (proxy: ProxySection) => boolean,
): Finding[] {
  return topology.proxies
    .filter((proxy) => !isExempt(proxy))
    .filter((proxy) => !refusesAmbiguousPaths(proxy))
    .flatMap((proxy) => [
      ...checkActions(proxy),
      ...checkRoutes(proxy, topology, policyKey, isExempt),
    ])
}

/** Two lines with the action, chosen by path, or one that not every path meets. */
function checkActions(proxy: ProxySection): Finding[] {
  const actions = proxy.rules.filter(isAction)
  if (new Set(actions.map(({ action, words }) => `${action} ${words[0]}`)).size < 2) return []
  const byPath = actions.find(({ condition }) => testsOf(condition).some(isPathTest(proxy)))
  if (!byPath) return []
  return [
    finding(
      'path-bypass',
      placeOf(byPath.line, proxy.section),
      'chooses the policy by a path that the application may read in another way',
      hint,
    ),
  ]
}

function checkRoutes(
  proxy: ProxySection,
  topology: Topology,
  policyKey: PolicyKey,
  isExempt: (proxy: ProxySection) => boolean,
): Finding[] {
  const byPath = proxy.routes.find((route) => isPathRoute(route, proxy, topology, isExempt))
  if (!byPath) return []
  const targets = topology.targetsOf(proxy).filter((target) => !isExempt(target))
  const covered = targets.filter((target) => firstAction(target) >= 0 || firstAction(proxy) >= 0)
  if (covered.length === 0) return []
  if (new Set(targets.map(policyKey)).size < 2) return []
  const place = placeOf(byPath.line, proxy.section)
  const shared = sharedServer(targets, policyKey)
  if (shared !== undefined) {
    return [
      finding(
        'path-bypass',
        place,
        `chooses between policies by path, and ${shared} serves both: it may read the path in another way`,
        hint,
      ),
    ]
  }
  return [
    finding(
      'path-ambiguous',
      place,
      'chooses by path between backends with different policies, and passes on paths that can be read in two ways',
      hint,
    ),
  ]
}

function isPathRoute(
  route: Route,
  proxy: ProxySection,
  topology: Topology,
  isExempt: (proxy: ProxySection) => boolean,
): boolean {
  if (route.dynamic) return isPathFetch(/%\[([^,\]]*)/.exec(route.target)?.[1] ?? '', proxy)
  const target = topology.targetsOf(proxy).find(({ name }) => name === route.target)
  if (!target || isExempt(target)) return false
  return testsOf(route.condition).some(isPathTest(proxy))
}

function sharedServer(targets: readonly ProxySection[], policyKey: PolicyKey): string | undefined {
  const keyOfServer = new Map<string, string>()
  for (const target of targets) {
    const key = policyKey(target)
    for (const { address } of target.servers) {
      const earlier = keyOfServer.get(address)
      if (earlier !== undefined && earlier !== key) return address
      keyOfServer.set(address, key)
    }
  }
  return undefined
}

const pathFetch =
  /^(path|pathq|base|baseq|base32|url|capture\.req\.uri|(path|base|url)_(beg|dir|dom|end|len|reg|sub))(,|$)/

function isPathFetch(fetch: string, proxy: ProxySection): boolean {
  if (pathFetch.test(fetch)) return true
  const variable = /^var\(([^)]+)\)/.exec(fetch)?.[1]
  if (variable === undefined) return false
  return proxy.rules.some(
    ({ action, words }) => action === `set-var(${variable})` && pathFetch.test(words[0] ?? ''),
  )
}

function isPathTest(proxy: ProxySection): (test: readonly string[]) => boolean {
  return ([fetch]) => isPathFetch(fetch ?? '', proxy)
}

/** Other ways to write `/admin` for many applications, and the normaliser that undoes each. */
const ambiguousPaths = [
  ['/%61dmin', 'percent-decode-unreserved'],
  ['//admin', 'path-merge-slashes'],
  ['/./admin', 'path-strip-dot'],
  ['/x/../admin', 'path-strip-dotdot'],
] as const

/** Each ambiguous path is refused or normalised, without another condition. */
function refusesAmbiguousPaths(proxy: ProxySection): boolean {
  const normalised = proxy.rules
    .filter(({ action, condition }) => action === 'normalize-uri' && !condition)
    .map(({ words }) => words[0] ?? '')
  // What comes before the decoding does not see the dots that come out of it.
  const decoding = normalised.indexOf('percent-decode-unreserved')
  const effective = normalised.slice(Math.max(decoding, 0))
  const refused = proxy.rules
    .filter(isRefusal)
    .flatMap(({ condition }) => (condition?.keyword === 'if' ? condition.groups : []))
    .flatMap((group) => (group.length === 1 && !group[0]?.negated ? (group[0]?.tests ?? []) : []))
  return ambiguousPaths.every(
    ([path, normalizer]) =>
      effective.includes(normalizer) || refused.some((test) => matchesPath(test, path)),
  )
}

/** Whether a test on parts of the path, or on a pattern, holds for this path. */
function matchesPath([fetch = '', ...words]: readonly string[], path: string): boolean {
  const [, suffix] = /^(?:path|pathq|url|base)(?:_(sub|reg|beg|end))?$/.exec(fetch) ?? []
  if (!pathFetch.test(fetch)) return false
  const method = words[0] === '-m' ? words[1] : suffix
  const values = words.slice(words[0] === '-m' ? 2 : 0).filter((word) => !/^(-i|--)$/.test(word))
  if (method === 'sub') return values.some((value) => path.includes(value))
  if (method === 'reg') return values.some((value) => matches(value, path))
  return false
}

function matches(pattern: string, path: string): boolean {
  try {
    return new RegExp(pattern).test(path)
  } catch {
    return false
  }
}
