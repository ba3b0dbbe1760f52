import type { PolicyConfig } from '../config/config.ts'
import { conditionHolds } from './condition.ts'
import { isAction } from './effect.ts'
import { type Finding, finding } from './finding.ts'
import { policyOf } from './policy-names.ts'
import { headerRemover, placeOf, settingOf } from './proxy.ts'
import type { Way } from './way.ts'

/**
 * A request with `Authorization` is kept out of shared caches by HTTP itself (RFC 9111, section 3.5).
 * Where the token is removed, or a cookie stands in its place, HAProxy's cache stores one person's
 * answer for all.
 */
export function checkCaching(
  ways: readonly Way[],
  policies: readonly Pick<PolicyConfig, 'name' | 'allow'>[],
): Finding[] {
  const withSessions = new Set(
    policies.filter(({ allow }) => allow.some(({ session }) => session)).map(({ name }) => name),
  )
  return ways.flatMap((way) => {
    const { steps, entry, target, known } = way
    const actions = steps.filter(({ rule }) => isAction(rule))
    if (actions.length === 0) return []
    const removal = steps.find(
      ({ rule }) =>
        conditionHolds(rule.condition, known) !== false &&
        (headerRemover(rule)?.('authorization') ||
          (rule.action === 'set-header' && rule.words[0]?.toLowerCase() === 'authorization')),
    )
    const store = [entry, target]
      .flatMap((proxy) => (proxy ? [proxy] : []))
      .map((proxy) => ({ proxy, line: settingOf(proxy.section, 'http-response', 'cache-store') }))
      .find(({ line }) => line !== undefined)
    const use = steps.find(({ rule }) => rule.action === 'cache-use')
    if (!store && !use) return []
    const bySession = actions.find(({ rule, proxy }) =>
      withSessions.has(policyOf(rule, proxy) ?? ''),
    )
    if (!removal && bySession) {
      return [
        finding(
          'cache-shared',
          placeOf(bySession.rule.line, bySession.proxy.section),
          'takes sessions of browsers, which have no token, so that the cache of HAProxy stores the answer to one person and gives it to others',
          'Do not cache here, or take tokens only in the policy of this backend.',
        ),
      ]
    }
    if (!removal) return []
    return [
      finding(
        'cache-shared',
        placeOf(removal.rule.line, removal.proxy.section),
        "removes the token, so that HAProxy's cache stores the answer to one person and gives it to others",
        'Keep Authorization where answers are cached, or do not cache here.',
      ),
    ]
  })
}
