/** The condition behind `.if`, as HAProxy reads it: `&&` binds more tightly than `||`. */
export type BranchCondition =
  | { readonly kind: 'constant'; readonly holds: boolean }
  | { readonly kind: 'test'; readonly text: string }
  | { readonly kind: 'not'; readonly of: BranchCondition }
  | { readonly kind: 'and' | 'or'; readonly of: readonly BranchCondition[] }

/** The oldest version that is supported: what older ones have, each has. */
const oldest = versionNumber('2', '6')

/** Reads a condition. What cannot be read is one test. */
export function readBranchCondition(text: string): BranchCondition {
  const ors = splitAt(text, '||')
  if (ors.length > 1) return { kind: 'or', of: ors.map(readBranchCondition) }
  const ands = splitAt(text, '&&')
  if (ands.length > 1) return { kind: 'and', of: ands.map(readBranchCondition) }
  const plain = text.trim()
  if (plain.startsWith('!')) return { kind: 'not', of: readBranchCondition(plain.slice(1)) }
  if (isEnclosed(plain)) return readBranchCondition(plain.slice(1, -1))
  return readPredicate(plain.replaceAll(/\s+/g, ''))
}

/** One value, and names that say the opposite of another turned round. */
function readPredicate(text: string): BranchCondition {
  if (text === '' || /^\d+$/.test(text)) return { kind: 'constant', holds: Number(text) !== 0 }
  const [, name = '', rest] = /^(version_before|strneq)(\(.*\))$/.exec(text) ?? []
  if (rest !== undefined) {
    const opposite = name === 'strneq' ? 'streq' : 'version_atleast'
    return { kind: 'not', of: readPredicate(opposite + rest) }
  }
  const version = versionIn(text)
  if (version !== undefined && version <= oldest) return { kind: 'constant', holds: true }
  return { kind: 'test', text }
}

/** The tests on which it depends whether a condition holds. */
export function testsIn(condition: BranchCondition): string[] {
  if (condition.kind === 'constant') return []
  if (condition.kind === 'test') return [condition.text]
  return (condition.kind === 'not' ? [condition.of] : condition.of).flatMap(testsIn)
}

/** Whether a condition holds. A test without an outcome does. */
export function branchHolds(
  condition: BranchCondition,
  outcomes: ReadonlyMap<string, boolean>,
): boolean {
  switch (condition.kind) {
    case 'constant':
      return condition.holds
    case 'test':
      return outcomes.get(condition.text) ?? true
    case 'not':
      return !branchHolds(condition.of, outcomes)
    case 'and':
      return condition.of.every((one) => branchHolds(one, outcomes))
    case 'or':
      return condition.of.some((one) => branchHolds(one, outcomes))
  }
}

/** With more tests than this, besides those of the version, not every combination is read. */
const mostTests = 5

/** The outcomes that tests can have together: what is at least 3.4 is at least 3.1. */
export function outcomesOf(tests: readonly string[]): ReadonlyMap<string, boolean>[] {
  const all = [...new Set(tests)]
  const versions = all.flatMap((text) => versionIn(text) ?? []).toSorted((a, b) => b - a)
  const others = all.filter((text) => versionIn(text) === undefined)
  let outcomes: (readonly (readonly [string, boolean])[])[] = [
    ...new Set([...versions, oldest]),
  ].map((own) =>
    all.flatMap((text) => {
      const version = versionIn(text)
      return version === undefined ? [] : [[text, own >= version] as const]
    }),
  )
  const vary = (several: readonly string[]) => {
    outcomes = outcomes.flatMap((sofar) =>
      [true, false].map((outcome) => [
        ...sofar,
        ...several.map((text) => [text, outcome] as const),
      ]),
    )
  }
  for (const text of others.slice(0, mostTests)) vary([text])
  if (others.length > mostTests) vary(others.slice(mostTests))
  return outcomes.map((outcome) => new Map(outcome))
}

function versionIn(text: string): number | undefined {
  const [, major, minor] = /^version_atleast\((\d+)\.(\d+)[^)]*\)$/.exec(text) ?? []
  return major === undefined || minor === undefined ? undefined : versionNumber(major, minor)
}

function versionNumber(major: string, minor: string): number {
  return Number(major) * 1_000 + Number(minor)
}

/** Whether the first parenthesis ends with the text. */
function isEnclosed(text: string): boolean {
  if (!text.startsWith('(')) return false
  let depth = 0
  return (
    walkOutsideQuotes(text, (character, index) => {
      if (character === '(') depth++
      if (character === ')') depth--
      return depth === 0 ? index : undefined
    }) ===
    text.length - 1
  )
}

/** Splits at an operator that stands neither in parentheses nor in quotes. */
function splitAt(text: string, operator: '||' | '&&'): string[] {
  const parts: string[] = []
  let depth = 0
  let start = 0
  walkOutsideQuotes(text, (character, index) => {
    if (character === '(') depth++
    if (character === ')') depth--
    if (depth === 0 && index >= start && text.startsWith(operator, index)) {
      parts.push(text.slice(start, index))
      start = index + operator.length
    }
    return undefined
  })
  return [...parts, text.slice(start)]
}

/** Visits each character outside quotes, until one of them gives a result. */
function walkOutsideQuotes<T>(
  text: string,
  visit: (character: string, index: number) => T | undefined,
): T | undefined {
  let quote = ''
  for (const [index, character] of [...text].entries()) {
    if (quote !== '') {
      if (character === quote) quote = ''
    } else if (character === '"' || character === "'") quote = character
    else {
      const result = visit(character, index)
      if (result !== undefined) return result
    }
  }
  return undefined
}
