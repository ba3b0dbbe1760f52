import type { Command } from 'commander'
import { configFileSchema } from '../config/schema.ts'
import type { CommandIo } from './io.ts'

/** Adds `schema`. */
export function addSchemaCommand(program: Command, io: CommandIo): void {
  program
    .command('schema')
    .description('print the JSON Schema of the configuration file, for editors')
    .action(() => {
      const { $schema, title, ...rest } = configFileSchema as typeof configFileSchema & {
        $schema: string
        title: string
      }
      io.stdout.write(`${JSON.stringify({ $schema, title, ...rest }, undefined, 2)}\n`)
    })
}
