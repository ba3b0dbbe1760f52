import type { Command } from 'commander'
import { nearest } from '../nearest.ts'

/** Exit code of wrong use, as of all commands. */
const usage = 64

/** Ends with 64: a command has no command of this name. */
export function refuseCommand(parent: Command, name: string): never {
  const near = nearest(
    name,
    parent.commands.map((one) => one.name()),
  )
  const meant = near === undefined ? '' : ` (Did you mean ${near}?)`
  return parent.error(`error: unknown command '${name}'${meant}`, { exitCode: usage })
}
