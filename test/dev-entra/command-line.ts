import { writeFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { addDevEntraCommands } from '../../src/dev-entra/commands.ts'
import { nowMs } from './support.ts'

/** What a command did. */
export interface Outcome {
  exitCode: number
  stdout: string
  stderr: string
  running?: { origin: string; close: () => Promise<void> }
}

/** Runs `haproxy-entra-auth dev-entra` with these arguments, in this process. */
export async function runDevEntra(
  args: string[],
  { env = {}, now = () => nowMs }: { env?: Record<string, string>; now?: () => number } = {},
): Promise<Outcome> {
  const outcome: Outcome = { exitCode: 0, stdout: '', stderr: '' }
  const stdout = { write: (text: string) => (outcome.stdout += text) }
  const stderr = { write: (text: string) => (outcome.stderr += text) }
  const program = new Command('haproxy-entra-auth')
    .version('0.0.0')
    .exitOverride()
    .configureOutput({ writeOut: stdout.write, writeErr: stderr.write })
  addDevEntraCommands(program, {
    stdout,
    stderr,
    env,
    now,
    writeFile: writeFileSync,
    onListen: (running) => {
      outcome.running = running
    },
  })
  try {
    await program.parseAsync(['dev-entra', ...args], { from: 'user' })
  } catch (failure) {
    if (!(failure instanceof CommanderError)) throw failure
    outcome.exitCode = failure.exitCode
  }
  return outcome
}
