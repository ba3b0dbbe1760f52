import { branchHolds, outcomesOf, readBranchCondition, testsIn } from './branch-condition.ts'
import { foldFastLanes } from './fast-lane.ts'

/** A file as it was read. */
export interface SourceFile {
  readonly name: string
  readonly text: string
}

/** One line of a section, in words: quotes resolved, variables expanded, comment gone. */
export interface Line {
  readonly file: string
  readonly number: number
  readonly words: readonly string[]
  /** Variables without a value in these files, and without a default. */
  readonly unresolved: readonly string[]
  /** The action, where it stands for a complete fast lane. */
  readonly isFastLane?: true
}

/** A section and where its settings come from. */
export interface Section {
  readonly kind: string
  readonly name: string
  readonly head: Line
  readonly lines: readonly Line[]
  /** The `defaults` section that it takes settings from. */
  readonly defaults?: Section
  /** Codes from `# drift: ignore CODE` inside the section. */
  readonly ignored: ReadonlySet<string>
}

export interface HaproxyConfig {
  readonly files: readonly string[]
  readonly sections: readonly Section[]
  /** Lines that cannot be read. */
  readonly broken: readonly Line[]
  /** Variables that `setenv` and `presetenv` give. */
  readonly variables: ReadonlyMap<string, string>
  /**
   * The configurations that HAProxy may make of this one: one for each outcome of the conditions
   * behind `.if` and `.elif`. Empty where there are none.
   */
  readonly branches: readonly HaproxyConfig[]
}

const sectionKinds = new Set([
  'acme',
  'backend',
  'cache',
  'crt-store',
  'defaults',
  'fcgi-app',
  'frontend',
  'global',
  'healthcheck',
  'http-errors',
  'listen',
  'log-forward',
  'log-profile',
  'mailers',
  'peers',
  'program',
  'resolvers',
  'ring',
  'traces',
  'userlist',
])

/**
 * Reads configuration files as HAProxy reads several `-f`: one after the other, as one
 * configuration. Of `.if` and its branches each is read, as if it were there; `branches` has them one
 * by one. A backslash at the end of a line continues nothing, as in HAProxy. The environment of this
 * process is not looked at: the same files give the same result everywhere.
 */
export function parseHaproxyFiles(files: readonly SourceFile[]): HaproxyConfig {
  const tests = testsOfBranches(files)
  const branches =
    tests.length === 0
      ? []
      : outcomesOf(tests).map((outcomes) =>
          parse(files, (text) => branchHolds(readBranchCondition(text), outcomes)),
        )
  return { ...parse(files), branches }
}

const branching = /^\s*\.(?:if|elif)\s+(.*?)\s*(?:#.*)?$/

function testsOfBranches(files: readonly SourceFile[]): string[] {
  return files
    .flatMap(({ text }) => text.split('\n'))
    .flatMap((line) => {
      const condition = branching.exec(line)?.[1]
      return condition === undefined ? [] : testsIn(readBranchCondition(condition))
    })
}

/** `.if` … `.endif` that are open: whether this branch is read, and whether an earlier one was. */
interface Branch {
  isOpen: boolean
  wasOpen: boolean
}

function followBranch(
  words: readonly string[],
  raw: string,
  stack: Branch[],
  decide: (text: string) => boolean,
): void {
  const condition = () => decide(branching.exec(raw)?.[1] ?? '')
  const top = stack.at(-1)
  if (words[0] === '.if') {
    const isOpen = condition()
    stack.push({ isOpen, wasOpen: isOpen })
  } else if (words[0] === '.elif' && top) {
    top.isOpen = !top.wasOpen && condition()
    top.wasOpen ||= top.isOpen
  } else if (words[0] === '.else' && top) {
    top.isOpen = !top.wasOpen
    top.wasOpen = true
  } else if (words[0] === '.endif') stack.pop()
}

function parse(files: readonly SourceFile[], decide?: (text: string) => boolean): HaproxyConfig {
  const sections: Writable[] = []
  const broken: Line[] = []
  const variables = new Map<string, string>()
  let current: Writable | undefined
  let latestDefaults: Section | undefined

  function open(head: Line): void {
    const [kind = '', ...rest] = head.words
    const from = rest.indexOf('from')
    const base = from < 0 ? undefined : rest[from + 1]
    const name = from === 0 ? '' : (rest[0] ?? '')
    const inherits = ['defaults', 'frontend', 'listen', 'backend'].includes(kind)
    const named = sections.find((section) => section.kind === 'defaults' && section.name === base)
    const defaults = from >= 0 ? named : kind === 'defaults' ? undefined : latestDefaults
    const section = { kind, name, head, lines: [], ignored: new Set<string>() }
    current = inherits && defaults ? { ...section, defaults } : section
    sections.push(current)
    if (kind === 'defaults') latestDefaults = current
  }

  for (const { name: file, text } of files) {
    const stack: Branch[] = []
    for (const [index, raw] of text.split('\n').entries()) {
      const { words, comment, unresolved, complete } = readWords(raw, variables)
      const line: Line = { file, number: index + 1, words, unresolved }
      for (const code of ignoredIn(comment)) current?.ignored.add(code)
      if (!complete) broken.push(line)
      const [keyword] = words
      if (decide) followBranch(words, raw, stack, decide)
      if (stack.some(({ isOpen }) => !isOpen)) continue
      if (keyword === undefined || keyword.startsWith('.')) continue
      if (sectionKinds.has(keyword)) open(line)
      else current?.lines.push(line)
      if (current?.kind === 'global') setVariable(words, variables)
    }
  }
  for (const section of sections) section.lines = foldFastLanes(section)
  return { files: files.map(({ name }) => name), sections, broken, variables, branches: [] }
}

type Writable = Omit<Section, 'lines' | 'ignored'> & { lines: Line[]; ignored: Set<string> }

function ignoredIn(comment: string): string[] {
  const codes = /^\s*drift:\s*ignore\s+([a-z, -]+)/.exec(comment)?.[1]
  return codes?.split(/[\s,]+/).filter(Boolean) ?? []
}

function setVariable(words: readonly string[], variables: Map<string, string>): void {
  const [keyword, name, value] = words
  if (keyword === 'resetenv') {
    for (const other of [...variables.keys()])
      if (!words.includes(other, 1)) variables.delete(other)
  }
  if (name === undefined) return
  if (keyword === 'unsetenv') for (const other of words.slice(1)) variables.delete(other)
  if (value === undefined) return
  if (keyword === 'setenv' || (keyword === 'presetenv' && !variables.has(name))) {
    variables.set(name, value)
  }
}

interface Words {
  readonly words: string[]
  readonly comment: string
  readonly unresolved: string[]
  /** False where a quote is not closed. */
  readonly complete: boolean
}

/** Splits a line by the rules of "Quoting and escaping" in HAProxy's configuration manual. */
export function readWords(raw: string, variables: ReadonlyMap<string, string>): Words {
  const words: string[] = []
  const unresolved: string[] = []
  let word: string | undefined
  let quote: '"' | "'" | undefined
  let comment = ''
  for (let at = 0; at < raw.length; at++) {
    const character = raw[at] ?? ''
    if (quote === "'") {
      if (character === "'") quote = undefined
      else word += character
    } else if (character === '\\') {
      const { text, length } = readEscape(raw.slice(at + 1))
      word = (word ?? '') + text
      at += length
    } else if (character === '"') {
      quote = quote === undefined ? '"' : undefined
      word ??= ''
    } else if (quote === '"' && character === '$') {
      const { text, length } = expand(raw.slice(at), variables, unresolved)
      word += text
      at += length - 1
    } else if (quote === '"') {
      word += character
    } else if (character === "'") {
      quote = "'"
      word ??= ''
    } else if (character === '#') {
      comment = raw.slice(at + 1)
      break
    } else if (/[ \t\n\v\f\r]/.test(character)) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else {
      word = (word ?? '') + character
    }
  }
  if (word !== undefined) words.push(word)
  return { words, comment, unresolved, complete: quote === undefined }
}

/** What stands after a backslash; any other character keeps the backslash, as `\.` in a pattern. */
function readEscape(rest: string): { readonly text: string; readonly length: number } {
  const next = rest[0] ?? ''
  if (next !== '' && ' #\\"\'$'.includes(next)) return { text: next, length: 1 }
  if (next === 'n') return { text: '\n', length: 1 }
  if (next === 'r') return { text: '\r', length: 1 }
  if (next === 't') return { text: '\t', length: 1 }
  const hex = /^x([0-9a-fA-F]{2})/.exec(rest)
  if (hex) return { text: String.fromCharCode(Number.parseInt(hex[1] ?? '', 16)), length: 3 }
  return { text: '\\', length: 0 }
}

/** Variables count between double quotes only: `$NAME`, `${NAME}`, `${NAME-default}`. */
function expand(text: string, variables: ReadonlyMap<string, string>, unresolved: string[]) {
  const match = /^\$(?:(\w+)|\{(\w+)(\[\*\])?(?:-([^}]*))?\})/.exec(text)
  if (!match) return { text: '$', length: 1 }
  const name = match[1] ?? match[2] ?? ''
  // A list becomes several words, which are not told apart here.
  const value = match[3] === undefined ? (variables.get(name) ?? match[4]) : undefined
  if (value === undefined) unresolved.push(name)
  // HAProxy puts nothing there; the name keeps two unknown addresses apart.
  return { text: value ?? `$${name}`, length: match[0].length }
}
