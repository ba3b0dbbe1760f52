import { Command } from 'commander'
import { unknownVariables } from '../config/environment.ts'
import { oneLine } from '../config/problems.ts'
import { addDevEntraCommands } from '../dev-entra/commands.ts'
import { refuseCommand } from '../dev-entra/unknown-command.ts'
import { screenOf, wrapPage } from '../terminal.ts'
import { addCheckCommand } from './check.ts'
import { addCompletionCommand } from './completion.ts'
import { addDriftCommand } from './drift.ts'
import { addExplainCommand } from './explain.ts'
import { addHaproxyConfigCommand } from './haproxy-config.ts'
import { addInitCommand } from './init.ts'
import { type CommandIo, exitCodes } from './io.ts'
import { addPoliciesCommand } from './policies.ts'
import { addRevocationCommands } from './revocations.ts'
import { addSchemaCommand } from './schema.ts'
import { addServeCommand } from './serve.ts'
import { addTestCommand } from './test.ts'

/** Runs the command that the arguments name. */
export async function runProgram(
  version: string,
  io: CommandIo,
  args: readonly string[],
): Promise<void> {
  const { columns } = screenOf(io.stdout, io.env)
  const program = new Command('haproxy-entra-auth')
    .description('Microsoft Entra ID authentication for HAProxy')
    .version(version)
    // Else --version of a command, such as dev-entra token, would be taken for this one.
    .enablePositionalOptions()
    // For all commands. 1 has a meaning of its own in several, so wrong use must not have it.
    .exitOverride(({ code, exitCode }) =>
      io.exit(exitCode !== 0 && isWrongUse(code) ? exitCodes.usage : exitCode),
    )
    // So that descriptions are wrapped on a narrow terminal too.
    .configureHelp({ minWidthToWrap: 20 })
    .configureOutput({
      writeOut: (text) => void io.stdout.write(wrapPage(text, columns)),
      writeErr: (text) => void io.stderr.write(wrapPage(text, columns)),
      getOutHelpWidth: () => columns,
      getErrHelpWidth: () => columns,
      // One line: what is wrong, and what to do.
      outputError: (text) => {
        const sentence = oneLine(text.trim().replace(/\s*\n\s*/g, ' '))
        const isHelped = /;|did you mean|allowed choices/i.test(sentence)
        io.stderr.write(`${sentence}${isHelped ? '' : ' (--help says what there is)'}\n`)
      },
    })
    .addHelpText(
      'after',
      `
Common case, without a file:
  ENTRA_AUTH_TENANT_ID=<tenant id> ENTRA_AUTH_AUDIENCE=<app id>,api://<app id> haproxy-entra-auth serve

Exit codes: 0 done, 1 failed or refused, 64 wrong use or unreadable input, 69 cannot listen or reach an
authority, 78 configuration wrong`,
    )
  addInitCommand(program, io)
  addServeCommand(program, io)
  addCheckCommand(program, io)
  addExplainCommand(program, io)
  addPoliciesCommand(program, io)
  addTestCommand(program, io)
  addRevocationCommands(program, io)
  addDriftCommand(program, io)
  addHaproxyConfigCommand(program, io)
  addSchemaCommand(program, io)
  addCompletionCommand(program, io)
  addDevEntraCommands(program, io)
  addHelpCommands(program)
  program.hook('preAction', (_, command) => {
    if (readsVariables(command)) warnOfUnknownVariables(io)
  })
  await program.parseAsync(args, { from: 'user' })
}

/** `help COMMAND` at each command that has commands; a mistyped one gets the nearest, not all help. */
function addHelpCommands(parent: Command): void {
  for (const child of parent.commands) addHelpCommands(child)
  if (parent.commands.length === 0) return
  parent
    .helpCommand(false)
    .command('help')
    .description('show the help of a command')
    .argument('[command...]')
    .action((names: readonly string[]) => {
      let shown = parent
      for (const name of names) {
        const found = shown.commands.find((one) => one.name() === name)
        if (found === undefined) refuseCommand(shown, name)
        else shown = found
      }
      shown.help()
    })
}

/** Whether a command reads a variable of this prefix, or prints what a service would read. */
function readsVariables(command: Command): boolean {
  const path: string[] = []
  for (let at: Command | null = command; at; at = at.parent) path.push(at.name())
  return !path.some((name) => ['completion', 'schema', 'dev-entra', 'help'].includes(name))
}

function warnOfUnknownVariables({ env, stderr }: CommandIo): void {
  for (const { name, near } of unknownVariables(env)) {
    const meant = near === undefined ? '' : `; did you mean ${near}?`
    stderr.write(`warning: ${oneLine(name)} is set, and nothing reads it${meant}\n`)
  }
}

/** What commander finds wrong itself, with its exit code 1; a command's own error has this code. */
function isWrongUse(code: string): boolean {
  return !['commander.error', 'commander.version', 'commander.helpDisplayed'].includes(code)
}
