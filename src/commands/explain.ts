import type { Command } from 'commander'
import type { Config, SignInConfig } from '../config/config.ts'
import { parseConfigDocument } from '../config/document.ts'
import { isFromEnvironment, wordForVariables } from '../config/environment.ts'
import { loadConfig } from '../config/load.ts'
import { oneLine, quote } from '../config/problems.ts'
import { mappingOf } from '../config/values.ts'
import { completeClaims } from '../explain/claims.ts'
import { createExplainer } from '../explain/explainer.ts'
import type { Explanation } from '../explain/explanation.ts'
import { formatExplanation } from '../explain/format.ts'
import { explainSession } from '../explain/session.ts'
import { createAuthority } from '../keys/authority.ts'
import { createHttp, defaultLimits } from '../keys/http.ts'
import type { KeysRuntime } from '../keys/issuer-keys.ts'
import { nearest } from '../nearest.ts'
import { prepareRevocations } from '../revocation/lifetimes.ts'
import { createRevocationList } from '../revocation/revocation-list.ts'
import type { RevocationStore } from '../revocation/revocation-store.ts'
import { readIfThere } from '../revocation/whole-file.ts'
import { readSealingKeys } from '../session/key-folder.ts'
import type { SealingKeys } from '../session/sealing.ts'
import { formatJson, screenOf } from '../terminal.ts'
import { readOrigin } from '../token/claims.ts'
import { decodeToken, type JsonObject } from '../token/decode.ts'
import { createSignatureEngine } from '../token/signature.ts'
import { compileRules, type Rules } from '../verify/rules.ts'
import { type CommandIo, exitCodes } from './io.ts'
import { noteUnread, readConfigWithoutKeys } from './read-config.ts'
import { openRevocations } from './revocation-place.ts'
import { requireConfig } from './serve.ts'
import { decodeText, findSessionCookie, findToken } from './token-input.ts'

/** Characters. */
const maxInputLength = 32 * 1024

interface ExplainOptions {
  readonly policy: string
  readonly config?: string
  readonly json?: boolean
  readonly claims?: string
  readonly host?: string
}

/** Adds `explain`. */
export function addExplainCommand(program: Command, io: CommandIo): void {
  program
    .command('explain')
    .description('tell why a policy admits or refuses the token or session on standard input')
    .option('--policy <name>', 'policy to evaluate', 'default')
    .option('--config <file>', 'YAML file (default: ENTRA_AUTH_CONFIG, or environment alone)')
    .option('--claims <file>', 'claims (JSON or YAML) in place of a token; asks no authority')
    .option('--host <name>', 'for a session: the host that the browser was at (default: its own)')
    .option('--json', 'JSON in place of text')
    .addHelpText(
      'after',
      `
Example: haproxy-entra-auth explain --policy orders < token.txt

It takes the cookie of a session too: its value, or the line Cookie. For that it reads signIn.sealingKeys,
so run it on the machine of the service, as its user.

With --claims, what a token needs and the file does not say is filled in: tenant and audience of the
policy, times, ids of nobody. Claims without scp are those of an app.

It prints claims, verified or not, but never the token, its signature or the cookie.
Exit codes: 0 allow, 1 refused, 64 no input, 69 authority unreachable, 78 configuration wrong`,
    )
    .action((options: ExplainOptions) => explain(options, io))
}

async function explain(options: ExplainOptions, io: CommandIo): Promise<void> {
  if (options.claims !== undefined) return explainClaims(options.claims, options, io)
  const text = await readInput(io)
  const { config: file } = options
  const source = {
    env: io.env,
    readFile: io.readFile,
    ...(file !== undefined && { file }),
    onUnreadKey: (path: string, code: string) => noteUnread(path, code, io),
  }
  const name = file ?? io.env.ENTRA_AUTH_CONFIG
  const config = requireConfig(await loadConfig(source), name, io, options.json)
  const http = createHttp(defaultLimits, undefined, io.env)
  const authorities = new Map(
    config.tenants.map((tenant) => [tenant.id, createAuthority(tenant, http, quietRuntime(io))]),
  )
  const rules = compileRules(config, authorities)
  const policy = rules.policies.get(options.policy) ?? refusePolicy(options.policy, rules, io)
  const cookie = config.signIn ? findSessionCookie(text) : undefined
  const token = findToken(text)
  const sealingKeys =
    cookie === undefined ? undefined : await readKeysOf(config.signIn as SignInConfig, io)
  const revocations = await openRevocations(config, io.now, () => {}, { readOnly: true })
  try {
    if (cookie === undefined) await readKeysFor(token, rules)
    prepareRevocations(revocations, config)
    await readRevocations(revocations, config, io)
    if (cookie !== undefined && sealingKeys) {
      const context = { clock: io.now, sealingKeys, revocations: () => revocations.list }
      const session = { cookie, host: options.host }
      return finish(explainSession(context, rules, policy, session), options, io)
    }
    const explainer = createExplainer({
      clock: io.now,
      engine: createSignatureEngine(),
      revocations: () => revocations.list,
    })
    const explanation = await explainer.explain(rules, policy, {
      authorization: `Bearer ${token}`,
      ambiguous: false,
      callerKey: undefined,
      hasBody: false,
    })
    finish(explanation, options, io)
  } finally {
    await revocations.stop?.()
    await http.close()
  }
}

/** Explains claims, which need neither keys nor revocations. */
async function explainClaims(path: string, options: ExplainOptions, io: CommandIo): Promise<void> {
  const claims = readClaimsFile(path, io)
  const rules = await readRules(options, io)
  const policy = rules.policies.get(options.policy) ?? refusePolicy(options.policy, rules, io)
  const { payload, filled } = completeClaims(claims, policy, io.now())
  io.stderr.write(`not checked: form, issuer, key, signature, revocations\n`)
  if (filled.length > 0) io.stderr.write(`filled in: ${filled.join(', ')}\n`)
  const explainer = createExplainer({
    clock: io.now,
    engine: createSignatureEngine(),
    revocations: () => createRevocationList([]),
  })
  finish(explainer.explainClaims(rules, policy, { payload }), options, io)
}

/** The rules of a configuration, whose authorities have no keys yet and are not asked. */
export async function readRules(
  { config: file, json }: Pick<ExplainOptions, 'config' | 'json'>,
  io: CommandIo,
): Promise<Rules> {
  const config = await readConfigWithoutKeys(file, io, json)
  const http = createHttp(defaultLimits, undefined, io.env)
  const authorities = new Map(
    config.tenants.map((tenant) => [tenant.id, createAuthority(tenant, http, quietRuntime(io))]),
  )
  await http.close()
  return compileRules(config, authorities)
}

function readClaimsFile(path: string, io: CommandIo): JsonObject {
  const { tree, problems } = parseConfigDocument(readText(path, io))
  const claims = problems.length === 0 ? mappingOf(tree) : undefined
  if (claims) return { ...claims }
  const [problem] = problems
  const what = problem
    ? `line ${problem.line ?? 1} ${problem.message}. ${problem.hint}`
    : 'is no JSON or YAML object of claims; write one like { scp: Orders.Read, acct: 0 }'
  io.stderr.write(`error: ${oneLine(`${path} ${what}`)}\n`)
  return io.exit(exitCodes.usage)
}

/** The text of a file that the command line names; exits with 64 where it cannot be read. */
export function readText(path: string, io: CommandIo): string {
  try {
    return io.readFile(path)
  } catch (error) {
    const { code = 'unreadable' } = error as NodeJS.ErrnoException
    io.stderr.write(
      `error: cannot read ${oneLine(path)} (${code}); check its path and permissions\n`,
    )
    return io.exit(exitCodes.usage)
  }
}

function finish(
  explanation: Explanation,
  { json, config }: Pick<ExplainOptions, 'json' | 'config'>,
  io: CommandIo,
): void {
  const screen = screenOf(io.stdout, io.env)
  const told = isFromEnvironment(io.env, config) ? inVariables(explanation) : explanation
  io.stdout.write(json ? formatJson(told) : formatExplanation(told, screen))
  if (explanation.verdict === 'allow') return
  io.setExitCode(explanation.verdict === 'unavailable' ? exitCodes.unavailable : exitCodes.failure)
}

/** The advice for somebody who has no file to change. */
function inVariables(explanation: Explanation): Explanation {
  const checks = explanation.checks.map((check) => ({
    ...check,
    changes: check.changes.map((one) => ({ ...one, text: wordForVariables(one.text) })),
  }))
  return { ...explanation, checks }
}

/** Asks for the keys of the one issuer that the token names, if it is configured. */
async function readKeysFor(token: string, rules: Rules): Promise<void> {
  const decoded = decodeToken(token)
  const origin = decoded.ok ? readOrigin(decoded.value.payload) : decoded
  if (!origin.ok) return
  await rules.authorities.get(origin.value.tenantId)?.issuerKeys(origin.value.version).refresh()
}

/** Reads the revocations, or says that they were not: what cannot be read is not empty. */
async function readRevocations(
  revocations: RevocationStore,
  { store, revocationFile }: Config,
  io: CommandIo,
): Promise<void> {
  const why = await lookAt().catch(({ code, message }: NodeJS.ErrnoException) => code ?? message)
  if (why === undefined) return
  const hint = 'run it on the machine of the service, as its user'
  io.stderr.write(`not checked: revocations (${oneLine(why)}); ${hint}\n`)

  async function lookAt(): Promise<string | undefined> {
    if (store) return void (await revocations.start())
    await revocations.reload()
    if (revocationFile === undefined || revocations.list.size > 0) return undefined
    const isThere = (await readIfThere(revocationFile)) !== undefined
    return isThere ? undefined : `${revocationFile} is not there`
  }
}

/** The keys that open sessions; exits with 78 where they cannot be read. */
async function readKeysOf({ sealingKeys }: SignInConfig, io: CommandIo): Promise<SealingKeys> {
  try {
    return await readSealingKeys(sealingKeys)
  } catch (error) {
    const hint = 'run it on the machine of the service, as its user'
    io.stderr.write(`error: signIn.sealingKeys: ${(error as Error).message}; ${hint}\n`)
    return io.exit(exitCodes.configuration)
  }
}

async function readInput({ stdin, stderr, exit }: CommandIo): Promise<string> {
  if (stdin.isTTY) {
    stderr.write('error: the token comes from standard input: haproxy-entra-auth explain < FILE\n')
    return exit(exitCodes.usage)
  }
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of stdin) {
    bytes += chunk.length
    // UTF-16 takes two bytes a character.
    if (bytes > 2 * maxInputLength + 2) break
    chunks.push(chunk)
  }
  const text = decodeText(Buffer.concat(chunks))
  if (bytes > 2 * maxInputLength + 2 || text.length > maxInputLength) {
    stderr.write('error: more than 32 KiB on standard input; send one token and nothing else\n')
    return exit(exitCodes.usage)
  }
  if (findToken(text) !== '') return text
  stderr.write('error: nothing on standard input; pipe the token in\n')
  return exit(exitCodes.usage)
}

function refusePolicy(name: string, { policies }: Rules, { stderr, exit }: CommandIo): never {
  const names = [...policies.keys()]
  const near = nearest(name, names)
  const hint = near ? `did you mean ${near}?` : `there are: ${names.join(', ')}`
  stderr.write(`error: no policy ${oneLine(quote(name))} in the configuration; ${hint}\n`)
  return exit(exitCodes.configuration)
}

/** Keys for one command: no background refresh, and what would be logged is in the output. */
export function quietRuntime(io: Pick<CommandIo, 'now'>): KeysRuntime {
  return {
    clock: io.now,
    random: () => 0,
    schedule: () => () => {},
    log: { info() {}, warn() {} },
  }
}
