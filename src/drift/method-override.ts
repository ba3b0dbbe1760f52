import { testsOf } from './condition.ts'
import { sourcesOf } from './data-flow.ts'
import { isAction } from './effect.ts'
import { readExpression } from './expression.ts'
import { type Finding, finding } from './finding.ts'
import { policyOf } from './policy-names.ts'
import { placeOf } from './proxy.ts'
import { surelyMet, unremoved } from './stripping.ts'
import type { Way } from './way.ts'

/** Headers that frameworks take the method of a request from. */
const overrides = ['x-http-method-override', 'x-http-method', 'x-method-override']

/**
 * Policies chosen by method: with `X-HTTP-Method-Override: DELETE` on a POST or GET, many frameworks do
 * what another policy protects.
 */
export function checkMethodOverride(ways: readonly Way[]): Finding[] {
  return ways.flatMap((way) => {
    const { entry, route, steps } = way
    const own = policiesOn(way)
    const ofEntry = ways.filter((other) => other.entry === entry).flatMap(policiesOn)
    const chosen = steps.find(({ rule }) => isAction(rule) && readsMethod(rule.condition, way))
    const isChosen = chosen !== undefined && new Set(own).size > 1
    const isRouted = readsMethod(route?.condition, way) && new Set(ofEntry).size > 1
    if (own.length === 0 || !(isChosen || isRouted)) return []
    const open = unremoved(way, surelyMet(way, steps), overrides)
    if (open.length === 0) return []
    const place =
      isRouted && route && entry
        ? placeOf(route.line, entry.section)
        : placeOf(
            chosen?.rule.line ?? way.target.section.head,
            chosen?.proxy.section ?? way.target.section,
          )
    return [
      finding(
        'method-override',
        place,
        `chooses the policy by method, and passes on what many frameworks take another method from: ${open[0]}`,
        'Add to the frontend: http-request del-header ^x[^a-z0-9](http[^a-z0-9])?method -m reg',
      ),
    ]
  })
}

function policiesOn({ steps }: Way): string[] {
  return steps.flatMap(({ rule, proxy }) => (isAction(rule) ? (policyOf(rule, proxy) ?? []) : []))
}

function readsMethod(condition: Parameters<typeof testsOf>[0], { steps }: Way): boolean {
  const rules = steps.map(({ rule }) => rule)
  return testsOf(condition).some(([text = '']) =>
    sourcesOf(readExpression(text), rules).some(({ fetch }) => fetch === 'method'),
  )
}
