import { testsOf } from './condition.ts'
import { type Expression, expressionsIn, readExpression, variablesIn } from './expression.ts'
import type { Route, Rule } from './proxy.ts'

/** Longer chains of variables are not followed. */
const deepest = 8

/** Nor more expressions in all: each may have several sources. */
const mostSteps = 2_000

/**
 * The expressions behind an expression: where it reads a variable, those of the rules that set the
 * variable, with the converters of each step behind one another. A variable that no rule sets stays.
 */
export function sourcesOf(
  expression: Expression,
  rules: readonly Rule[],
  depth = 0,
  steps = { left: mostSteps },
): readonly Expression[] {
  steps.left -= 1
  if (depth > deepest || steps.left < 0) return [expression]
  const { fetch, argument, converters } = expression
  // The value of a variable goes through the converters that stand behind it.
  const throughVariable = (name: string, behind: number) =>
    assignmentsTo(name, rules).flatMap((source) =>
      sourcesOf(source, rules, depth + 1, steps).map((one) => ({
        ...one,
        converters: [...one.converters, ...converters.slice(behind)],
      })),
    )
  const own = fetch === 'var' ? throughVariable(argument.split(',')[0] ?? '', 0) : []
  const copied = copiesTo(expression, rules).flatMap((source) =>
    sourcesOf(source, rules, depth + 1, steps).map((one) => ({
      ...one,
      converters: [...one.converters, ...converters],
    })),
  )
  const appended = converters.flatMap((converter, index) =>
    variablesIn(converter).flatMap((name) => throughVariable(name, index + 1)),
  )
  return [...(own.length > 0 ? own : [expression]), ...appended, ...copied].slice(0, 64)
}

/** What rules write into the header, or keep in the capture, that an expression reads. */
function copiesTo({ fetch, argument }: Expression, rules: readonly Rule[]): Expression[] {
  if (fetch === 'capture.req.hdr') {
    return rules
      .filter(({ action }) => action === 'capture')
      .map(({ words }) => readExpression(words[0] ?? ''))
  }
  if (!/^req\.f?hdr$/.test(fetch)) return []
  const name = argument.toLowerCase().split(',')[0]
  return (
    rules
      .filter(({ action, words }) => writers.test(action) && words[0]?.toLowerCase() === name)
      .flatMap(({ words }) => expressionsIn(words[1] ?? '').map(readExpression))
      // A header that is written anew from itself says nothing new.
      .filter((source) => source.argument.toLowerCase().split(',')[0] !== name)
  )
}

const writers = /^(set|add)-header$/

function assignmentsTo(variable: string, rules: readonly Rule[]): Expression[] {
  return rules.flatMap((rule) => {
    const { action, words } = rule
    const [, kind, name] = /^set-var(-fmt)?\(([^,)]+)/.exec(action) ?? []
    if (name?.trim() !== variable) return assignmentsInside(variable, rule)
    const text = words[0] ?? ''
    if (kind === undefined) return [readExpression(text)]
    const expressions = expressionsIn(text)
    return expressions.length === 0
      ? [{ fetch: 'str', argument: text, converters: [] }]
      : expressions.map(readExpression)
  })
}

/** The converter set-var sets a variable in the middle of an expression, also in the one of an ACL. */
function assignmentsInside(variable: string, { words, condition }: Rule): Expression[] {
  const texts = [...words, ...testsOf(condition).map(([fetch = '']) => fetch)]
  return texts
    .filter((text) => text.includes(`set-var(${variable}`))
    .flatMap((text) => [text, ...expressionsIn(text)])
    .flatMap((text) => {
      const expression = readExpression(text)
      const at = expression.converters.findIndex(
        (one) => /^set-var\(([^,)]+)/.exec(one)?.[1]?.trim() === variable,
      )
      return at < 0 ? [] : [{ ...expression, converters: expression.converters.slice(0, at) }]
    })
}

/** Whether a computed value can only be one that the operator wrote: in a map, or in the rule. */
export function isFromList({ fetch, converters }: Expression): boolean {
  return (
    fetch === 'str' || fetch === 'be_name' || converters.some((one) => /^map(_\w+)?\(/.test(one))
  )
}

/** Whether a rule or the default of a map writes this name itself. */
export function isWritten(
  name: string,
  route: Pick<Route, 'target'>,
  rules: readonly Rule[],
): boolean {
  return expressionsIn(route.target).some((text) =>
    sourcesOf(readExpression(text), rules).some(
      ({ fetch, argument, converters }) =>
        (fetch === 'str' && argument === name) ||
        converters.some((one) => /^map(?:_\w+)?\([^,]*,([^)]*)\)$/.exec(one)?.[1]?.trim() === name),
    ),
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
