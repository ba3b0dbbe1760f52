import type { PolicyConfig } from '../config/config.ts'
import { nearest } from '../config/nearest.ts'
import { quote } from '../config/problems.ts'
import { isAction } from './effect.ts'
import { type Finding, finding } from './finding.ts'
import { type ProxySection, placeOf, type Rule, type Topology } from './proxy.ts'

/** The policy that a rule with the action asks for; undefined where only HAProxy's environment knows. */
export function policyOf(rule: Rule, proxy: ProxySection): string | undefined {
  if (rule.action === 'lua.entra-auth-backend') return proxy.name
  return rule.line.unresolved.length > 0 ? undefined : (rule.words[0] ?? '')
}

/** The policies of a proxy, and of the frontends in front of it, as one comparable text. */
export function policiesOf(proxy: ProxySection): string {
  const names = proxy.rules.filter(isAction).map((rule) => policyOf(rule, proxy) ?? '?')
  return [...new Set(names)].toSorted().join(' ')
}

/** Policies that HAProxy names and the configuration lacks, and the other way round. */
export function checkPolicyNames(topology: Topology, policies: readonly PolicyConfig[]): Finding[] {
  const names = policies.map(({ name }) => name)
  const uses = topology.proxies.flatMap((proxy) =>
    proxy.rules.filter(isAction).map((rule) => ({ rule, proxy, policy: policyOf(rule, proxy) })),
  )
  const unknown = uses.flatMap(({ rule, proxy, policy }) => {
    if (policy !== undefined && names.includes(policy)) return []
    const near = policy === undefined ? undefined : nearest(policy, names)
    return [
      finding(
        'policy-unknown',
        placeOf(rule.line, proxy.section),
        policy === undefined
          ? `takes its policy from ${rule.line.unresolved.join(', ')}, which has no value in these files`
          : `asks for the policy ${quote(policy)}${rule.action === 'lua.entra-auth-backend' ? ' (the name of the section)' : ''}, which is not configured`,
        near === undefined
          ? `Configured: ${names.join(', ')}.`
          : `Did you mean ${quote(near)}? Letter case counts.`,
      ),
    ]
  })
  const used = new Set(uses.map(({ policy }) => policy))
  const unused = names
    .filter((name) => !used.has(name))
    .map((name) =>
      finding(
        'policy-unused',
        { policy: name },
        'is asked for by no section of HAProxy',
        `Use it with http-request lua.entra-auth ${name}, or remove it.`,
      ),
    )
  return [...unknown, ...unused]
}
