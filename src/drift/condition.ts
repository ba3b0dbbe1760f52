import { readTest, type Test, withoutQuotes } from './expression.ts'
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
  /** Whether a header with several hosts is refused, or can be left out of account. */
  readonly hasOneHost?: boolean
}

/**
 * Reads the condition at the end of a rule; undefined where there is none, or where it always holds.
 * Named ACLs are those of the section: in a defaults section, a rule sees its own and no other.
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
    if (word.toLowerCase() === 'or' || word === '||') {
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

function plainTermHolds(term: Term, { facts, request, verdict, hasOneHost }: Known): Truth {
  const tests = term.tests.map((test) =>
    verdict !== undefined && isAllowedTest(test) ? verdict : testHolds(test, request),
  )
  if (tests.includes(true)) return true
  if (!tests.includes(undefined)) return false
  const { byKey, byExpression } = indexOf(facts)
  const key = termKey(term)
  const same = byKey.get(key)
  if (same !== undefined) return !same.negated
  const [own, ...others] = term.tests
  if (!own || others.length > 0) return undefined
  const about = byExpression.get(expressionKey(own))
  if (!about) return undefined
  for (const fact of about.positive) {
    const truth = follows(readTest(own), fact)
    if (truth === true || (truth === false && hasOneValue(own, hasOneHost))) return truth
  }
  return isExcluded(readTest(own), about) ? false : undefined
}

/** What facts say about one expression. */
interface Facts {
  readonly positive: Test[]
  /** Values that it does not have: as they stand, and in any letter case. */
  readonly excluded: Set<string>
  readonly excludedInAnyCase: Set<string>
}

interface FactIndex {
  readonly byKey: ReadonlyMap<string, Term>
  readonly byExpression: ReadonlyMap<string, Facts>
}

const indexes = new WeakMap<readonly Term[], FactIndex>()

function indexOf(facts: readonly Term[]): FactIndex {
  const known = indexes.get(facts)
  if (known) return known
  const byKey = new Map<string, Term>()
  const byExpression = new Map<string, Facts>()
  for (const fact of facts) {
    byKey.set(termKey(fact), fact)
    for (const words of fact.tests) {
      // A list of tests says that one of them holds, or that none does.
      if (!fact.negated && fact.tests.length > 1) continue
      const test = readTest(words)
      if (test.fromFile) continue
      const key = expressionKey(words)
      const about = byExpression.get(key) ?? {
        positive: [],
        excluded: new Set<string>(),
        excludedInAnyCase: new Set<string>(),
      }
      byExpression.set(key, about)
      if (!fact.negated) about.positive.push(test)
      else if (isExact(test)) {
        for (const value of test.values) {
          if (test.ignoresCase) about.excludedInAnyCase.add(value.toLowerCase())
          else about.excluded.add(value)
        }
      }
    }
  }
  const index = { byKey, byExpression }
  indexes.set(facts, index)
  return index
}

function isExact({ method }: Test): boolean {
  return method === 'default' || method === 'str'
}

function isExcluded(test: Test, { excluded, excludedInAnyCase }: Facts): boolean {
  return (
    isExact(test) &&
    !test.fromFile &&
    test.values.length > 0 &&
    test.values.every(
      (value) =>
        excludedInAnyCase.has(value.toLowerCase()) || (!test.ignoresCase && excluded.has(value)),
    )
  )
}

const lists = /^(req\.f?hdr(_ip|_val)?|req\.cook|urlp)$/

/**
 * Whether an expression has one value for a request. A header, a cookie and a parameter can come several
 * times, and an ACL looks at each. HAProxy 2.6 takes `Host: a.example,b.example` for two hosts.
 */
function hasOneValue(test: readonly string[], hasOneHost = false): boolean {
  const { fetch, argument } = readTest(test).expression
  if (!lists.test(fetch)) return true
  if (/^host$/i.test(argument)) return hasOneHost || fetch === 'req.fhdr'
  return argument.includes(',')
}

/** Whether a test holds where another one on the same expression does. */
function follows(test: Test, given: Test): Truth {
  if (test.fromFile || given.fromFile) return undefined
  const fold = (value: string) => value.toLowerCase()
  const isGivenExact = isExact(given)
  if (isExact(test) && isGivenExact) {
    const isSameCase = test.ignoresCase || !given.ignoresCase
    const own = new Set(test.ignoresCase ? test.values.map(fold) : test.values)
    const values = test.ignoresCase ? given.values.map(fold) : given.values
    if (isSameCase && values.every((value) => own.has(value))) return true
    const anyCase = new Set(test.values.map(fold))
    return given.values.some((value) => anyCase.has(fold(value))) ? undefined : false
  }
  if (test.method !== 'beg' || !(isGivenExact || given.method === 'beg')) return undefined
  const starts = test.values.map(fold)
  const values = given.values.map(fold)
  const begins = (value: string) => starts.some((start) => value.startsWith(start))
  // If only one of the two ignores letter case, values that differ only in case can match or not.
  if (test.ignoresCase === given.ignoresCase || test.ignoresCase) {
    const exact = (value: string) =>
      test.ignoresCase ? begins(fold(value)) : test.values.some((start) => value.startsWith(start))
    if (given.values.every(exact)) return true
  }
  const isApart = values.every(
    (value) => !begins(value) && (isGivenExact || !starts.some((start) => start.startsWith(value))),
  )
  return isApart ? false : undefined
}

const termKeys = new WeakMap<Term['tests'], string>()
const expressionKeys = new WeakMap<readonly string[], string>()

/** A term without its negation, as one comparable text. */
export function termKey({ tests }: Term): string {
  const known = termKeys.get(tests)
  if (known !== undefined) return known
  const key = JSON.stringify(
    tests.map((words) => [expressionKey(words), readTest(words).method, words.slice(1)]),
  )
  termKeys.set(tests, key)
  return key
}

function expressionKey(test: readonly string[]): string {
  const known = expressionKeys.get(test)
  if (known !== undefined) return known
  const { fetch, argument, converters } = readTest(test).expression
  const isHeader = fetch.startsWith('req.')
  const key = JSON.stringify([fetch, isHeader ? argument.toLowerCase() : argument, converters])
  expressionKeys.set(test, key)
  return key
}

/** Whether two terms cannot hold for the same request. */
export function areExclusive(a: Term, b: Term, hasOneHost = false): boolean {
  if (a.negated && b.negated) return false
  if (termKey(a) === termKey(b)) return a.negated !== b.negated
  if (a.negated || b.negated) return false
  const [own, ...moreOwn] = a.tests
  const [other, ...moreOther] = b.tests
  if (!own || !other || moreOwn.length > 0 || moreOther.length > 0) return false
  if (expressionKey(own) !== expressionKey(other) || !hasOneValue(own, hasOneHost)) return false
  const [first, second] = [readTest(own), readTest(other)]
  return follows(first, second) === false || follows(second, first) === false
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
  const [word = '', ...flags] = test
  const fetch = withoutQuotes(word)
  const [, isConverted] =
    /^var\(txn\.(?:entra\.ok|auth_response_successful)\)(,bool)?$/.exec(fetch) ?? []
  if (
    isConverted === undefined &&
    !/^var\(txn\.(entra\.ok|auth_response_successful)\)$/.test(fetch)
  ) {
    return false
  }
  const text = flags.join(' ')
  return (
    /^-m (bool( (true|1))?|int ((eq|ge) )?1)$/.test(text) ||
    (isConverted !== undefined && /^(true|1)?$/.test(text))
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
  for (const { words } of section.lines) {
    if (words[0] === 'acl' && words[1] === name) tests.push(words.slice(2))
  }
  if (tests.length > 0) return tests
  return [(Object.hasOwn(predefined, name) ? predefined[name] : undefined) ?? [name]]
}
