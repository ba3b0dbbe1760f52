import { randomUUID } from 'node:crypto'
import { statSync } from 'node:fs'
import type { Command } from 'commander'
import { checkDeployment } from '../check/check.ts'
import { formatReport } from '../check/format.ts'
import type { StoreConfig } from '../config/config.ts'
import { isFromEnvironment, namedByVariables } from '../config/environment.ts'
import { loadConfig } from '../config/load.ts'
import { createHttp, defaultLimits } from '../keys/http.ts'
import { readSealingKeys } from '../session/key-folder.ts'
import { formatJson, screenOf } from '../terminal.ts'
import { quietRuntime } from './explain.ts'
import { type CommandIo, exitCodes } from './io.ts'
import { noteUnread } from './read-config.ts'
import { requireConfig } from './serve.ts'

interface CheckOptions {
  readonly config?: string
  readonly json?: boolean
  readonly offline?: boolean
}

/** Adds `check`. */
export function addCheckCommand(program: Command, io: CommandIo): void {
  program
    .command('check')
    .description('check the configuration, then metadata, keys and clock of each authority')
    .option('--config <file>', 'YAML file (default: ENTRA_AUTH_CONFIG, or environment alone)')
    .option('--json', 'JSON in place of text')
    .option(
      '--offline',
      'ask no authority, and do without key files that only the service may read',
    )
    .addHelpText(
      'after',
      '\nExit codes: 0 ok (maybe with warnings), 1 problems, 69 authority unreachable, 78 configuration wrong',
    )
    .action((options: CheckOptions) => check(options, io))
}

async function check({ config: file, json, offline }: CheckOptions, io: CommandIo): Promise<void> {
  const source = {
    env: io.env,
    readFile: io.readFile,
    ...(file !== undefined && { file }),
    ...(offline && { onUnreadKey: (path: string, code: string) => noteUnread(path, code, io) }),
  }
  const loaded = await loadConfig(source)
  const config = requireConfig(loaded, file ?? io.env.ENTRA_AUTH_CONFIG, io, json)
  const found = await checkDeployment(config, {
    runtime: quietRuntime(io),
    createHttp: (onReply) => createHttp(defaultLimits, onReply, io.env),
    offline: offline === true,
    signIn: {
      env: io.env,
      readFile: io.readFile,
      listFolder: io.listFolder,
      modifiedMs: (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs,
      sizeOf: (path) => statSync(path, { throwIfNoEntry: false })?.size,
      readSealingKeys,
      randomId: randomUUID,
    },
    describeStore,
    onProgress: (line) => void io.stderr.write(`${line}\n`),
  })
  const report = isFromEnvironment(io.env, file)
    ? { ...found, findings: found.findings.map(namedByVariables) }
    : found
  const screen = screenOf(io.stdout, io.env)
  io.stdout.write(json ? formatJson(report) : formatReport(report, screen))
  if (report.verdict === 'problems') io.setExitCode(exitCodes.failure)
  if (report.verdict === 'unreachable') io.setExitCode(exitCodes.unavailable)
}

/** What the server of the store says of itself. */
export async function describeStore(store: StoreConfig): Promise<Readonly<Record<string, string>>> {
  const { connectStore } = await import('../store/connection.ts')
  const connection = await connectStore(store, { onNotice() {}, onClose() {} })
  try {
    return await connection.describe()
  } finally {
    connection.close()
  }
}
