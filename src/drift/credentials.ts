import type { PolicyConfig } from '../config/config.ts'
import { conditionHolds } from './condition.ts'
import { isFromList, sourcesOf } from './data-flow.ts'
import { isAction } from './effect.ts'
import { expressionsIn, readExpression } from './expression.ts'
import { type Finding, finding } from './finding.ts'
import { policyOf } from './policy-names.ts'
import { placeOf, type Rule } from './proxy.ts'
import type { Way } from './way.ts'

/**
 * Finds rules in front of the action that present a token or a session of the configuration: whoever
 * comes is then that person. A token that the client sends elsewhere, as in a parameter, is the client's.
 */
export function checkCredentials(
  ways: readonly Way[],
  policies: readonly Pick<PolicyConfig, 'name' | 'allow'>[],
): Finding[] {
  const withSessions = new Set(
    policies.filter(({ allow }) => allow.some(({ session }) => session)).map(({ name }) => name),
  )
  return ways.flatMap((way) => {
    const at = way.steps.findLastIndex(({ rule }) => isAction(rule))
    const takesSessions = way.steps.some(
      ({ rule, proxy }) => isAction(rule) && withSessions.has(policyOf(rule, proxy) ?? ''),
    )
    return way.steps.slice(0, Math.max(at, 0)).flatMap(({ rule, proxy }) => {
      if (conditionHolds(rule.condition, way.known) === false || !isOfOperator(rule, way)) return []
      const what = presented(rule, takesSessions)
      if (what === undefined) return []
      return [
        finding(
          'credentials-written',
          placeOf(rule.line, proxy.section),
          `writes ${what} before the action looks at it, so a request without it counts as well`,
          'Remove it. To send a token to the application, write it behind the guard.',
        ),
      ]
    })
  })
}

function writtenBy({ action, words }: Rule): string | undefined {
  if (/^(set|add)-header$/.test(action)) return words[1]
  return /^replace-(header|value)$/.test(action) ? words[2] : undefined
}

/** What the action would take for the word of the client; undefined for any other header. */
function presented(rule: Rule, takesSessions: boolean): string | undefined {
  const name = rule.words[0]?.toLowerCase()
  const value = writtenBy(rule) ?? ''
  if (name === 'authorization') return /^(bearer\b|%\[|\$)/i.test(value) ? 'a token' : undefined
  if (!takesSessions) return undefined
  if (name === 'cookie') return value.includes('__Host-entra-session') ? 'a session' : undefined
  return name === 'sec-fetch-site' || name === 'origin' ? name : undefined
}

/** Whether nothing of the value comes from the client. */
function isOfOperator(rule: Rule, { steps }: Way): boolean {
  const value = writtenBy(rule)
  if (value === undefined) return false
  const rules = steps.map((step) => step.rule)
  return expressionsIn(value)
    .flatMap((text) => sourcesOf(readExpression(text), rules))
    .every((source) => isFromList(source) || (source.fetch === 'var' && isOfProcess(source)))
}

function isOfProcess({ argument }: { readonly argument: string }): boolean {
  return argument.startsWith('proc.')
}
