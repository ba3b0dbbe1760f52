import type { Section } from './haproxy-file.ts'

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
  const always =
    keyword === 'if' && groups.some((group) => group.every((term) => !term.negated && isTrue(term)))
  return always ? undefined : { keyword, groups, text: rest.join(' ') }
}

/** Whether the rule fires for every request for which the test does not hold. */
export function firesUnless(
  condition: Condition | undefined,
  holds: (test: readonly string[]) => boolean,
): boolean {
  if (condition === undefined) return true
  const isTest = (term: Term) => term.tests.every(holds)
  return condition.keyword === 'unless'
    ? condition.groups.every((group) => group.some((term) => !term.negated && isTest(term)))
    : condition.groups.some((group) => group.every((term) => term.negated && isTest(term)))
}

/** Every test of a condition. */
export function testsOf(condition: Condition | undefined): readonly (readonly string[])[] {
  return condition?.groups.flat().flatMap((term) => term.tests) ?? []
}

function isTrue(term: Term): boolean {
  return term.tests.every(([name]) => name === 'TRUE' || name === 'always_true')
}

function testsNamed(name: string, section: Section): (readonly string[])[] {
  const tests: (readonly string[])[] = []
  for (let from: Section | undefined = section; from; from = from.defaults) {
    for (const { words } of from.lines) {
      if (words[0] === 'acl' && words[1] === name) tests.push(words.slice(2))
    }
  }
  return tests.length > 0 ? tests : [[name]]
}
