import { isAllowedTest, readCondition } from './condition.ts'
import type { Line, Section } from './haproxy-file.ts'

/** Where each variable stands in the value of a hit, from the last field on. */
const fields: Readonly<Record<string, number>> = {
  token_id: 1,
  actor: 2,
  client: 3,
  tenant: 4,
  user: 5,
  policy: 6,
  cache: 7,
  ms: 8,
  status: 9,
}

/** Rules behind the action may read these, so a hit has to set them. */
const required = ['token_id', 'actor', 'client', 'tenant', 'user', 'policy']

/** What each hit has in common, beside the policy: a rule may set it without a look into the value. */
const constants: Readonly<Record<string, RegExp>> = {
  status: /^(int|str)\(200\)$/,
  cache: /^str\(hit\)$/,
  ms: /^(int|str)\(0\)$/,
}

const hit = 'var(txn.entra.hit)'
/**
 * Where HAProxy has no room for the text of a hit (`tune.vars.txn-max-size`), the variable is a boolean. That reads as a
 * number, and as headers it is none. So what counts is the length of what follows the digits.
 */
const hitLength = `${hit},ltrim(-0123456789),length`
/** What the second converter looks for: the whole credentials, and what the first one said. */
const sharedKey = 'req.fhdr(authorization),sha2(256),base64,concat(,txn.entra.hit)'

/** Lines that neither end a request nor write a header may stand between those of the fast lane. */
const neutral =
  /^(acl|log|log-format|option|timeout|description|stick-table|no) |^http-request (capture|track-sc\d|sc-[\w-]+\(.*\)|set-log-level|set-timeout|set-nice|set-tos|set-mark|(un)?set-var(-fmt)?\((?!txn\.(entra|auth_response))[^)]*\)) /

/**
 * The lines of a section, with each complete fast lane replaced by the one action that it saves.
 * Without a hit, the request goes to the action; a hit is an allow of the action. If a line of a
 * fast lane is missing, changed or elsewhere, its lines stay, and writing the verdict becomes a
 * finding.
 */
export function foldFastLanes(section: Section): Line[] {
  const { lines } = section
  const folded: Line[] = []
  for (let at = 0; at < lines.length; at++) {
    const lane = fastLaneAt(section, at)
    if (!lane) {
      folded.push(lines[at] as Line)
      continue
    }
    folded.push(...lane.others, {
      ...lane.action,
      words: lane.action.words.slice(0, 3),
      isFastLane: true,
    })
    at = lane.end
  }
  return folded
}

interface FastLane {
  /** The rule with the action, which is the last line. */
  readonly action: Line
  readonly end: number
  /** Lines in between that have nothing to do with it. */
  readonly others: readonly Line[]
}

/** A complete fast lane that begins with this line; undefined where it is none. */
function fastLaneAt(section: Section, start: number): FastLane | undefined {
  const [first] = section.lines.slice(start)
  const [, policy, shared] =
    (first &&
      /^http-request set-var\(txn\.entra\.hit\) req\.hdrs,lua\.entra-auth-hit\(([\w.-]+)(,shared)?\)$/.exec(
        textOf(first),
      )) ??
    []
  if (policy === undefined) return undefined
  const missing = new Set([...required, 'headers', 'ok'])
  if (shared !== undefined) missing.add('shared')
  const others: Line[] = []
  for (let end = start + 1; end < section.lines.length; end++) {
    const line = section.lines[end] as Line
    const part = partOf(line, section, policy, !missing.has('ok'))
    if (part === 'action') {
      return missing.size === 0 ? { action: line, end, others } : undefined
    }
    // Twice the headers would be two values for each of them.
    if ((part === 'headers' || part === 'shared') && !missing.has(part)) return undefined
    // What stands before it does not see its hits.
    if (part !== undefined && part !== 'shared' && missing.has('shared')) return undefined
    if (part !== undefined) missing.delete(part)
    else if (neutral.test(`${textOf(line)} `)) others.push(line)
    else return undefined
  }
  return undefined
}

/**
 * What a line of the fast lane does: the name of the variable that it sets, `shared`, `headers`, or `action`.
 * `isJudged` if `txn.entra.ok` is set already, so that a condition on it means a hit.
 */
function partOf(
  line: Line,
  section: Section,
  policy: string,
  isJudged: boolean,
): string | undefined {
  const { rule, isOnHit } = readRule(line, section)
  const [, variable, value = ''] = /^set-var\(txn\.entra\.(\w+)\) (.*)$/.exec(rule) ?? []
  if (isOnHit === 'marked') {
    return rule === `set-var(txn.entra.hit) ${sharedKey},lua.entra-auth-shared(${policy})`
      ? 'shared'
      : undefined
  }
  if (isOnHit === 'other') return undefined
  if (isOnHit === 'without' || (isOnHit === 'refused' && isJudged)) {
    return rule === `lua.entra-auth ${policy}` ? 'action' : undefined
  }
  const isHit = isOnHit === 'with' || (isOnHit === 'allowed' && isJudged)
  if (rule === `add-headers-bin ${hit}`) return isHit ? 'headers' : undefined
  const isOfAnother = isOnHit === 'refused' || (isOnHit === 'allowed' && !isJudged)
  if (variable === undefined || isOfAnother) return undefined
  const field = /^var\(txn\.entra\.hit\),field\(-(\d+),\|\)$/.exec(value)?.[1]
  if (field !== undefined) return fields[variable] === Number(field) ? variable : undefined
  if (variable !== 'ok') {
    const isConstant =
      variable === 'policy' ? value === `str(${policy})` : constants[variable]?.test(value)
    return isHit && isConstant ? variable : undefined
  }
  const isVerdict =
    value === `${hitLength},bool` ||
    (isOnHit === 'with' && /^(bool\((1|true)\)|always_true)$/.test(value))
  return isVerdict ? 'ok' : undefined
}

interface LaneRule {
  readonly rule: string
  /**
   * Whether it fires always, with a hit or without, with an allow in `txn.entra.ok` or without, where the converter asks
   * for a look at the shared verdicts, or on something else.
   */
  readonly isOnHit: 'always' | 'with' | 'without' | 'allowed' | 'refused' | 'marked' | 'other'
}

/** A rule without its condition; quotes inside arguments mean nothing here. */
function readRule(line: Line, section: Section): LaneRule {
  const at = line.words.findIndex((word, index) => index > 1 && /^(if|unless)$/.test(word))
  const words = at < 0 ? line.words : line.words.slice(0, at)
  const rule = words[0] === 'http-request' ? textOf({ words: words.slice(1) }) : ''
  const condition = readCondition(line.words, section)
  if (!condition) return { rule, isOnHit: at < 0 ? 'always' : 'other' }
  const [group, ...more] = condition.groups
  const [term, ...others] = group ?? []
  const [test, ...tests] = term?.tests ?? []
  if (!term || !test || more.length + others.length + tests.length > 0) {
    return { rule, isOnHit: 'other' }
  }
  const isPositive = (condition.keyword === 'if') !== term.negated
  if (isMark(test)) return { rule, isOnHit: isPositive ? 'marked' : 'other' }
  if (!isHitTest(test)) {
    const isOnAllow = isPositive ? 'allowed' : 'refused'
    return { rule, isOnHit: isAllow(test) ? isOnAllow : 'other' }
  }
  return { rule, isOnHit: isPositive ? 'with' : 'without' }
}

/** True for a hit and for nothing else. `-m found` also holds for the empty text of a miss. */
function isHitTest(test: readonly string[]): boolean {
  const [fetch = '', ...rest] = test
  const text = rest.join(' ')
  if (fetch === `${hitLength},bool`) return text === '' || text === '-m bool'
  return fetch === hitLength && /^(-m int )?(gt 0|ge 1|1:)$|^-m bool$/.test(text)
}

/** True where the first converter has looked at the headers and found no hit of its own thread. */
function isMark(test: readonly string[]): boolean {
  return test[0] === hit && /^-m beg (-- )?-$/.test(test.slice(1).join(' '))
}

/** True after an allow. The lane does not set the name of haproxy-auth-request. */
function isAllow(test: readonly string[]): boolean {
  return isAllowedTest(test) && test[0]?.includes('entra.ok') === true
}

function textOf({ words }: Pick<Line, 'words'>): string {
  return words.map((word) => word.replace(/(?<=[(,])(['"])(.*?)\1(?=[,)])/g, '$2')).join(' ')
}
