import type { IdentityHeaderSet } from '../config/config.ts'
import { managedHeaders, spellingsOf, stripPatterns } from '../haproxy/strip.ts'
import { testsOf } from './condition.ts'
import { type Finding, type FindingCode, finding, type Place } from './finding.ts'
import { firstAction, isAction, isCovered, isRefusal } from './protection.ts'
import { headerRemover, placeOf, type Rule, type Topology } from './proxy.ts'

interface Gap {
  readonly code: FindingCode
  readonly message: string
  readonly hint: string
}

/**
 * What must be gone from a request before the action sets identity headers. The rules may stand in
 * front of the action itself or in the frontend; each way in is looked at by itself.
 */
export function checkStripping(topology: Topology, set: IdentityHeaderSet): Finding[] {
  const protectedProxies = topology.proxies.filter((proxy) => firstAction(proxy) >= 0)
  const found = new Map<string, Finding>()
  for (const proxy of protectedProxies) {
    const own = beforeAllow(proxy.rules.slice(0, firstAction(proxy)))
    const entries = topology.entriesOf(proxy)
    const ways = entries.length > 0 ? entries : [undefined]
    for (const entry of ways) {
      const rules = entry ? [...beforeAllow(entry.rules), ...own] : own
      for (const gap of gapsOf(rules, set)) {
        const place: Place = (entry ?? proxy).place
        const key = `${gap.code} ${JSON.stringify(place)}`
        if (!found.has(key)) found.set(key, finding(gap.code, place, gap.message, gap.hint))
      }
    }
  }
  return [...found.values(), ...checkLateStripping(topology, set)]
}

/** After `allow`, even a conditional one, no rule of the section is sure to be evaluated. */
function beforeAllow(rules: readonly Rule[]): readonly Rule[] {
  const end = rules.findIndex(({ action }) => action === 'allow')
  return end < 0 ? rules : rules.slice(0, end)
}

function gapsOf(rules: readonly Rule[], set: IdentityHeaderSet): Gap[] {
  return [...unstripped(rules, set), ...upgradeGap(rules), ...connectionGap(rules)]
}

function unstripped(rules: readonly Rule[], set: IdentityHeaderSet): Gap[] {
  const removers = rules
    .filter(({ condition }) => !condition)
    .flatMap((rule) => headerRemover(rule) ?? [])
  const open = managedHeaders(set).flatMap((name) => {
    const spelling = spellingsOf(name).find((one) => !removers.some((removes) => removes(one)))
    return spelling === undefined ? [] : [spelling]
  })
  if (open.length === 0) return []
  const shown =
    open.slice(0, 3).join(', ') + (open.length > 3 ? `, and ${open.length - 3} more` : '')
  const lines = stripPatterns(set).map((pattern) => `http-request del-header ${pattern} -m reg`)
  return [
    {
      code: 'strip-missing',
      message: `passes identity headers of the client on: ${shown}`,
      hint: `Add before the action, without a condition: ${lines.join(' and ')}`,
    },
  ]
}

function mentions(rule: Rule, header: string): boolean {
  return testsOf(rule.condition).some(([fetch = '']) =>
    new RegExp(`^(req\\.)?f?hdr(_cnt)?\\(${header}\\)`, 'i').test(fetch),
  )
}

function upgradeGap(rules: readonly Rule[]): Gap[] {
  const safe = rules.some((rule) => {
    if (isRefusal(rule)) return mentions(rule, 'upgrade')
    if (!headerRemover(rule)?.('upgrade')) return false
    const { condition } = rule
    // Each way to keep the header must look for websocket and nothing else.
    return (
      !condition ||
      (condition.keyword === 'unless' &&
        condition.groups.every((group) =>
          group.some(
            ({ negated, tests }) =>
              !negated && tests.every((test) => test.some((word) => /^websocket$/i.test(word))),
          ),
        ))
    )
  })
  if (safe) return []
  return [
    {
      code: 'upgrade-unprotected',
      message:
        'passes the Upgrade header of the client on: an h2c upgrade opens a tunnel past all rules',
      hint: 'Add: http-request del-header upgrade unless { req.fhdr_cnt(upgrade) eq 1 } { req.fhdr(upgrade) -m str -i websocket }',
    },
  ]
}

function connectionGap(rules: readonly Rule[]): Gap[] {
  const writes = (rule: Rule) =>
    rule.action === 'set-header' && rule.words[0]?.toLowerCase() === 'connection'
  const safe = rules.some((rule) => {
    if (isRefusal(rule)) return mentions(rule, 'connection')
    if (!headerRemover(rule)?.('connection') && !writes(rule)) return false
    if (!rule.condition) return true
    const { keyword, text } = rule.condition
    // Removed where a test fails and overwritten where it holds: one of the two always happens.
    return rules.some(
      (other) =>
        writes(other) &&
        keyword === 'unless' &&
        other.condition?.keyword === 'if' &&
        other.condition.text === text,
    )
  })
  if (safe) return []
  return [
    {
      code: 'connection-unprotected',
      message:
        'passes the Connection header of the client on: "Connection: X-Auth-Request-User" makes the next server drop that header',
      hint: 'Add: http-request del-header connection, and for WebSocket: http-request set-header connection upgrade if { req.fhdr(upgrade) -m found }',
    },
  ]
}

/** Removes what the action has just set: the application then sees nobody. */
function checkLateStripping(topology: Topology, set: IdentityHeaderSet): Finding[] {
  const names = managedHeaders(set)
    .map((name) => name.toLowerCase())
    .filter((name) => !name.startsWith('x-entra-auth-'))
  return topology.proxies.flatMap((proxy) => {
    const last = proxy.rules.findLastIndex(isAction)
    if (last < 0 && (proxy.kind === 'frontend' || !isCovered(proxy, topology))) return []
    return proxy.rules.slice(last + 1).flatMap((rule) => {
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
  })
}
