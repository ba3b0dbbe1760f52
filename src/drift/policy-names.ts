import type { PolicyConfig } from '../config/config.ts'
import { quote } from '../config/problems.ts'
import { nearest } from '../nearest.ts'
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

/**
 * Backends with the action to which no frontend leads. Files without any frontend for clients are a part
 * of a configuration, and nothing is said about them.
 */
export function checkReached(
  { proxies, targetsOf, entriesOf }: Topology,
  isExempt: (proxy: ProxySection) => boolean,
): Finding[] {
  const hasEntry = proxies.some(
    (proxy) => proxy.kind !== 'backend' && !isExempt(proxy) && targetsOf(proxy).length > 0,
  )
  const hasFrontend = proxies.some(
    (proxy) => proxy.kind === 'frontend' && !isExempt(proxy) && !isService(proxy),
  )
  if (!hasEntry && !hasFrontend) return []
  return proxies
    .filter(
      (proxy) =>
        proxy.kind === 'backend' && proxy.rules.some(isAction) && entriesOf(proxy).length === 0,
    )
    .map((proxy) =>
      finding(
        'backend-unreached',
        proxy.place,
        'has the action, and no frontend leads to it',
        `Write use_backend ${proxy.name} if { req.hdr(host),host_only -m str -i HOST } in the frontend, or remove the backend.`,
      ),
    )
}

/** A frontend that answers by itself, such as the one with the action's numbers. */
function isService({ rules, routes }: ProxySection): boolean {
  return routes.length === 0 && rules.some(({ action }) => action.startsWith('use-service'))
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
        'is used by no section of HAProxy',
        `Use it with http-request lua.entra-auth ${name}, or remove it.`,
      ),
    )
  return [...unknown, ...unused]
}
