import { oneLine } from '../config/problems.ts'
import { plainPage, type Screen, wrap } from '../terminal.ts'
import type { Change, Check, Explanation, RuleReport, Said } from './explanation.ts'

const indent = 13
const states = { passed: 'passed', failed: 'FAILED', not_reached: 'not reached' } as const

/** An explanation for people, as wide as the screen, with nothing of the token that a terminal would obey. */
export function formatExplanation(explanation: Explanation, screen: Screen = plainPage): string {
  const { policy, verdict, reason, status, reportOnlyUntil } = explanation
  const result = [verdict, status, reason ?? ''].join(' ').trim()
  const style = verdict === 'allow' ? 'good' : 'bad'
  const lines = [`policy ${oneLine(policy)}: ${screen.paint(style, result)}`]
  if (reportOnlyUntil && reason) {
    const text = `until ${reportOnlyUntil} only reported: /verify answers 200 without an identity`
    lines.push(...wrap('', text, 0, 0, { screen }))
  }
  lines.push('')
  const reached = explanation.checks.filter(({ state }) => state !== 'not_reached')
  const subject = explanation.checks[0]?.step === 'session' ? 'session' : 'token'
  for (const check of reached) lines.push(...formatCheck(check, subject, screen))
  const rest = explanation.checks.filter(({ state }) => state === 'not_reached')
  if (rest.length > 0) {
    lines.push(...wrap('not reached', rest.map(({ title }) => title).join('; '), 0, 13, { screen }))
  }
  const changes = explanation.checks.flatMap((check) => check.changes)
  if (changes.length > 0) {
    const heading = screen.paint('heading', 'what to change')
    lines.push('', heading, ...changes.flatMap((one) => formatChange(one, screen)))
  }
  return `${lines.join('\n')}\n`
}

function formatCheck(
  { state, title, expected, said, rules = [] }: Check,
  subject: 'token' | 'session',
  screen: Screen,
): string[] {
  const style = state === 'failed' ? 'bad' : 'good'
  const shown = shorten(expected).join(', ')
  return [
    ...wrap(states[state], title, 0, indent, { screen, style }),
    ...(said.length > 0
      ? wrap(subject, said.map(formatSaid).join(', '), indent, 13, { screen })
      : []),
    ...(expected.length > 0 ? wrap('expected', shown, indent, 13, { screen }) : []),
    ...rules.flatMap((rule) => formatRule(rule, screen)),
  ]
}

function formatRule({ path, holds, conditions }: RuleReport, screen: Screen): string[] {
  return [
    ...wrap('rule', `${path} ${holds ? 'holds' : 'does not hold'}`, indent, 13, { screen }),
    ...conditions.flatMap((condition) => {
      const [mark, style] = condition.holds ? (['yes', 'good'] as const) : (['NO', 'bad'] as const)
      const said = condition.said.map(formatSaid).join(', ')
      const text = `${condition.name}: wants ${condition.expected}; ${said}`
      return wrap(mark, text, indent + 2, 11, { screen, style })
    }),
  ]
}

function formatChange({ where, text, rule }: Change, screen: Screen): string[] {
  const short = rule?.slice(rule.lastIndexOf('.') + 1)
  return wrap(where, short === undefined ? text : `for ${short}: ${text}`, 0, 15, { screen })
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
