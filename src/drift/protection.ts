import { type Condition, firesUnless, testsOf } from './condition.ts'
import { type Finding, finding } from './finding.ts'
import { type ProxySection, placeOf, type Rule, type Topology } from './proxy.ts'

const guardLine = 'http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }'

/** The action, in the form that refuses by itself. */
export function isEnforcing({ action }: Rule): boolean {
  return action === 'lua.entra-auth' || action === 'lua.entra-auth-backend'
}

/** The action in any form. */
export function isAction(rule: Rule): boolean {
  return isEnforcing(rule) || rule.action === 'lua.entra-auth-observe'
}

/** The first rule of a proxy that asks the verifier, in any form. */
export function firstAction(proxy: ProxySection): number {
  return proxy.rules.findIndex(isAction)
}

/** Whether a request has met the action before the servers of this proxy. */
export function isCovered(proxy: ProxySection, topology: Topology): boolean {
  if (firstAction(proxy) >= 0) return true
  const entries = topology.entriesOf(proxy)
  return entries.length > 0 && entries.every((entry) => firstAction(entry) >= 0)
}

/** Rules around the action: that it is there, that nothing gets past it, that a guard follows. */
export function checkProtection(
  topology: Topology,
  isExempt: (proxy: ProxySection) => boolean,
): Finding[] {
  return topology.proxies.flatMap((proxy) => {
    if (isPlainTcp(proxy, topology)) return []
    const findings = checkMode(proxy, topology)
    if (isExempt(proxy)) return findings
    if (firstAction(proxy) < 0) {
      return findings.length > 0 ? findings : checkActionPresent(proxy, topology)
    }
    return [
      ...findings,
      ...checkGuard(proxy),
      ...checkEarlyEnd(proxy),
      ...checkObserved(proxy, topology),
    ]
  })
}

/** A section that says `mode tcp` itself and has nothing to do with HTTP: another service. */
function isPlainTcp(proxy: ProxySection, topology: Topology): boolean {
  return proxy.mode !== 'http' && proxy.ownMode && !hasHttpSide(proxy, topology)
}

function hasHttpSide(proxy: ProxySection, topology: Topology): boolean {
  const neighbours = [...topology.targetsOf(proxy), ...topology.entriesOf(proxy)]
  return proxy.rules.length > 0 || neighbours.some(({ rules }) => rules.some(isAction))
}

function checkMode(proxy: ProxySection, topology: Topology): Finding[] {
  if (proxy.mode === 'http') return []
  if (!hasHttpSide(proxy, topology) && proxy.servers.length === 0) return []
  return [
    finding(
      'mode-not-http',
      proxy.place,
      `is in mode ${proxy.mode}, where HAProxy ignores every http-request rule`,
      'Write mode http in it, or in its defaults; for another service write mode tcp in the section itself.',
    ),
  ]
}

function checkActionPresent(proxy: ProxySection, topology: Topology): Finding[] {
  if (proxy.servers.length === 0 || isCovered(proxy, topology)) return []
  const open = topology.entriesOf(proxy).filter((entry) => firstAction(entry) < 0)
  const through = open.length > 0 ? `, from ${open.map(({ name }) => name).join(', ')}` : ''
  return [
    finding(
      'action-missing',
      proxy.place,
      `has servers that requests reach without the action${through}`,
      'Add http-request lua.entra-auth POLICY and the guard; for a public application write "# drift: ignore action-missing" in the section.',
    ),
  ]
}

const refusals = new Set(['deny', 'tarpit', 'reject', 'silent-drop'])

/** Whether a rule ends the request with a refusal. */
export function isRefusal({ action, words }: Rule): boolean {
  if (refusals.has(action)) return true
  const status = action === 'return' ? words[words.indexOf('status') + 1] : undefined
  return /^[45]\d\d$/.test(status ?? '')
}

/** A test that holds only after an allow; `-m found` also holds after a refusal. */
function isAllowed(test: readonly string[]): boolean {
  const [fetch = '', ...flags] = test
  return (
    /^var\(txn\.(entra\.ok|auth_response_successful)\)(,bool)?$/.test(fetch) &&
    flags[0] === '-m' &&
    flags[1] === 'bool' &&
    flags.slice(2).every((word) => word === 'true' || word === '1')
  )
}

function looksAtVerdict(condition: Condition | undefined): boolean {
  return testsOf(condition).some(([fetch]) =>
    /var\(txn\.(entra\.|auth_response_)/.test(fetch ?? ''),
  )
}

function guardIndex({ rules }: ProxySection): number {
  const last = rules.findLastIndex(isAction)
  return rules.findIndex(
    (rule, index) => index > last && isRefusal(rule) && firesUnless(rule.condition, isAllowed),
  )
}

function checkGuard(proxy: ProxySection): Finding[] {
  const { rules, section } = proxy
  const enforcing = rules.filter(isEnforcing)
  const last = enforcing.at(-1)
  if (!last || guardIndex(proxy) >= 0) return []
  const place = placeOf(last.line, section)
  if (enforcing.every(({ condition }) => condition)) {
    return [
      finding(
        'action-conditional',
        place,
        'runs only under a condition, and no guard stops the requests that do not meet it',
        `Add after it, without another condition: ${guardLine}`,
      ),
    ]
  }
  const weak = rules
    .slice(rules.indexOf(last) + 1)
    .find((rule) => isRefusal(rule) && looksAtVerdict(rule.condition))
  if (weak) {
    return [
      finding(
        'guard-weak',
        placeOf(weak.line, section),
        'does not refuse every request for which txn.entra.ok is not true',
        `Write exactly: ${guardLine}`,
      ),
    ]
  }
  const early = rules
    .slice(0, rules.indexOf(last))
    .some(({ condition }) => looksAtVerdict(condition))
  return [
    finding(
      'guard-missing',
      place,
      `has no guard after it${early ? ' (one stands before it)' : ''}: when the action fails, HAProxy lets the request through`,
      `Add on the next line: ${guardLine}`,
    ),
  ]
}

const answers = new Set(['return', 'redirect', 'use-service', 'cache-use'])

function checkEarlyEnd(proxy: ProxySection): Finding[] {
  const { rules, section } = proxy
  const action = firstAction(proxy)
  const guard = guardIndex(proxy)
  const end = guard < 0 ? rules.findLastIndex(isAction) : guard
  return rules.slice(0, end).flatMap((rule, index) => {
    const place = placeOf(rule.line, section)
    if (rule.action === 'allow') {
      return [
        finding(
          'early-allow',
          place,
          'ends the rules of this section, so the action or its guard is never reached',
          'Remove it, or move it behind the guard.',
        ),
      ]
    }
    const answering = answers.has(rule.action) && !isRefusal(rule)
    // In a frontend, before the routing, redirects to https and the like reach no application.
    if (index >= action || !answering || proxy.kind === 'frontend') return []
    return [
      finding(
        'early-answer',
        place,
        `answers with http-request ${rule.action} before the action has verified the request`,
        'Move it behind the guard, or into the frontend if everybody may have this answer.',
      ),
    ]
  })
}

function checkObserved(proxy: ProxySection, topology: Topology): Finding[] {
  const { rules, section } = proxy
  const at = rules.findLastIndex(({ action }) => action === 'lua.entra-auth-observe')
  const observe = rules[at]
  if (!observe || guardIndex(proxy) >= 0) return []
  const later = [
    ...rules.slice(at + 1),
    ...proxy.routes,
    ...topology.targetsOf(proxy).flatMap((target) => target.rules),
  ]
  const decides = later.some(({ condition }) => testsOf(condition).some(isAllowed))
  if (decides) return []
  return [
    finding(
      'observe-unused',
      placeOf(observe.line, section),
      'only sets variables, and no rule after it looks whether txn.entra.ok is true',
      `Use lua.entra-auth, or add a rule of your own such as: ${guardLine}`,
    ),
  ]
}
