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
  const rules = await readRules(options.config, io)
  const cases = readCases(text, rules)
  if (typeof cases === 'string') {
    io.stderr.write(`error: ${oneLine(file)}: ${oneLine(cases)}\n`)
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

/** The cases of a table; a sentence says what is wrong with it. */
function readCases(text: string, { policies }: Rules): readonly Case[] | string {
  const { tree, problems } = parseConfigDocument(text)
  const [problem] = problems
  if (problem) return `line ${problem.line ?? 1} ${problem.message}`
  const list = mappingOf(tree)?.cases
  const others = Object.keys(mappingOf(tree) ?? {}).filter((key) => key !== 'cases')
  if (others.length > 0) return `unknown key ${quote(others[0] ?? '')}`
  if (!Array.isArray(list)) return 'has no list "cases"'
  // A pipeline that tests nothing must not be green.
  if (list.length === 0) return '"cases" is empty'
  const cases: Case[] = []
  for (const [index, item] of list.entries()) {
    const read = readCase(item, [...policies.keys()])
    if (typeof read === 'string') return `cases[${index}]: ${read}`
    cases.push(read)
  }
  return cases
}

const caseKeys = ['name', 'policy', 'claims', 'session', 'expect']

function readCase(item: unknown, policies: readonly string[]): Case | string {
  const members = mappingOf(item)
  if (!members) return 'is no object'
  const unknown = Object.keys(members).find((key) => !caseKeys.includes(key))
  if (unknown !== undefined) return `unknown key ${quote(unknown)}${hint(unknown, caseKeys)}`
  const { policy = 'default', claims = {}, session = false, expect } = members
  if (typeof policy !== 'string' || !policies.includes(policy)) {
    return `no policy ${quote(String(policy))} in the configuration${hint(String(policy), policies)}`
  }
  if (!mappingOf(claims)) return '"claims" is no object'
  if (typeof session !== 'boolean') return '"session" is neither true nor false'
  if (
    typeof expect !== 'string' ||
    !(expect === 'allow' || expect === 'deny' || isReason(expect))
  ) {
    const words = ['allow', 'deny', ...Object.keys(failures)]
    return `"expect" is allow, deny or a reason, not ${quote(String(expect))}${hint(String(expect), words)}`
  }
  const { name = `${policy}: ${JSON.stringify(claims)}` } = members
  if (typeof name !== 'string') return '"name" is no text'
  return { name, policy, claims: { ...mappingOf(claims) }, session, expect }
}

function hint(word: string, words: readonly string[]): string {
  const near = nearest(word, words)
  return near ? `; did you mean ${near}?` : ''
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
