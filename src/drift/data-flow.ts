import { type Expression, expressionsIn, readExpression, variablesIn } from './expression.ts'
import type { Route, Rule } from './proxy.ts'

/** Longer chains of variables are not followed. */
const deepest = 8

/**
 * The expressions behind an expression: where it reads a variable, those of the rules that set the
 * variable, with the converters of each step behind one another. A variable that no rule sets stays.
 */
export function sourcesOf(
  expression: Expression,
  rules: readonly Rule[],
  depth = 0,
): readonly Expression[] {
  if (depth > deepest) return [expression]
  const { fetch, argument, converters } = expression
  // The value of a variable goes through the converters that stand behind it.
  const throughVariable = (name: string, behind: number) =>
    assignmentsTo(name, rules).flatMap((source) =>
      sourcesOf(source, rules, depth + 1).map((one) => ({
        ...one,
        converters: [...one.converters, ...converters.slice(behind)],
      })),
    )
  const own = fetch === 'var' ? throughVariable(argument.split(',')[0] ?? '', 0) : []
  const appended = converters.flatMap((converter, index) =>
    variablesIn(converter).flatMap((name) => throughVariable(name, index + 1)),
  )
  return [...(own.length > 0 ? own : [expression]), ...appended].slice(0, 64)
}

function assignmentsTo(variable: string, rules: readonly Rule[]): Expression[] {
  return rules.flatMap(({ action, words }) => {
    const [, kind, name] = /^set-var(-fmt)?\(([^,)]+)/.exec(action) ?? []
    if (name?.trim() !== variable) return []
    const text = words[0] ?? ''
    if (kind === undefined) return [readExpression(text)]
    const expressions = expressionsIn(text)
    return expressions.length === 0
      ? [{ fetch: 'str', argument: text, converters: [] }]
      : expressions.map(readExpression)
  })
}

/** Whether a computed value can only be one that the operator wrote: in a map, or in the rule. */
export function isFromList({ fetch, converters }: Expression): boolean {
  return (
    fetch === 'str' || fetch === 'be_name' || converters.some((one) => /^map(_\w+)?\(/.test(one))
  )
}

/**
 * Whether clients can choose a computed name freely: no map stands between them and it. A variable
 * that no rule sets is empty, unless a script may set it.
 */
export function isChosenByClient(route: Pick<Route, 'target'>, rules: readonly Rule[]): boolean {
  const isScripted = rules.some(({ action }) =>
    /^lua\.(?!entra-auth)|^send-spoe-group$/.test(action),
  )
  return expressionsIn(route.target).some((text) =>
    sourcesOf(readExpression(text), rules).some(
      (source) => !isFromList(source) && (isScripted || source.fetch !== 'var'),
    ),
  )
}
