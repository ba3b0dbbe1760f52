import { type Expression, expressionsIn, readExpression, variablesIn } from './expression.ts'
import type { Rule } from './proxy.ts'

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
  const [own, ...appended] =
    expression.fetch === 'var' ? variablesIn(expression) : ['', ...variablesIn(expression)]
  const assigned = own ? assignmentsTo(own, rules) : []
  const heads =
    assigned.length === 0
      ? [expression]
      : assigned.flatMap((source) =>
          sourcesOf(source, rules, depth + 1).map((one) => ({
            ...one,
            converters: [...one.converters, ...expression.converters],
          })),
        )
  const others = appended
    .flatMap((name) => assignmentsTo(name, rules))
    .flatMap((source) => sourcesOf(source, rules, depth + 1))
  return [...heads, ...others].slice(0, 64)
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
