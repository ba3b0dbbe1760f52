import type { Command } from 'commander'
import { parseConfigDocument } from '../config/document.ts'
import { oneLine, quote } from '../config/problems.ts'
import { mappingOf } from '../config/values.ts'
import { completeClaims, isReason, judgeClaims } from '../explain/claims.ts'
import { type FailureCode, failures } from '../failure.ts'
import { nearest } from '../nearest.ts'
import { findMissing, type Missing } from '../policy/missing.ts'
import { formatJson, type Screen, screenOf, wrap } from '../terminal.ts'
import type { JsonObject } from '../token/decode.ts'
import type { Rules } from '../verify/rules.ts'
import { readRules, readText } from './explain.ts'
import { type CommandIo, exitCodes } from './io.ts'

interface TestOptions {
  readonly config?: string
  readonly json?: boolean
}

/** One line of the table: who asks which policy, and what should become of it. */
interface Case {
  readonly name: string
  readonly policy: string
  readonly claims: JsonObject
  readonly session: boolean
  /** `allow`, `deny` for any refusal, or the reason of one. */
  readonly expect: string
}

/** A case with what became of it. */
interface Result extends Pick<Case, 'name' | 'policy' | 'expect'> {
  readonly passed: boolean
  readonly got: 'allow' | FailureCode
  /** What the policy wanted, where it refused. */
  readonly missing?: Missing
}

/** Adds `test`. */
export function addTestCommand(program: Command, io: CommandIo): void {
  program
    .command('test')
    .description('run a table of who may do what against the policies')
    .argument('<file>', 'YAML or JSON file with the cases')
    .option('--config <file>', 'YAML file (default: ENTRA_AUTH_CONFIG, or environment alone)')
    .option('--json', 'JSON in place of text')
    .addHelpText(
      'after',
      `
A table:

  cases:
    - { name: a user may read, policy: orders, claims: { scp: Orders.Read, acct: 0 }, expect: allow }
    - { name: a guest may not, policy: orders, claims: { scp: Orders.Read, acct: 1 }, expect: deny }
    - { name: an app needs the role, policy: orders, claims: {}, expect: role_missing }

"expect" is allow, deny (any refusal) or a reason. "policy" is default where it is left out. With
"session: true" the claims are those of a browser session. What a token needs and the claims do not
say is filled in. No authority is asked and no key is read.

Exit codes: 0 all as expected, 1 some are not, 64 the table is wrong, 78 configuration wrong`,
    )
    .action((file: string, options: TestOptions) => test(file, options, io))
}

async function test(file: string, options: TestOptions, io: CommandIo): Promise<void> {
  const text = readText(file, io)
  const rules = await readRules(options, io)
  const { cases, faults } = readCases(text, rules)
  if (faults.length > 0) {
    for (const fault of faults) io.stderr.write(`error: ${oneLine(`${file}: ${fault}`)}\n`)
    return io.exit(exitCodes.usage)
  }
  const results = cases.map((one) => runCase(one, rules, io.now()))
  const failed = results.filter(({ passed }) => !passed).length
  io.stdout.write(
    options.json
      ? formatJson({ passed: results.length - failed, failed, cases: results })
      : formatResults(results, failed, screenOf(io.stdout, io.env)),
  )
  if (failed > 0) io.setExitCode(exitCodes.failure)
}

function runCase(
  { name, policy, claims, session, expect }: Case,
  rules: Rules,
  now: number,
): Result {
  const compiled = rules.policies.get(policy)
  if (!compiled) throw new Error(`no policy ${policy}`)
  const { payload } = completeClaims(claims, compiled, now, session)
  const verdict = judgeClaims(rules, compiled, { payload, session }, now)
  const got = verdict.allow ? 'allow' : verdict.failure
  const passed = got === expect || (expect === 'deny' && got !== 'allow')
  const missing =
    verdict.allow || !verdict.token
      ? undefined
      : findMissing(compiled, verdict.token, verdict.failure)
  return { name, policy, expect, passed, got, ...(missing && { missing }) }
}

/** The cases of a table, and all that is wrong with it: where, what, and what to write. */
interface Table {
  readonly cases: readonly Case[]
  readonly faults: readonly string[]
}

function readCases(text: string, { policies }: Rules): Table {
  const { tree, problems, lineOf } = parseConfigDocument(text)
  if (problems.length > 0) {
    const faults = problems.map(
      ({ line, message, hint }) => `line ${line ?? 1} ${message}. ${hint}`,
    )
    return { cases: [], faults }
  }
  const { cases: list, ...others } = mappingOf(tree) ?? {}
  const faults = Object.keys(others).map(
    (key) =>
      `line ${lineOf([key]) ?? 1}: unknown key ${quote(key)}; a table has the key cases only`,
  )
  if (!Array.isArray(list)) {
    faults.push('has no list "cases"; haproxy-entra-auth test --help shows a table')
  } else if (list.length === 0) {
    // A pipeline that tests nothing must not be green.
    faults.push('"cases" is empty; write at least one case')
  }
  const cases: Case[] = []
  for (const [index, item] of (Array.isArray(list) ? list : []).entries()) {
    const read = readCase(item, [...policies.keys()])
    if (!Array.isArray(read)) cases.push(read as Case)
    else {
      const line = lineOf(['cases', index]) ?? 1
      faults.push(...read.map((fault) => `cases[${index}] (line ${line}): ${fault}`))
    }
  }
  return { cases, faults }
}

const caseKeys = ['name', 'policy', 'claims', 'session', 'expect']

/** One case, or all that is wrong with it. */
function readCase(item: unknown, policies: readonly string[]): Case | string[] {
  const members = mappingOf(item)
  if (!members) return ['is no object; write { policy: …, claims: …, expect: … }']
  const faults = Object.keys(members)
    .filter((key) => !caseKeys.includes(key))
    .map((key) => `unknown key ${quote(key)}${hint(key, caseKeys)}`)
  const { policy = 'default', claims = {}, session = false, expect } = members
  if (typeof policy !== 'string' || !policies.includes(policy)) {
    const word = String(policy)
    faults.push(`no policy ${quote(word)} in the configuration${hint(word, policies)}`)
  }
  if (!mappingOf(claims)) faults.push('"claims" is no object; write { scp: Orders.Read }')
  if (typeof session !== 'boolean') faults.push('"session" is neither true nor false')
  const fault = judgeExpectation(expect)
  if (fault !== undefined) faults.push(fault)
  const { name = `${policy}: ${JSON.stringify(claims)}` } = members
  if (typeof name !== 'string') faults.push('"name" is no text; put it in quotes')
  if (faults.length > 0) return faults
  return { name, policy, claims: { ...mappingOf(claims) }, session, expect } as Case
}

function judgeExpectation(expect: unknown): string | undefined {
  if (expect === undefined) {
    return '"expect" is missing; write allow, deny or a reason such as scope_missing'
  }
  const word = String(expect)
  if (word === 'allow' || word === 'deny' || isReason(word)) return undefined
  const near = nearest(word, ['allow', 'deny', ...Object.keys(failures)])
  const advice = near === undefined ? '' : `; did you mean ${near}?`
  return `"expect" is allow, deny or a reason, not ${quote(word)}${advice}`
}

function hint(word: string, words: readonly string[]): string {
  const near = nearest(word, words)
  return near ? `; did you mean ${near}?` : `; there are: ${words.slice(0, 20).join(', ')}`
}

function formatResults(results: readonly Result[], failed: number, screen: Screen): string {
  const lines = results.flatMap(({ name, policy, passed, expect, got, missing }) => [
    ...wrap(passed ? 'ok' : 'FAILED', `${policy}: ${name}`, 0, 8, {
      screen,
      style: passed ? 'good' : 'bad',
    }),
    ...(passed
      ? []
      : wrap('', `expected ${expect}, got ${got}${describe(missing)}`, 0, 8, { screen })),
  ])
  return `${lines.join('\n')}\n\n${results.length - failed} as expected, ${failed} not\n`
}

function describe(missing: Missing | undefined): string {
  if (!missing) return ''
  const { grant, denyRule, wanted, had } = missing
  const where = grant ?? denyRule
  return `${where ? ` (${where}` : ' ('} wants ${wanted}${had ? `; had ${had}` : ''})`
}
