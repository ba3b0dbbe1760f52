import { isAllowedTest, testsOf } from './condition.ts'
import { isAction, isEnforcing, isRedirect, isRefusal, rewrites } from './effect.ts'
import { type Finding, finding } from './finding.ts'
import { isExactPath, isPathTest, refusesAmbiguousPaths } from './paths.ts'
import { type ProxySection, placeOf, type Rule, type Topology } from './proxy.ts'
import {
  type Escape,
  exceptionsOf,
  findEscapes,
  findStale,
  looksAtVerdict,
  type Stale,
} from './walk.ts'
import type { Step, Way } from './way.ts'

const guardLine = 'http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }'

/** Whether HAProxy ignores the HTTP rules of a section that has some, or whose neighbours do. */
export function hasWrongMode(proxy: ProxySection, topology: Topology): boolean {
  if (proxy.mode === 'http') return false
  const own = proxy.rules.some(({ line }) => proxy.section.lines.includes(line))
  const neighbours = [proxy, ...topology.targetsOf(proxy), ...topology.entriesOf(proxy)]
  return own || neighbours.some(({ rules }) => rules.some(isAction))
}

/** Sections whose rules HAProxy does not look at. Without such rules `mode tcp` is another service. */
export function checkModes(topology: Topology): Finding[] {
  return topology.proxies
    .filter((proxy) => hasWrongMode(proxy, topology))
    .map((proxy) => {
      const switching = proxy.tcpRules.find(({ action }) => action === 'switch-mode')
      if (switching) {
        return finding(
          'mode-not-http',
          placeOf(switching.line, proxy.section),
          'switches to mode http in the middle: a connection that misses its condition, such as one that is slower than the inspect-delay, reaches an HTTP backend without the http-request rules of this section',
          'Write mode http in it instead, and give other protocols a port of their own.',
        )
      }
      return finding(
        'mode-not-http',
        proxy.place,
        `is in mode ${proxy.mode}, where HAProxy ignores every http-request rule`,
        'Write mode http in it, or in its defaults.',
      )
    })
}

/** That each way to a server leads through the action, and that nothing gets past it. */
export function checkProtection(ways: readonly Way[], topology: Topology): Finding[] {
  return ways.flatMap((way) => {
    if (!way.steps.some(({ rule }) => isAction(rule))) return checkActionPresent(way)
    const stale = findStale(way)
    return [...checkEscapes(way, topology), ...(stale ? [staleVerdict(stale)] : [])]
  })
}

/** Backends whose servers are added while HAProxy runs have none in the file. */
function mayServe({ target, route }: Way): boolean {
  if (target.servers.length > 0) return true
  const { section } = target
  const has = (keyword: string) => section.lines.some(({ words }) => words[0] === keyword)
  if (route === undefined || (route.dynamic && has('stick-table'))) return false
  if (has('errorfile') || has('http-error') || has('errorfiles') || has('stats')) return false
  return has('mode') || target.mode === 'http'
}

function checkActionPresent(way: Way): Finding[] {
  const { target, entry } = way
  if (target.mode !== 'http' || !mayServe(way) || findEscapes(way).length === 0) return []
  const what = target.servers.length > 0 ? 'has servers' : 'may get servers at run time'
  return [
    finding(
      'action-missing',
      target.place,
      `${what} that requests reach without the action${entry ? `, from ${entry.name}` : ''}`,
      'Add http-request lua.entra-auth POLICY and the guard; for a public application write "# drift: ignore action-missing" in the section.',
    ),
  ]
}

function staleVerdict({ step: { rule, proxy }, variable }: Stale): Finding {
  return finding(
    'verdict-stale',
    placeOf(rule.line, proxy.section),
    `is a second action on one request: if it fails, ${variable} is still that of the first`,
    `Write before it: http-request unset-var(${variable})`,
  )
}

/** With strict mode off, HAProxy goes on without a header for which the buffer has no room. */
export function checkStrictMode(ways: readonly Way[]): Finding[] {
  return ways
    .filter(({ steps }) => steps.some(({ rule }) => isAction(rule)))
    .flatMap(({ steps }) =>
      steps
        .filter(({ rule: { action, words } }) => action === 'strict-mode' && words[0] === 'off')
        .map(({ rule, proxy }) =>
          finding(
            'strict-mode-off',
            placeOf(rule.line, proxy.section),
            'continues requests whose headers HAProxy cannot write: identity headers of a cached allow, or a cookie that should be removed',
            'Remove it; the request then ends with 500.',
          ),
        ),
    )
}

function checkEscapes(way: Way, topology: Topology): Finding[] {
  const escapes = findEscapes(way)
  if (escapes.length === 0) return []
  const allow = escapes.flatMap(({ allows }) => allows)[0]
  if (allow && findEscapes(way, ({ action }) => action === 'allow').length < escapes.length) {
    return [earlyAllow(allow)]
  }
  const bare = checkBare(way, escapes)
  if (bare) return bare
  const failed = escapes.flatMap(({ failed }) => failed ?? [])
  const last = failed.findLast(({ rule }) => isEnforcing(rule))
  return last ? [guardFinding(way, last)] : checkObserved(way, failed.at(-1), topology)
}

function earlyAllow({ rule, proxy }: Step): Finding {
  return finding(
    'early-allow',
    placeOf(rule.line, proxy.section),
    'ends the rules of this section, so the action or its guard is never reached',
    'Write the exception at the action instead, http-request lua.entra-auth POLICY unless { path_beg /auth/ }, and at its guard.',
  )
}

/** Requests that no action sees; undefined where there are none. */
function checkBare(way: Way, escapes: readonly Escape[]): Finding[] | undefined {
  const bare = escapes.filter(({ failed }) => !failed)
  if (bare.length === 0) return undefined
  const actions = way.steps.filter(({ rule }) => isAction(rule))
  const last = actions.at(-1)
  if (!last) return undefined
  const rules = actions.map(({ rule }) => rule)
  // Written as an exception, by the paths that are public: a decision, and safe with plain paths.
  const byPath = bare.map(({ terms }) =>
    exceptionsOf(rules, terms).filter(({ tests }) => tests.every((test) => isPathTest(test, way))),
  )
  const place = placeOf(last.rule.line, last.proxy.section)
  if (byPath.every((terms) => terms.length > 0)) {
    const isExact = byPath.every((terms) =>
      terms.some(({ tests }) => tests.every((test) => isExactPath(test))),
    )
    if (escapes.length > bare.length) return undefined
    // What is public before a rewrite may be something else behind it.
    const isRewritten = way.steps.some(({ rule }) => rewrites(rule, 'path', ''))
    if (!isRewritten && (isExact || refusesAmbiguousPaths(way))) return []
    return [
      finding(
        'path-bypass',
        place,
        isRewritten
          ? 'leaves out paths that a rule turns into others'
          : 'leaves out paths that the application may read in another way',
        'Refuse before it what can be read in two ways, see docs/drift.md, or name whole paths; rewrite none.',
      ),
    ]
  }
  return [
    finding(
      'action-conditional',
      place,
      'runs only under a condition, and no guard stops the requests that do not meet it',
      `Add after it, without another condition: ${guardLine}`,
    ),
  ]
}

function guardFinding(way: Way, { rule, proxy }: Step): Finding {
  const at = way.steps.findIndex((step) => step.rule === rule && step.proxy === proxy)
  const place = placeOf(rule.line, proxy.section)
  const isGuard = (step: Step) =>
    (isRefusal(step.rule) || isRedirect(step.rule)) && looksAtVerdict(step.rule)
  const weak = way.steps.slice(at + 1).find(isGuard)
  if (weak) {
    return finding(
      'guard-weak',
      placeOf(weak.rule.line, weak.proxy.section),
      'does not refuse every request for which txn.entra.ok is not true',
      `Write exactly: ${guardLine}`,
    )
  }
  const early = way.steps.slice(0, at).some(isGuard)
  return finding(
    'guard-missing',
    place,
    `has no guard after it${early ? ' (one stands before it)' : ''}: when the action fails, HAProxy lets the request through`,
    `Add on the next line: ${guardLine}`,
  )
}

function checkObserved(way: Way, observe: Step | undefined, topology: Topology): Finding[] {
  if (!observe) return []
  const at = way.steps.findIndex(({ rule }) => rule === observe.rule)
  const isInEntry = observe.proxy === way.entry
  const routed = isInEntry ? topology.targetsOf(observe.proxy).flatMap(({ rules }) => rules) : []
  const later: readonly Pick<Rule, 'condition'>[] = [
    ...way.steps.slice(at + 1).map(({ rule }) => rule),
    ...(isInEntry ? observe.proxy.routes : []),
    ...routed,
  ]
  if (later.some(({ condition }) => testsOf(condition).some(isAllowedTest))) return []
  return [
    finding(
      'observe-unused',
      placeOf(observe.rule.line, observe.proxy.section),
      'only sets variables, and no rule after it looks whether txn.entra.ok is true',
      `Use lua.entra-auth, or add a rule of your own such as: ${guardLine}`,
    ),
  ]
}
