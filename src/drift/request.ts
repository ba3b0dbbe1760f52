import { type Expression, readTest, type Test } from './expression.ts'

/** Undefined where it depends on what is not known. */
export type Truth = boolean | undefined

/** A request of which some parts are known. What is undefined, or missing among the headers, may be anything. */
export interface Request {
  readonly method?: string
  readonly path?: string
  /** Names in lower case; an empty list for a header that the request does not have. */
  readonly headers?: Readonly<Record<string, readonly string[]>>
  readonly isTls?: boolean
  /** Of its answer. */
  readonly status?: number
  /** Bytes of the body of its answer. */
  readonly bodySize?: number
}

/** Whether an ACL test holds for a request. */
export function testHolds(words: readonly string[], request: Request): Truth {
  const test = readTest(words)
  const samples = samplesOf(test.expression, request)
  if (samples === undefined) return undefined
  if (test.method === 'found') return samples.length > 0
  const results = samples.map((sample) => matches(test, sample))
  if (results.includes(true)) return true
  if (results.includes(undefined) || test.fromFile) return undefined
  return false
}

type Sample = string | number | boolean

function samplesOf(expression: Expression, request: Request): readonly Sample[] | undefined {
  const samples = fetched(expression, request)
  return expression.converters.reduce<readonly Sample[] | undefined>(
    (found, converter) => found && converted(found, converter),
    samples,
  )
}

function fetched({ fetch, argument }: Expression, request: Request): Sample[] | undefined {
  const [name = '', occurrence] = argument.toLowerCase().split(',')
  const header = request.headers?.[name]
  switch (fetch) {
    case 'always_true':
    case 'true':
      return [true]
    case 'always_false':
    case 'false':
      return [false]
    case 'bool':
      return [/^(1|true|yes|on)$/i.test(argument)]
    case 'int':
      return [Number(argument)]
    case 'str':
      return [argument]
    case 'method':
      return request.method === undefined ? undefined : [request.method]
    case 'path':
    case 'pathq':
    case 'url':
      return request.path === undefined ? undefined : [request.path]
    case 'ssl_fc':
      return request.isTls === undefined ? undefined : [request.isTls]
    case 'status':
      return request.status === undefined ? undefined : [request.status]
    case 'res.body_size':
      return request.bodySize === undefined ? undefined : [request.bodySize]
    case 'req.hdr':
      return occurrence === undefined ? header?.flatMap((line) => line.split(/\s*,\s*/)) : undefined
    case 'req.fhdr':
      return occurrence === undefined && header ? [...header] : undefined
    case 'req.hdr_cnt':
      return header && [header.flatMap((line) => line.split(',')).length]
    case 'req.fhdr_cnt':
      return header && [header.length]
    default:
      return undefined
  }
}

function converted(samples: readonly Sample[], converter: string): Sample[] | undefined {
  const change: Readonly<Record<string, (sample: Sample) => Sample>> = {
    lower: (sample) => String(sample).toLowerCase(),
    upper: (sample) => String(sample).toUpperCase(),
    length: (sample) => String(sample).length,
    bool: (sample) => sample !== false && sample !== 0,
    not: (sample) => sample === false || sample === 0,
  }
  const name = converter.replace(/\(\)$/, '')
  const apply = Object.hasOwn(change, name) ? change[name] : undefined
  return apply && samples.map(apply)
}

function matches({ method, values, ignoresCase }: Test, sample: Sample): Truth {
  if (typeof sample === 'boolean' || method === 'bool') {
    const isTrue = sample !== false && sample !== 0 && sample !== '0'
    const wanted = !values.some((value) => /^(0|false|no|off)$/i.test(value))
    return isTrue === wanted
  }
  if (typeof sample === 'number' || method === 'int' || method === 'len') {
    return matchesNumber(method === 'len' ? String(sample).length : Number(sample), values)
  }
  const text = ignoresCase ? sample.toLowerCase() : sample
  const some = (holds: (value: string) => boolean) =>
    values.some((value) => holds(ignoresCase ? value.toLowerCase() : value))
  switch (method) {
    case 'default':
    case 'str':
      return some((value) => text === value)
    case 'beg':
      return some((value) => text.startsWith(value))
    case 'end':
      return some((value) => text.endsWith(value))
    case 'sub':
      return some((value) => text.includes(value))
    case 'dir':
      return some((value) => `/${text}/`.includes(`/${value.replace(/^\/+|\/+$/g, '')}/`))
    case 'reg': {
      const patterns = values.map((value) => readPattern(value, ignoresCase))
      if (patterns.some((pattern) => pattern?.test(sample))) return true
      return patterns.includes(undefined) ? undefined : false
    }
    default:
      return undefined
  }
}

function matchesNumber(number: number, values: readonly string[]): Truth {
  let operator = 'eq'
  for (const value of values) {
    if (/^(eq|ge|gt|le|lt)$/.test(value)) {
      operator = value
      continue
    }
    const [low, high] = value.split(':')
    if (high !== undefined) {
      if (number >= Number(low || 0) && number <= Number(high || Infinity)) return true
      continue
    }
    const limit = Number(value)
    if (Number.isNaN(limit) || Number.isNaN(number)) return undefined
    const holds = {
      eq: number === limit,
      ge: number >= limit,
      gt: number > limit,
      le: number <= limit,
      lt: number < limit,
    }
    if (holds[operator as keyof typeof holds]) return true
  }
  return false
}

/**
 * What JavaScript reads as something else: classes such as `[:alnum:]`, a bracket that begins with `]`, and
 * escapes that only PCRE has, such as `\\A`, `\\h` and `\\Q`.
 */
const otherDialect = /\[[^\]]*\[[:.=]|\[\^?\]|\\[^dDwWsSbBnrtfcx0-9\W_]|\\x\{/

/** A pattern of PCRE as one of JavaScript; undefined where the two differ too much. */
export function readPattern(text: string, ignoresCase = false): RegExp | undefined {
  const [, anchor = '', flags = '', rest = text] = /^(\^?)\(\?([a-z]+)\)(.*)$/s.exec(text) ?? []
  if (/[^im s]/.test(flags) || otherDialect.test(rest)) return undefined
  try {
    return new RegExp(anchor + rest, ignoresCase || flags.includes('i') ? 'i' : '')
  } catch {
    return undefined
  }
}
