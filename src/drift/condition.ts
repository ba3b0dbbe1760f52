import { readTest } from './expression.ts'
import type { Section } from './haproxy-file.ts'
import { type Request, type Truth, testHolds } from './request.ts'

/** One ACL in a condition. It holds where any of its tests does. */
export interface Term {
  readonly negated: boolean
  /** Words of each test: fetch, flags, values. A name that is not declared has itself. */
  readonly tests: readonly (readonly string[])[]
}

/** `if` or `unless` with its ACLs: any group must hold as a whole. */
export interface Condition {
  readonly keyword: 'if' | 'unless'
  readonly groups: readonly (readonly Term[])[]
  readonly text: string
}

/** What is known of a request when a condition is looked at. */
export interface Known {
  /** Terms that hold. */
  readonly facts: readonly Term[]
  readonly request: Request
  /** What the guard finds in `txn.entra.ok`; undefined where it may be anything. */
  readonly verdict?: boolean
}

/**
 * Reads the condition at the end of a rule; undefined where there is none, or where it always holds.
 * Named ACLs are looked up in the section and in its defaults.
 */
export function readCondition(words: readonly string[], section: Section): Condition | undefined {
  const at = words.findIndex((word, index) => index > 0 && (word === 'if' || word === 'unless'))
  const keyword = words[at]
  if (keyword !== 'if' && keyword !== 'unless') return undefined
  const rest = words.slice(at + 1)
  const groups: Term[][] = [[]]
  let negated = false
  for (let index = 0; index < rest.length; index++) {
    let word = rest[index] ?? ''
    if (word === 'or' || word === '||') {
      groups.push([])
      continue
    }
    while (word.startsWith('!')) {
      negated = !negated
      word = word.slice(1)
    }
    if (word === '') continue
    if (word === '{') {
      const end = rest.indexOf('}', index)
      const stop = end < 0 ? rest.length : end
      groups.at(-1)?.push({ negated, tests: [rest.slice(index + 1, stop)] })
      index = stop
    } else {
      groups.at(-1)?.push({ negated, tests: testsNamed(word, section) })
    }
    negated = false
  }
  const condition: Condition = { keyword, groups, text: rest.join(' ') }
  return conditionHolds(condition, { facts: [], request: {} }) === true ? undefined : condition
}

/** Whether a rule with this condition fires. */
export function conditionHolds(condition: Condition | undefined, known: Known): Truth {
  if (condition === undefined) return true
  const groups = condition.groups.map((group) => {
    const terms = group.map((term) => termHolds(term, known))
    if (terms.includes(false)) return false
    return terms.includes(undefined) ? undefined : true
  })
  const isMet = groups.includes(true) ? true : groups.includes(undefined) ? undefined : false
  return condition.keyword === 'if' || isMet === undefined ? isMet : !isMet
}

function termHolds(term: Term, known: Known): Truth {
  const plain = plainTermHolds(term, known)
  return plain === undefined ? undefined : plain !== term.negated
}

function plainTermHolds(term: Term, { facts, request, verdict }: Known): Truth {
  const tests = term.tests.map((test) =>
    verdict !== undefined && isAllowedTest(test) ? verdict : testHolds(test, request),
  )
  if (tests.includes(true)) return true
  if (!tests.includes(undefined)) return false
  for (const fact of facts) {
    const truth = follows(term, fact)
    if (truth !== undefined) return truth
  }
  return undefined
}

/** Whether the tests of a term hold where a fact does. */
function follows(term: Term, fact: Term): Truth {
  if (termKey(term) === termKey(fact)) return !fact.negated
  const [own, ...moreOwn] = term.tests
  const [other, ...moreOther] = fact.tests
  if (!own || !other || moreOwn.length > 0 || moreOther.length > 0) return undefined
  const a = readTest(own)
  const b = readTest(other)
  if (a.fromFile || b.fromFile || expressionKey(own) !== expressionKey(other)) return undefined
  const ignoresCase = a.ignoresCase || b.ignoresCase
  const fold = (value: string) => (ignoresCase ? value.toLowerCase() : value)
  const [mine, given] = [a.values.map(fold), b.values.map(fold)]
  const isExact = ({ method }: { method: string }) => method === 'default' || method === 'str'
  if (isExact(a) && isExact(b)) {
    if (fact.negated) return mine.every((value) => given.includes(value)) ? false : undefined
    if (given.every((value) => mine.includes(value))) return true
    return given.some((value) => mine.includes(value)) ? undefined : false
  }
  if (fact.negated || a.method !== 'beg' || !(isExact(b) || b.method === 'beg')) return undefined
  const begins = (value: string) => mine.some((start) => value.startsWith(start))
  if (given.every(begins)) return true
  const apart = given.every(
    (value) => !begins(value) && (isExact(b) || !mine.some((start) => start.startsWith(value))),
  )
  return apart ? false : undefined
}

/** A term without its negation, as one comparable text. */
export function termKey({ tests }: Term): string {
  return JSON.stringify(
    tests.map((words) => [expressionKey(words), readTest(words).method, words.slice(1)]),
  )
}

function expressionKey(test: readonly string[]): string {
  const { fetch, argument, converters } = readTest(test).expression
  const isHeader = fetch.startsWith('req.')
  return JSON.stringify([fetch, isHeader ? argument.toLowerCase() : argument, converters])
}

/** Whether two terms cannot hold for the same request. */
export function areExclusive(a: Term, b: Term): boolean {
  if (a.negated && b.negated) return false
  if (termKey(a) === termKey(b)) return a.negated !== b.negated
  return a.negated || b.negated ? false : follows(a, b) === false
}

/**
 * The ways to meet a condition, each a list of terms that hold together. Undefined where there are
 * too many to list.
 */
export function alternativesOf(condition: Condition | undefined): Term[][] | undefined {
  if (condition === undefined) return [[]]
  if (condition.keyword === 'if') return condition.groups.map((group) => [...group])
  let alternatives: Term[][] = [[]]
  for (const group of condition.groups) {
    alternatives = alternatives.flatMap((sofar) =>
      group.map((term) => [...sofar, { ...term, negated: !term.negated }]),
    )
    if (alternatives.length > 64) return undefined
  }
  return alternatives
}

/** A test that holds only after an allow; `-m found` also holds after a refusal. */
export function isAllowedTest(test: readonly string[]): boolean {
  const [fetch = '', ...flags] = test
  return (
    /^var\(txn\.(entra\.ok|auth_response_successful)\)(,bool)?$/.test(fetch) &&
    flags[0] === '-m' &&
    flags[1] === 'bool' &&
    flags.slice(2).every((word) => word === 'true' || word === '1')
  )
}

/** Every term of a condition. */
export function termsOf(condition: Condition | undefined): readonly Term[] {
  return condition?.groups.flat() ?? []
}

/** Every test of a condition. */
export function testsOf(condition: Condition | undefined): readonly (readonly string[])[] {
  return termsOf(condition).flatMap((term) => term.tests)
}

const methods = ['CONNECT', 'DELETE', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'TRACE']

/** ACLs that HAProxy declares by itself, as far as something is known about them. */
const predefined: Readonly<Record<string, readonly string[]>> = {
  TRUE: ['always_true'],
  FALSE: ['always_false'],
  METH_GET: ['method', 'GET', 'HEAD'],
  ...Object.fromEntries(methods.map((name) => [`METH_${name}`, ['method', name]])),
}

function testsNamed(name: string, section: Section): (readonly string[])[] {
  const tests: (readonly string[])[] = []
  for (let from: Section | undefined = section; from; from = from.defaults) {
    for (const { words } of from.lines) {
      if (words[0] === 'acl' && words[1] === name) tests.push(words.slice(2))
    }
  }
  if (tests.length > 0) return tests
  return [(Object.hasOwn(predefined, name) ? predefined[name] : undefined) ?? [name]]
}
