import {
  alternativesOf,
  areExclusive,
  conditionHolds,
  isAllowedTest,
  type Known,
  type Term,
  termKey,
  termsOf,
  testsOf,
} from './condition.ts'
import { endsRequest, isAction, isAnswer } from './effect.ts'
import type { ProxySection, Rule } from './proxy.ts'
import type { Step, Way } from './way.ts'

/** How a request gets to the servers although the action has not allowed it. */
export interface Escape {
  /** Terms that hold for it, besides those of the way. */
  readonly terms: readonly Term[]
  /** The action that ran last, and failed; undefined where none ran. */
  readonly failed: Step | undefined
  /** Rules `allow` that it met. */
  readonly allows: readonly Step[]
}

/** More terms than this are not tried in every combination. */
const mostTerms = 7

/**
 * Finds every kind of request that gets through, by walking the rules for each combination of the
 * ACLs that decide. It assumes the worst outcome of the action: it fails, and HAProxy continues as
 * if the action were not there. Then only a rule on `txn.entra.ok` stops the request.
 */
export function findEscapes(way: Way, without: (rule: Rule) => boolean = () => false): Escape[] {
  const steps = way.steps.filter(({ rule }) => !without(rule))
  const asking = askingEntry(way)
  return combinationsOf(way).flatMap((terms) => {
    const known = { ...way.known, facts: [...terms, ...way.known.facts] }
    const walked = steps
      .map((step, index) => (isAction(step.rule) ? walk(steps, known, index, asking) : undefined))
      .filter((end) => end !== undefined)
    const bare = walk(steps, known, -1, asking)
    return [...walked, ...(bare ? [bare] : [])].map((end) => ({ ...end, terms }))
  })
}

/** The section that only what the action has allowed leaves on this way: `use_backend app if { var(txn.entra.ok) -m bool }`. */
function askingEntry({ entry, known }: Way): ProxySection | undefined {
  const asks = known.facts.some(
    ({ negated, tests }) => !negated && tests.length > 0 && tests.every(isAllowedTest),
  )
  return asks ? entry : undefined
}

/** The second of two actions that one request can meet with the verdict of the first still there. */
export interface Stale {
  readonly step: Step
  /** The variable that still has it. */
  readonly variable: string
}

/** The variables in which an action leaves its verdict: guards read the first two. */
const verdictVariables = ['txn.entra.ok', 'txn.auth_response_successful', 'txn.entra.hit'] as const

/** Finds an action behind which the verdict of an earlier one can count. */
export function findStale(way: Way): Stale | undefined {
  for (const variable of verdictVariables) {
    const writes = ({ rule }: Step) =>
      variable === 'txn.entra.hit' ? rule.line.isFastLane === true : isAction(rule)
    if (!isRead(variable, way)) continue
    // With two hosts in one header both may run, and each of them refuses by itself.
    const plain = { ...way, known: { ...way.known, hasOneHost: true } }
    for (const terms of combinationsOf(plain)) {
      const known = { ...plain.known, facts: [...terms, ...way.known.facts] }
      let hasVerdict = false
      for (const step of way.steps) {
        const { condition } = step.rule
        const fires = conditionHolds(condition, { ...known, verdict: true })
        if (clears(step.rule, variable) && fires === true) hasVerdict = false
        if (!writes(step) || fires === false) continue
        if (hasVerdict) return { step, variable }
        hasVerdict = true
      }
    }
  }
  return undefined
}

/** The action answers by itself, so `txn.entra.ok` counts without a guard; a fast lane reads its hit. */
function isRead(variable: string, { steps }: Way): boolean {
  if (variable !== 'txn.auth_response_successful') return true
  return steps.some(({ rule }) =>
    testsOf(rule.condition).some(([fetch]) => fetch?.startsWith(`var(${variable})`)),
  )
}

/** Whether a rule forgets what an earlier action said. */
export function clearsVerdict(rule: Rule): boolean {
  return verdictVariables.some((variable) => clears(rule, variable))
}

function clears({ action, words }: Rule, variable: string): boolean {
  if (action === `unset-var(${variable})`) return true
  return (
    action === `set-var(${variable})` &&
    /^(bool\((0|false)\)|int\(0\)|always_false)$/.test(words[0] ?? '')
  )
}

/** Whether a rule looks at what the action said. */
export function looksAtVerdict({ condition }: Rule): boolean {
  return testsOf(condition).some(([fetch]) =>
    /var\(txn\.(entra\.|auth_response_)/.test(fetch ?? ''),
  )
}

/** Walks to the end; `failing` is the action that fails, and those before it have allowed. */
function walk(
  steps: readonly Step[],
  known: Known,
  failing: number,
  asking: ProxySection | undefined,
): Omit<Escape, 'terms'> | undefined {
  // Before the first action nothing is known: a guard that stands there is none.
  let verdict: boolean | undefined
  let failed: Step | undefined
  let skipped: unknown
  const allows: Step[] = []
  for (const [index, step] of steps.entries()) {
    const { rule, proxy } = step
    if (proxy === skipped) continue
    if (asking && proxy !== asking && verdict !== true) return undefined
    const fires = conditionHolds(
      rule.condition,
      verdict === undefined ? known : { ...known, verdict },
    )
    if (isAction(rule)) {
      // What is not known may happen: to fail the action must run, to be left out it must not.
      if (index === failing) {
        if (fires === false) return undefined
        failed = step
        verdict = false
      } else if (fires === true) {
        if (failing < index) return undefined
        verdict = true
      } else verdict ??= false
    } else if (rule.action === 'allow' && rule.keyword === 'http-request') {
      if (fires === true) {
        allows.push(step)
        skipped = proxy
      }
    } else if (fires === true && stops(rule)) return undefined
  }
  if (failing >= 0 && !failed) return undefined
  // A failure behind the route is none of its condition.
  if (asking && verdict !== true && !(failed && failed.proxy !== asking)) return undefined
  return { failed, allows }
}

/** Content for whom the action has not allowed is no refusal, even if it is not the application's. */
function stops(rule: Rule): boolean {
  return endsRequest(rule) && !(isAnswer(rule) && looksAtVerdict(rule))
}

/** The ACLs on which it depends whether the action, its guard or an `allow` fires, true and false. */
function combinationsOf({ steps, known }: Way): Term[][] {
  if (!steps.some(({ rule }) => isAction(rule))) return [[]]
  const decisive = steps.filter(
    ({ rule }) =>
      isAction(rule) || rule.action === 'allow' || looksAtVerdict(rule) || clearsVerdict(rule),
  )
  const terms = new Map<string, Term>()
  for (const { rule } of decisive) {
    for (const term of termsOf(rule.condition)) {
      if (term.tests.some(isAllowedTest)) continue
      const plain = { ...term, negated: false }
      const isOpen =
        conditionHolds({ keyword: 'if', groups: [[plain]], text: '' }, known) === undefined
      if (isOpen && terms.size < mostTerms) terms.set(termKey(term), plain)
    }
  }
  let combinations: Term[][] = [[]]
  for (const term of terms.values()) {
    combinations = combinations.flatMap((sofar) =>
      [term, { ...term, negated: true }]
        .filter((one) => !sofar.some((other) => areExclusive(one, other, known.hasOneHost)))
        .map((one) => [...sofar, one]),
    )
  }
  return combinations
}

/** Terms without which these rules would all have fired. */
export function exceptionsOf(rules: readonly Rule[], terms: readonly Term[]): Term[] {
  return terms.filter((term) => {
    if (term.negated) return false
    const others = terms.filter((one) => one !== term)
    const known = { facts: [...others, { ...term, negated: true }], request: {} }
    return rules.every(
      ({ condition }) =>
        conditionHolds(condition, known) === true ||
        (alternativesOf(condition) ?? []).every((group) =>
          group.some((one) => one.negated && termKey(one) === termKey(term)),
        ),
    )
  })
}
