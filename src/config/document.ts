import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
} from 'yaml'
import { formatPath, type Path, type Problem, quote } from './problems.ts'

/** What a YAML text holds; `tree` is absent where the text cannot be trusted to mean anything. */
export interface ConfigDocument {
  /** Plain data; mappings have no prototype, so that `__proto__` is a name like any other. */
  readonly tree?: unknown
  readonly problems: readonly Problem[]
  /** Line (from 1) of a path or of its nearest parent that stands in the text. */
  readonly lineOf: (path: Path) => number | undefined
}

/** The file is read at once and checked several times over: enough for thousands of policies. */
const MAX_CHARACTERS = 1_048_576
/** Aliases are followed, and nested ones multiply: ten lines can stand for a billion values. */
const MAX_VALUES = 200_000
const MAX_DEPTH = 32

/**
 * Parses one YAML 1.2 document. After a syntax error there is no tree, because whatever was
 * recovered would only yield misleading follow-up problems.
 */
export function parseConfigDocument(text: string): ConfigDocument {
  const problems: Problem[] = []
  const lines = new Map<string, number>()
  const lineOf = (path: Path): number | undefined => {
    for (let length = path.length; length >= 0; length--) {
      const line = lines.get(formatPath(path.slice(0, length)))
      if (line !== undefined) return line
    }
    return undefined
  }
  const report = (path: Path, message: string, hint: string, line = lineOf(path)) => {
    problems.push({
      path: formatPath(path),
      message,
      hint,
      ...(line === undefined ? {} : { line }),
    })
  }
  if (text.length > MAX_CHARACTERS) {
    report([], `has more than ${MAX_CHARACTERS} characters`, 'Check that this is the right file.')
    return { problems, lineOf }
  }
  const counter = new LineCounter()
  const document = parseSafely(text, counter)
  if (document === undefined) {
    report([], 'cannot be read as YAML', 'Check that this is the right file.')
    return { problems, lineOf }
  }
  const lineAt = (offset: number | undefined) => Math.max(1, counter.linePos(offset ?? 0).line)
  // One mistake often makes the parser stumble several times on the same line.
  const seen = new Set<number>()
  for (const error of [...document.errors, ...document.warnings]) {
    const line = lineAt(error.pos[0])
    if (seen.has(line)) continue
    seen.add(line)
    // What follows "stream:" is text of the file, which may hold a secret.
    const message = error.message
      .replace(/( in YAML stream): [\s\S]*/, '$1')
      .replace(/\n[\s\S]*|[.:]$/g, '')
    report([], `is not valid YAML (${message})`, syntaxHint(error.code), line)
  }
  if (seen.size > 0) return { problems, lineOf }

  // Alias.resolve() searches the whole document each time.
  const anchored = new Map<string, unknown>()
  const targets = new Map<unknown, unknown>()
  visit(document, (_, node) => {
    if (isAlias(node)) targets.set(node, anchored.get(node.source))
    else if (isMap(node) || isSeq(node) || isScalar(node)) {
      if (node.anchor) anchored.set(node.anchor, node)
    }
  })

  let values = 0
  let tooMany = false
  const convert = (node: unknown, path: Path, following: ReadonlySet<unknown>): unknown => {
    values += 1
    if (values > MAX_VALUES || path.length > MAX_DEPTH) {
      if (!tooMany) report(path, 'holds too many values or levels', 'Use fewer YAML aliases.')
      tooMany = true
      return undefined
    }
    if (isAlias(node)) {
      const target = targets.get(node)
      if (target === undefined || following.has(target)) {
        report(path, 'is a YAML alias to nothing or to itself', 'Write the value out.')
        return undefined
      }
      return convert(target, path, new Set([...following, target]))
    }
    if (isSeq(node)) {
      return node.items.map((item, index) => {
        remember([...path, index], item)
        return convert(item, [...path, index], following)
      })
    }
    if (!isMap(node)) return isScalar(node) ? node.value : null
    const mapping: Record<string, unknown> = Object.create(null)
    const firstLine = new Map<string, number>()
    for (const { key: keyNode, value } of node.items) {
      if (tooMany) break
      const key = keyText(keyNode)
      const line = lineAt(rangeStart(keyNode))
      if (key === undefined) {
        report(path, 'has a key that is not a word', 'Write each key as plain text.')
        continue
      }
      const earlier = firstLine.get(key)
      if (earlier !== undefined) {
        // Reported here rather than by the parser, whose message has no path and whose search is
        // quadratic. The first value stays, so that both are never mixed.
        const message = `is a duplicate key, first on line ${earlier}`
        report([...path, key], message, 'Keep one of them.', line)
        continue
      }
      firstLine.set(key, line)
      lines.set(formatPath([...path, key]), line)
      mapping[key] = convert(value, [...path, key], following)
    }
    return mapping
  }
  const remember = (path: Path, node: unknown) => {
    const start = rangeStart(node)
    if (start !== undefined) lines.set(formatPath(path), lineAt(start))
  }
  remember([], document.contents)
  const tree = convert(document.contents, [], new Set())
  return tooMany ? { problems, lineOf } : { tree, problems, lineOf }
}

function parseSafely(text: string, lineCounter: LineCounter): Document.Parsed | undefined {
  try {
    return parseDocument(text, {
      lineCounter,
      // The pretty form quotes the source line, which may hold a secret.
      prettyErrors: false,
      uniqueKeys: false,
      // A date is text here; written with its tag it stays the same text.
      customTags: [{ tag: 'tag:yaml.org,2002:timestamp', resolve: (value: string) => value }],
    })
  } catch {
    // The parser reports its own overflow of the stack; a reload must survive whatever else it does.
    return undefined
  }
}

// The source text, so that a policy named 1.0 or true is called what the file says.
function keyText(node: unknown): string | undefined {
  if (!isScalar(node) || node.value === null) return undefined
  return node.source ?? String(node.value)
}

function rangeStart(node: unknown): number | undefined {
  if (isAlias(node) || isMap(node) || isSeq(node) || isScalar(node)) return node.range?.[0]
  return undefined
}

function syntaxHint(code: string): string {
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'Indent with spaces.'
    case 'MULTIPLE_DOCS':
      return 'Keep one document: remove the line --- and what follows.'
    case 'TAG_RESOLVE_FAILED':
      return 'Remove the tag: plain values only.'
    case 'BLOCK_AS_IMPLICIT_KEY':
      return `Quote a value that holds ${quote(': ')}, or put the nested key on its own line.`
    case 'RESOURCE_EXHAUSTION':
      return 'Check that this is the right file: it is nested too deeply.'
    default:
      return 'Check indentation, brackets and quotes near this line; nothing else was checked.'
  }
}
