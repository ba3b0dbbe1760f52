import { oneLine } from '../config/problems.ts'
import { wrap } from '../terminal.ts'
import type { Change, Check, Explanation, RuleReport, Said } from './explanation.ts'

const indent = 13
const states = { passed: 'passed', failed: 'FAILED', not_reached: 'not reached' } as const

/** An explanation for people, in at most 100 columns, with nothing that a terminal would obey. */
export function formatExplanation(explanation: Explanation): string {
  const { policy, verdict, reason, status, reportOnlyUntil } = explanation
  const lines = [`policy ${oneLine(policy)}: ${[verdict, status, reason ?? ''].join(' ').trim()}`]
  if (reportOnlyUntil && reason) {
    lines.push(`until ${reportOnlyUntil} only reported: /verify answers 200 without an identity`)
  }
  lines.push('')
  const reached = explanation.checks.filter(({ state }) => state !== 'not_reached')
  for (const check of reached) lines.push(...formatCheck(check))
  const rest = explanation.checks.filter(({ state }) => state === 'not_reached')
  if (rest.length > 0) {
    lines.push(...wrap('not reached', rest.map(({ title }) => title).join('; '), 0))
  }
  const changes = explanation.checks.flatMap((check) => check.changes)
  if (changes.length > 0) lines.push('', 'what to change', ...changes.flatMap(formatChange))
  return `${lines.join('\n')}\n`
}

function formatCheck({ state, title, expected, said, rules = [] }: Check): string[] {
  return [
    `${states[state].padEnd(indent)}${title}`,
    ...(said.length > 0 ? wrap('token', said.map(formatSaid).join(', '), indent) : []),
    ...(expected.length > 0 ? wrap('expected', shorten(expected).join(', '), indent) : []),
    ...rules.flatMap(formatRule),
  ]
}

function formatRule({ path, holds, conditions }: RuleReport): string[] {
  return [
    ...wrap('rule', `${path} ${holds ? 'holds' : 'does not hold'}`, indent),
    ...conditions.flatMap((condition) => {
      const mark = condition.holds ? 'yes' : 'NO'
      const said = condition.said.map(formatSaid).join(', ')
      const text = `${condition.name}: wants ${condition.expected}; ${said}`
      return wrap(`  ${mark}`, text, indent)
    }),
  ]
}

function formatChange({ where, text, rule }: Change): string[] {
  const short = rule?.slice(rule.lastIndexOf('.') + 1)
  return wrap(where, short === undefined ? text : `for ${short}: ${text}`, 0, 15)
}

function formatSaid(said: Said): string {
  const note = said.note === undefined ? '' : ` (${said.note})`
  return `${said.claim} ${Object.hasOwn(said, 'value') ? `= ${formatValue(said.value)}` : 'is absent'}${note}`
}

function formatValue(value: unknown): string {
  if (Array.isArray(value)) {
    const items = value.map((item) => (typeof item === 'string' ? item : JSON.stringify(item)))
    return `[${shorten(items).join(', ')}]`
  }
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 300 ? `${text.slice(0, 297)}...` : text
}

/** The first items of a list, and how many more there are. */
function shorten(items: readonly string[]): string[] {
  const shown = items
    .slice(0, 10)
    .map((item) => (item.length > 300 ? `${item.slice(0, 297)}...` : item))
  return items.length > 10 ? [...shown, `and ${items.length - 10} more`] : shown
}
