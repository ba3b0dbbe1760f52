import { conditionHolds } from './condition.ts'
import { isAction } from './effect.ts'
import { type Finding, finding } from './finding.ts'
import { headerRemover, placeOf, settingOf } from './proxy.ts'
import type { Way } from './way.ts'

/**
 * A request with `Authorization` is kept out of shared caches by HTTP itself (RFC 9111, section 3.5).
 * Where the token is removed, HAProxy's cache stores one person's answer for all.
 */
export function checkCaching(ways: readonly Way[]): Finding[] {
  return ways.flatMap((way) => {
    const { steps, entry, target, known } = way
    if (!steps.some(({ rule }) => isAction(rule))) return []
    const removal = steps.find(
      ({ rule }) =>
        conditionHolds(rule.condition, known) !== false &&
        (headerRemover(rule)?.('authorization') ||
          (rule.action === 'set-header' && rule.words[0]?.toLowerCase() === 'authorization')),
    )
    const caches = [entry, target].some(
      (proxy) => proxy && settingOf(proxy.section, 'http-response', 'cache-store'),
    )
    const uses = steps.some(({ rule }) => rule.action === 'cache-use')
    if (!removal || !(caches || uses)) return []
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
