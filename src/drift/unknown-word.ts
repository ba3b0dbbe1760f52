import { isRefusal } from './effect.ts'
import { type Finding, finding } from './finding.ts'
import type { Line } from './haproxy-file.ts'
import { type ProxySection, placeOf, type Rule, type Topology } from './proxy.ts'

/**
 * Finds rules of which a variable without a value in these files is a word that decides: the keyword, what
 * the rule does, or a part of its condition outside braces. Such a word may be `allow`, `unless` or `or`.
 */
export function checkUnknownWords({ proxies }: Topology): Finding[] {
  return proxies.flatMap((proxy) => {
    const { section, rules, tcpRules, place } = proxy
    const unknown = new Set([
      ...[...(section.defaults?.lines ?? []), ...section.lines].filter(hasUnknownStart),
      ...[...rules, ...tcpRules].filter(hasUnknownCondition).map(({ line }) => line),
      ...conditionsOfRoutes(proxy),
    ])
    return [...unknown].map((line) =>
      finding(
        'rule-unknown',
        section.lines.includes(line) ? placeOf(line, section) : place,
        `has a word that only the environment of HAProxy knows: ${line.unresolved.join(', ')}`,
        'Write the word itself, or give the variable a default.',
      ),
    )
  })
}

const rules =
  /^(http-request|http-response|http-after-response|tcp-request|tcp-response|option|no)$/

/** Whether the keyword is unknown, or what a rule does. */
function hasUnknownStart(line: Line): boolean {
  const [keyword = '', ...rest] = line.words
  if (isUnknown(keyword, line)) return true
  if (!rules.test(keyword)) return false
  const count = keyword.startsWith('tcp-') || keyword === 'no' ? 2 : 1
  return rest.slice(0, count).some((word) => isUnknown(word, line))
}

/** A whole word; inside of a value, a variable is only a part of what the value says. */
function isUnknown(word: string, { unresolved }: Line): boolean {
  return unresolved.some((name) => word === `$${name}`)
}

/** Words of a refusal that have a value behind them. */
const beforeValue = /^(deny_status|status|content-type|(lf-)?(string|file)|errorfiles?|hdr|code)$/

function hasUnknownCondition(rule: Rule): boolean {
  const { line, words } = rule
  if (line.unresolved.length === 0) return false
  const at = words.findIndex((word) => word === 'if' || word === 'unless')
  const plain = at >= 0 ? outsideBraces(words.slice(at + 1)) : isRefusal(rule) ? words : []
  return plain.some(
    (word, index) =>
      isUnknown(word, line) &&
      (at >= 0 || !(beforeValue.test(plain[index - 1] ?? '') || plain[index - 2] === 'hdr')),
  )
}

function conditionsOfRoutes({ routes }: ProxySection): Line[] {
  return routes
    .map(({ line }) => line)
    .filter((line) => outsideBraces(line.words.slice(2)).some((word) => isUnknown(word, line)))
}

function outsideBraces(words: readonly string[]): string[] {
  let isInside = false
  return words.filter((word) => {
    if (/^!*\{$/.test(word)) isInside = true
    const isOutside = !isInside
    if (word === '}') isInside = false
    return isOutside
  })
}
