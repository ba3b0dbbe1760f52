import { alternativesOf, areExclusive, conditionHolds, type Known, type Term } from './condition.ts'
import { endsRequest, isAction, isRefusal, rewrites } from './effect.ts'
import { readTest } from './expression.ts'
import { type ProxySection, type Route, type Rule, routesTo, type Topology } from './proxy.ts'

/** A rule on the way of a request, and the section in which it stands. */
export interface Step {
  readonly rule: Rule
  readonly proxy: ProxySection
}

/** One way of requests to the servers of a section. */
export interface Way {
  /** The section in which requests come in; undefined where no section routes to the target. */
  readonly entry: ProxySection | undefined
  readonly target: ProxySection
  readonly route: Route | undefined
  /** Every rule that may fire, in the order in which HAProxy evaluates them. */
  readonly steps: readonly Step[]
  /** What holds for requests on this way, by the conditions of the routes. */
  readonly known: Known
}

/** Each way to a section with servers, or with a route that leads to it. */
export function readWays(topology: Topology): Way[] {
  return topology.proxies.flatMap((target) => [
    ...throughRoutes(topology, target),
    ...withoutRoute(topology, target),
  ])
}

function throughRoutes({ proxies }: Topology, target: ProxySection): Way[] {
  if (target.kind === 'frontend') return []
  return proxies
    .filter((entry) => entry !== target && entry.kind !== 'backend')
    .flatMap((entry) =>
      routesTo(entry, target).flatMap((route) => {
        const earlier = earlierFacts(entry, route)
        if (earlier === undefined) return []
        const alternatives = alternativesOf(route.condition) ?? [[]]
        return alternatives
          .map((terms) => wayTo(target, entry, route, [...terms, ...earlier]))
          .filter((way) => isConsistent(way.known.facts) && !isDead(way))
      }),
    )
}

/** A listen section's own servers get what no route takes; of an unused backend nothing is known. */
function withoutRoute(topology: Topology, target: ProxySection): Way[] {
  if (target.kind === 'frontend') return []
  const isOrphan = target.kind === 'backend' && topology.entriesOf(target).length === 0
  const isOwnEntry = target.kind === 'listen' && target.servers.length > 0
  if (!isOrphan && !isOwnEntry) return []
  const facts = isOwnEntry ? (earlierFacts(target, undefined) ?? []) : []
  const way = wayTo(target, undefined, undefined, facts)
  return isDead(way) ? [] : [way]
}

function wayTo(
  target: ProxySection,
  entry: ProxySection | undefined,
  route: Route | undefined,
  routed: readonly Term[],
): Way {
  const first = entry ?? target
  const facts = entry ? routed.filter((fact) => !isRewritten(fact, entry)) : routed
  const isTls = first.kind === 'backend' ? undefined : first.isTls
  const all = [...stepsOf(entry), ...stepsOf(target)]
  const request = isTls === undefined ? {} : { isTls }
  const known = { facts, request, hasOneHost: all.some(({ rule }) => refusesSeveralHosts(rule)) }
  const steps = all.filter(({ rule }) => conditionHolds(rule.condition, known) !== false)
  return { entry, target, route, known, steps: withoutAccepted(steps) }
}

function refusesSeveralHosts(rule: Rule): boolean {
  const request = { headers: { host: ['a.example,b.example'] } }
  return isRefusal(rule) && conditionHolds(rule.condition, { facts: [], request }) === true
}

/** Behind a `tcp-request content accept` no rule of that kind surely ends a request of this section. */
function withoutAccepted(steps: readonly Step[]): Step[] {
  const accepting = new Set<ProxySection>()
  return steps.filter(({ rule, proxy }) => {
    if (rule.keyword !== 'tcp-request') return true
    if (rule.action === 'accept') accepting.add(proxy)
    return !(accepting.has(proxy) && endsRequest(rule))
  })
}

/** Whether rules behind the action change what the condition of a route reads: then it says nothing of them. */
function isRewritten({ tests }: Term, { rules }: ProxySection): boolean {
  const first = rules.findIndex(isAction)
  if (first < 0) return false
  const later = rules.slice(first)
  return tests.some((test) => {
    const { fetch, argument } = readTest(test).expression
    return later.some((rule) => rewrites(rule, fetch, argument))
  })
}

function stepsOf(proxy: ProxySection | undefined): Step[] {
  if (!proxy) return []
  const rules = proxy.mode === 'http' ? [...proxy.tcpRules, ...proxy.rules] : proxy.tcpRules
  return rules.map((rule) => ({ rule, proxy }))
}

/** What the routes before this one say; undefined where they leave nothing for it. */
function earlierFacts(entry: ProxySection, route: Route | undefined): Term[] | undefined {
  const facts: Term[] = []
  for (const earlier of entry.routes) {
    if (earlier === route) return facts
    // A computed name may be that of no section, and the next route is tried.
    if (earlier.dynamic) continue
    if (!earlier.condition) return undefined
    const { keyword, groups } = earlier.condition
    if (keyword === 'unless') {
      if (groups.length === 1) facts.push(...(groups[0] ?? []))
      continue
    }
    for (const group of groups) {
      const [term, ...more] = group
      if (term && more.length === 0) facts.push({ ...term, negated: !term.negated })
    }
  }
  return facts
}

function isConsistent(facts: readonly Term[]): boolean {
  return !facts.some((a, index) => facts.slice(index + 1).some((b) => areExclusive(a, b)))
}

/** Every request on it is answered by a rule of the entry, such as a redirect to https. */
function isDead({ steps, entry, known }: Way): boolean {
  for (const { rule, proxy } of steps) {
    if (proxy !== entry) return false
    // The rules of this section end here for some requests.
    if (rule.action === 'allow') return false
    if (endsRequest(rule) && conditionHolds(rule.condition, known) === true) return true
  }
  return false
}
