import { oneLine } from '../config/problems.ts'
import type { Change, Check, Explanation, RuleReport, Said } from './explanation.ts'

const width = 100
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

/** An explanation or report as JSON; what a terminal would obey is escaped inside the strings. */
export function formatJson(value: object): string {
  const json = JSON.stringify(value, undefined, 2)
  return `${json.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character === '\n' ? character : escapeForJson(character),
  )}\n`
}

function escapeForJson(character: string): string {
  const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i))
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')
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
  return wrap(where, rule === undefined ? text : `for ${rule}: ${text}`, 0, 15)
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

/** One labelled text in lines of at most 100 columns. */
function wrap(label: string, text: string, left: number, labelWidth = 13): string[] {
  const room = width - left - labelWidth
  const breaks = new RegExp(`.{1,${room}}`, 'gsu')
  const words = oneLine(text)
    .split(' ')
    // An address stays whole, to be copied; a claim that is one endless word does not.
    .flatMap((word) => (word.length > 120 ? (word.match(breaks) ?? []) : [word]))
  const rows: string[] = []
  let row = ''
  for (const word of words) {
    if (row !== '' && row.length + 1 + word.length > room) {
      rows.push(row)
      row = word
    } else row = row === '' ? word : `${row} ${word}`
  }
  rows.push(row)
  return rows.map((line, i) =>
    `${' '.repeat(left)}${(i === 0 ? label : '').padEnd(labelWidth)}${line}`.trimEnd(),
  )
}
