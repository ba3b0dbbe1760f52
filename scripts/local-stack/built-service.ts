/** The service as it ships: compiled, and started with the flags that the program asks for. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '../..')

/** Compiles it into `dist`; its own arguments come behind the ones returned. */
export function buildService(): { readonly command: string; readonly args: readonly string[] } {
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  execFileSync(process.execPath, [compiler, '-p', join(root, 'tsconfig.build.json')])
  const program = join(root, 'dist/main.js')
  const flags = /^#!\/usr\/bin\/env -S node (.+)\n/.exec(readFileSync(program, 'utf8'))?.[1]
  if (flags === undefined) throw new Error(`${program} names no flags in its first line`)
  return { command: process.execPath, args: [...flags.split(' '), program] }
}
