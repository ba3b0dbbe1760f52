import { type Command, InvalidArgumentError } from 'commander'
import type { Config, PolicyConfig } from '../config/config.ts'
import { isFromEnvironment, sayInVariables } from '../config/environment.ts'
import { type Finding, type FindingCode, findingCodes } from '../drift/finding.ts'
import { fixRegistration } from '../drift/fix.ts'
import { checkHaproxy } from '../drift/haproxy.ts'
import { parseHaproxyFiles } from '../drift/haproxy-file.ts'
import { type Registration, readRegistration } from '../drift/registration.ts'
import { checkRegistration } from '../drift/registration-checks.ts'
import { type DriftReport, formatReport, hasDrift, reportAsJson } from '../drift/report.ts'
import { checkSignInRegistration } from '../drift/sign-in-registration.ts'
import { nearest } from '../nearest.ts'
import { screenOf } from '../terminal.ts'
import { type CommandIo, exitCodes } from './io.ts'
import { readConfigWithoutKeys } from './read-config.ts'

interface DriftOptions {
  haproxy?: string[]
  config?: string
  app?: string[]
  ignore?: FindingCode[]
  json?: boolean
  fix?: boolean
}

/** A registration and the policies that belong to it. */
interface Pairing {
  readonly app: Registration
  readonly policies: PolicyConfig[]
}

/** Adds `drift`. */
export function addDriftCommand(program: Command, io: CommandIo): void {
  program
    .command('drift')
    .description('compare HAProxy, the policies and the app registration')
    .option(
      '--haproxy <file...>',
      'HAProxy configuration, files or folders in the order of its -f options',
    )
    .option('--config <file>', 'YAML file (default: ENTRA_AUTH_CONFIG, or environment alone)')
    .option(
      '--app <[policy=]file>',
      'what "az ad app show" prints, for every policy or for one; repeatable',
      (value: string, before: string[] = []) => [...before, value],
    )
    .option('--ignore <code>', 'leave a finding out; repeatable', readCode)
    .option('--json', 'print JSON')
    .option('--fix', 'print the change to the app registration, for az rest --method PATCH')
    .addHelpText(
      'after',
      `
Exit codes: 0 no drift, 1 drift, 64 wrong use or unreadable input, 78 configuration wrong`,
    )
    // Exit code 1 means drift, so a mistyped option must not have it.
    .exitOverride(({ exitCode }) => io.exit(exitCode === 0 ? 0 : exitCodes.usage))
    .action(async (options: DriftOptions, command: Command) => {
      await drift(options, io, (message) =>
        command.error(`error: ${message}`, { exitCode: exitCodes.usage }),
      )
    })
}

type Refuse = (message: string) => never

async function drift(options: DriftOptions, io: CommandIo, refuse: Refuse): Promise<void> {
  const { app = [], ignore = [] } = options
  if (!options.haproxy && app.length === 0) {
    refuse('nothing to compare; give --haproxy FILE, --app FILE or both')
  }
  if (options.fix && app.length === 0) refuse('--fix changes a registration; give --app FILE')
  const config = await readConfigWithoutKeys(options.config, io, options.json)
  const say = isFromEnvironment(io.env, options.config)
    ? (findings: readonly Finding[]) => findings.map(sayInVariables)
    : (findings: readonly Finding[]) => findings
  const read = (file: string) => readText(file, io, refuse)
  const haproxyFiles = (options.haproxy ?? [])
    .flatMap((path) => configurationFiles(path, io, refuse))
    .map((name) => ({ name, text: read(name) }))
  const pairings = pairRegistrations(app, config, read, refuse)
  if (options.fix) {
    const [pairing, ...others] = pairings
    if (!pairing || others.length > 0) {
      return refuse('--fix prints one registration at a time; give only its --app')
    }
    return printFix(pairing, config, (findings) => reportOf(say(findings), ignore, 0), io)
  }

  const haproxy =
    haproxyFiles.length === 0
      ? { findings: [], ignored: 0 }
      : checkHaproxy(parseHaproxyFiles(haproxyFiles), config)
  const all = [...haproxy.findings, ...checkPairings(pairings, config, io)]
  const report = reportOf(say(all), ignore, haproxy.ignored)
  io.stdout.write(
    options.json ? reportAsJson(report) : formatReport(report, screenOf(io.stdout, io.env)),
  )
  if (hasDrift(report)) io.setExitCode(exitCodes.failure)
}

/** Prints the change; what it leaves open goes to stderr and decides about the exit code. */
function printFix(
  { app, policies }: Pairing,
  config: Config,
  report: (findings: readonly Finding[]) => DriftReport,
  io: CommandIo,
): void {
  const patch = fixRegistration(app, policies)
  io.stdout.write(`${JSON.stringify(patch, undefined, 2)}\n`)
  const { api = {}, ...rest } = patch
  const fixed = { ...app.raw, ...rest, api: { ...Object(app.raw.api), ...Object(api) } }
  const after = readRegistration(JSON.stringify(fixed))
  if (typeof after === 'string') throw new Error(`the changed registration ${after}`)
  const left = report(checkPairings([{ app: after, policies }], config, io))
  if (!hasDrift(left)) return
  io.stderr.write(`Not changed by this:\n${formatReport(left)}`)
  io.setExitCode(exitCodes.failure)
}

function checkPairings(
  pairings: readonly Pairing[],
  config: Config,
  { now }: Pick<CommandIo, 'now'>,
): Finding[] {
  return pairings.flatMap(({ app, policies }) => [
    ...checkRegistration(app, policies, config),
    ...checkSignInRegistration(app, config, now()),
  ])
}

function reportOf(
  findings: readonly Finding[],
  ignore: readonly FindingCode[],
  ignored: number,
): DriftReport {
  const kept = findings.filter(({ code }) => !ignore.includes(code))
  return { findings: kept, ignored: ignored + findings.length - kept.length }
}

/** `--app FILE` is for all policies that have no `--app POLICY=FILE` of their own. */
function pairRegistrations(
  options: readonly string[],
  config: Config,
  read: (file: string) => string,
  refuse: Refuse,
): Pairing[] {
  const names = config.policies.map(({ name }) => name)
  const fileOf = new Map<string, string>()
  let shared: string | undefined
  for (const option of options) {
    const [, policy, file] = /^([^=/]+)=(.+)$/s.exec(option) ?? []
    if (policy === undefined || file === undefined) {
      if (shared !== undefined) refuse('two --app FILE without a policy; write --app POLICY=FILE')
      shared = option
    } else if (!names.includes(policy)) {
      refuse(
        `--app names the policy ${policy}, which is not configured; configured: ${names.join(', ')}`,
      )
    } else if (fileOf.has(policy)) refuse(`two --app for the policy ${policy}`)
    else fileOf.set(policy, file)
  }
  const pairings = new Map<string, Pairing>()
  for (const policy of config.policies) {
    const file = fileOf.get(policy.name) ?? shared
    if (file === undefined) continue
    const pairing = pairings.get(file) ?? { app: registrationIn(file, read, refuse), policies: [] }
    pairing.policies.push(policy)
    pairings.set(file, pairing)
  }
  return [...pairings.values()]
}

function registrationIn(file: string, read: (file: string) => string, refuse: Refuse) {
  const app = readRegistration(read(file))
  return typeof app === 'string' ? refuse(`${file} ${app}`) : app
}

/** A folder stands for its `*.cfg` in the order of their bytes, without hidden ones, as for HAProxy. */
function configurationFiles(path: string, io: CommandIo, refuse: Refuse): readonly string[] {
  const names = io.listFolder(path)
  if (names === undefined) return [path]
  const files = names
    .filter((name) => name.endsWith('.cfg') && !name.startsWith('.'))
    .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  if (files.length === 0) return refuse(`no file *.cfg in the folder ${path}`)
  return files.map((name) => `${path.replace(/\/+$/, '')}/${name}`)
}

function readText(file: string, io: CommandIo, refuse: Refuse): string {
  try {
    return io.readFile(file)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable'
    return refuse(`cannot read ${file} (${code}); check its path and permissions`)
  }
}

function readCode(value: string, before: FindingCode[] = []): FindingCode[] {
  const code = findingCodes.find((one) => one === value)
  if (code !== undefined) return [...before, code]
  const near = nearest(value, findingCodes)
  throw new InvalidArgumentError(
    near === undefined
      ? 'There is no finding of this code; a report names the code of each finding.'
      : `Did you mean ${near}?`,
  )
}
