/** A sample expression: a fetch with its argument, and converters behind it. */
export interface Expression {
  /** In lower case, with the short names of headers written out: `req.hdr`, `path`, `var`. */
  readonly fetch: string
  readonly argument: string
  /** As written, such as `field(1,:)`. */
  readonly converters: readonly string[]
}

/** One test of an ACL: an expression, how it is compared, and with what. */
export interface Test {
  readonly expression: Expression
  /** `str`, `beg`, `end`, `sub`, `reg`, `dir`, `dom`, `len`, `found`, `bool`, `int`, or `default`. */
  readonly method: string
  readonly ignoresCase: boolean
  /** Some values stand in a file that is not read here. */
  readonly fromFile: boolean
  readonly values: readonly string[]
}

const aliases: Readonly<Record<string, string>> = {
  hdr: 'req.hdr',
  hdr_cnt: 'req.hdr_cnt',
  fhdr: 'req.fhdr',
  cook: 'req.cook',
  url_param: 'urlp',
  uri: 'url',
  'capture.req.uri': 'url',
  'capture.req.method': 'method',
}

const suffix = /^(.+)_(beg|dir|dom|end|len|reg|sub)$/

/** The same expressions and tests are looked at for each way of a request: they are read once. */
const expressions = new Map<string, Expression>()
const tests = new WeakMap<readonly string[], Test>()
const mostExpressions = 10_000

/** Reads an expression; what cannot be read has an unknown fetch and no converters. */
export function readExpression(text: string): Expression {
  const known = expressions.get(text)
  if (known) return known
  if (expressions.size >= mostExpressions) expressions.clear()
  const read = parseExpression(text)
  expressions.set(text, read)
  return read
}

function parseExpression(text: string): Expression {
  const [first = '', ...converters] = splitOutside(text, ',')
  const [, name = first, argument = ''] = /^([^()]*)\((.*)\)$/s.exec(first) ?? []
  const lower = name.trim().toLowerCase()
  return {
    fetch: aliases[lower] ?? lower,
    argument: withoutQuotes(argument),
    converters: converters.map(withoutQuotes),
  }
}

/** HAProxy takes quotes and backslashes off arguments: `var('txn.a')` is `var(txn.a)`. */
export function withoutQuotes(text: string): string {
  return text.replaceAll(/'([^']*)'|"((?:[^"\\]|\\.)*)"/g, (_, single?: string, double?: string) =>
    single === undefined ? (double ?? '').replaceAll(/\\(.)/g, '$1') : single,
  )
}

/** Reads the words of one ACL test. */
export function readTest(words: readonly string[]): Test {
  const known = tests.get(words)
  if (known) return known
  const read = parseTest(words)
  tests.set(words, read)
  return read
}

function parseTest([text = '', ...words]: readonly string[]): Test {
  const read = readExpression(text)
  const [, base, ending] = suffix.exec(read.fetch) ?? []
  const expression = base === undefined ? read : { ...read, fetch: aliases[base] ?? base }
  let method = ending ?? 'default'
  let ignoresCase = false
  let fromFile = false
  let index = 0
  for (; index < words.length; index++) {
    const word = words[index]
    if (word === '-i') ignoresCase = true
    else if (word === '-m') method = words[++index] ?? method
    else if (word === '-f' || word === '-M' || word === '-u') {
      if (word === '-f') fromFile = true
      if (word !== '-M') index++
    } else if (word === '--') {
      index++
      break
    } else if (word !== '-n') break
  }
  return { expression, method, ignoresCase, fromFile, values: words.slice(index) }
}

/** The expressions inside `%[…]` of a log format; none in plain text. */
export function expressionsIn(format: string): string[] {
  const found: string[] = []
  for (let at = format.indexOf('%['); at >= 0; at = format.indexOf('%[', at + 2)) {
    let depth = 0
    let end = at + 2
    for (; end < format.length; end++) {
      const character = format[end]
      if (character === '(') depth++
      if (character === ')') depth--
      if (character === ']' && depth <= 0) break
    }
    found.push(format.slice(at + 2, end))
  }
  return found
}

/** Variables whose values a converter appends, as `concat` does. */
export function variablesIn(converter: string): string[] {
  return converter.match(/\b(?:txn|req|sess|proc|res)\.[\w.]+/g) ?? []
}

/** Splits at a character that stands neither in parentheses nor in quotes. */
function splitOutside(text: string, separator: string): string[] {
  const parts: string[] = ['']
  let depth = 0
  let quote = ''
  for (const character of text) {
    if (quote !== '') quote = character === quote ? '' : quote
    else if (depth > 0 && (character === '"' || character === "'")) quote = character
    else if (character === '(') depth++
    else if (character === ')') depth--
    if (character === separator && depth === 0 && quote === '') parts.push('')
    else parts[parts.length - 1] += character
  }
  return parts
}
