import { testsOf } from './condition.ts'
import { type Finding, finding } from './finding.ts'
import { firstAction, isAction } from './protection.ts'
import { type ProxySection, placeOf, type Route, type Topology } from './proxy.ts'

const hint =
  'Refuse paths that can be read in two ways before it: http-request deny deny_status 400 if { path_sub // /. % } (or normalise them with http-request normalize-uri path-merge-slashes, path-strip-dotdot and percent-decode-unreserved).'

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

const normalizers = {
  percent: 'percent-decode-unreserved',
  slashes: 'path-merge-slashes',
  dots: 'path-strip-dotdot',
}

/** Escapes, double slashes and dot segments are each refused or normalised, without a condition. */
function refusesAmbiguousPaths(proxy: ProxySection): boolean {
  const normalised = proxy.rules
    .filter(({ action, condition }) => action === 'normalize-uri' && !condition)
    .map(({ words }) => words[0])
  const refused = proxy.rules
    .filter(({ action }) => ['deny', 'reject', 'return', 'tarpit'].includes(action))
    .filter(({ condition }) => condition?.keyword === 'if')
    .flatMap(
      ({ condition }) =>
        condition?.groups.flatMap((group) => (group.length === 1 ? group : [])) ?? [],
    )
    .filter(({ negated }) => !negated)
    .flatMap(({ tests }) => tests)
    .filter(([fetch]) => /^(path|pathq|url|base)(_sub|_reg)?(,|$)/.test(fetch ?? ''))
    .flatMap((test) => test.slice(1).map((word) => word.replaceAll('\\', '')))
  const refuses = (text: string) => refused.some((word) => word.includes(text))
  return (
    (refuses('%') || normalised.includes(normalizers.percent)) &&
    (refuses('//') || normalised.includes(normalizers.slashes)) &&
    (refuses('/.') || refuses('..') || normalised.includes(normalizers.dots))
  )
}
