import { conditionHolds, testsOf } from './condition.ts'
import { sourcesOf } from './data-flow.ts'
import { isAction, isEnforcing } from './effect.ts'
import { type Expression, expressionsIn, readExpression } from './expression.ts'
import { type Finding, finding } from './finding.ts'
import { policyOf } from './policy-names.ts'
import { placeOf, type Route, type Rule } from './proxy.ts'
import type { Way } from './way.ts'

/**
 * Finds policies that are chosen by one reading of a request while the route uses another. With
 * `Host: stock.example.com:80:80`, `host_only` and `field(1,:)` give two different hosts. The
 * request then reaches one application under the policy of another.
 */
export function checkPolicyChoice(ways: readonly Way[]): Finding[] {
  return ways.flatMap((way) => {
    const { entry, steps } = way
    const rules = steps.map(({ rule }) => rule)
    const routes = entry?.routes ?? []
    const routed = routes.flatMap((route) => routeSources(route, rules)).filter(isChosen)
    const possible = steps.filter(
      ({ rule }) => isAction(rule) && conditionHolds(rule.condition, way.known) !== false,
    )
    const policies = new Set(possible.map(({ rule, proxy }) => policyOf(rule, proxy)))
    if (policies.size < 2 || possible.some(({ rule }) => isSure(rule, way))) return []
    return possible.flatMap(({ rule, proxy }) => {
      const chosen = conditionSources(rule, rules).filter(isChosen)
      if (chosen.length === 0) return []
      const byHost = chosen.every(isHost)
      if (byHost && !routed.some(saysHost)) return []
      const isSame = chosen.every((source) => routed.some((other) => readsAlike(source, other)))
      const isComputed = routes.some(({ dynamic }) => dynamic)
      // Beside the action, or with the routes computed, the same expression is the same host. Where
      // routes have conditions, the route of this way has left two policies possible.
      if (isSame && (isComputed || proxy !== entry)) return []
      return [
        finding(
          'policy-mismatch',
          placeOf(rule.line, proxy.section),
          `chooses the policy by ${byHost ? 'another reading of the host' : 'what the client sends'} than the routes, so a request can reach ${way.target.name} under more than one policy`,
          'Use the condition of the route itself (one named acl for both), or put the action into the backend.',
        ),
      ]
    })
  })
}

/** Whether every request on this way has to satisfy this policy, whichever others it meets besides. */
function isSure(rule: Rule, { known }: Way): boolean {
  return (
    isEnforcing(rule) &&
    rule.condition !== undefined &&
    conditionHolds(rule.condition, known) === true
  )
}

function conditionSources({ condition }: Pick<Rule, 'condition'>, rules: readonly Rule[]) {
  return testsOf(condition).flatMap(([text = '']) => sourcesOf(base(text), rules))
}

function routeSources(route: Route, rules: readonly Rule[]): Expression[] {
  return [
    ...conditionSources(route, rules),
    ...expressionsIn(route.target).flatMap((text) => sourcesOf(readExpression(text), rules)),
  ]
}

/** `hdr_beg(host)` reads what `hdr(host)` does. */
function base(text: string): Expression {
  const expression = readExpression(text)
  const fetch = expression.fetch.replace(/_(beg|dir|dom|end|len|reg|sub)$/, '')
  return { ...expression, fetch: fetch === 'hdr' ? 'req.hdr' : fetch }
}

const chosenByClient =
  /^(req\.f?hdr(_ip|_cnt)?|req\.cook(_cnt)?|cook|urlp|query|base|ssl_fc_sni|req\.ssl_sni|req_ssl_sni)$/

/** Whether a client says this freely, and not by the path or method of its request. */
function isChosen({ fetch }: Expression): boolean {
  return chosenByClient.test(fetch)
}

function isHost({ fetch, argument }: Expression): boolean {
  if (fetch === 'base' || /sni$/.test(fetch)) return true
  return fetch.startsWith('req.') && /^host(,|$)/i.test(argument)
}

/** A host, also the one that a proxy in front, or a client, says there was. */
function saysHost(source: Expression): boolean {
  const isSaid = /^(forwarded|x-.*(host|server|authority))(,|$)/i.test(source.argument)
  return isHost(source) || (source.fetch.startsWith('req.') && isSaid)
}

/** Whether one expression is the beginning of the other, up to a look-up. */
function readsAlike(policy: Expression, route: Expression): boolean {
  if (
    policy.fetch !== route.fetch ||
    policy.argument.toLowerCase() !== route.argument.toLowerCase()
  ) {
    return false
  }
  const own = reading(policy)
  const other = reading(route)
  return own.length === other.length && own.every((converter, index) => converter === other[index])
}

function reading({ converters }: Expression): string[] {
  const end = converters.findIndex((one) => /^(map(_\w+)?|concat|regsub)\(/.test(one))
  const read = end < 0 ? converters : converters.slice(0, end)
  return read.filter((one) => !/^(lower|upper)(\(\))?$/.test(one))
}
