import { Readable } from 'node:stream'
import { Command } from 'commander'
import { addDriftCommand } from '../../src/commands/drift.ts'
import { addHaproxyConfigCommand } from '../../src/commands/haproxy-config.ts'
import type { CommandIo } from '../../src/commands/io.ts'
import { addSchemaCommand } from '../../src/commands/schema.ts'
import { reader } from '../config/fixture.ts'

class Exit extends Error {
  readonly code: number
  constructor(code: number) {
    super(`exit ${code}`)
    this.code = code
  }
}

/** What a command wrote and how it ended. */
export interface Outcome {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

/** Runs a command on files that exist in memory only. */
export async function run(
  args: readonly string[],
  files: Readonly<Record<string, string>> = {},
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  let stdout = ''
  let stderr = ''
  let exitCode = 0
  const unused = () => {
    throw new Error('not for this command')
  }
  const io: CommandIo = {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    stdin: Readable.from([]),
    setExitCode: (code) => {
      exitCode = code
    },
    env,
    now: () => Date.parse('2026-01-15T12:00:00Z'),
    readFile: reader(files),
    listFolder: (path) => {
      const folder = `${path.replace(/\/+$/, '')}/`
      const names = Object.keys(files).filter((name) => name.startsWith(folder))
      return names.length === 0 ? undefined : names.map((name) => name.slice(folder.length))
    },
    exit: (code) => {
      throw new Exit(code)
    },
    onReload: unused,
    writeFile: unused,
    exists: () => false,
    createFile: unused,
    onStop: unused,
  }
  const program = new Command('haproxy-entra-auth')
    .exitOverride(({ exitCode }) => io.exit(exitCode))
    .configureOutput({ writeOut: io.stdout.write, writeErr: io.stderr.write })
  addDriftCommand(program, io)
  addHaproxyConfigCommand(program, io)
  addSchemaCommand(program, io)
  const code = await program.parseAsync(args, { from: 'user' }).then(
    () => exitCode,
    (error: unknown) => {
      if (error instanceof Exit) return error.code
      throw error
    },
  )
  return { stdout, stderr, code }
}
