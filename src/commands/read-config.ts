import type { Config } from '../config/config.ts'
import { loadConfig } from '../config/load.ts'
import type { CommandIo } from './io.ts'
import { requireConfig } from './serve.ts'

/**
 * Loads the configuration for a command that needs no secret keys, so that it also runs without
 * access to them. Prints all problems, with `json` as JSON too, and exits with 78 if there are any.
 */
export async function readConfigWithoutKeys(
  file: string | undefined,
  io: CommandIo,
  json = false,
): Promise<Config> {
  const name = file ?? io.env.ENTRA_AUTH_CONFIG?.trim()
  const { env, readFile } = io
  const source = { env, readFile, withoutKeys: true, ...(file !== undefined && { file }) }
  const loaded = await loadConfig(source)
  return requireConfig(loaded, name, io, json)
}

/** Says that a key file was left out, which only the running service may need to read. */
export function noteUnread(path: string, code: string, io: CommandIo): void {
  io.stderr.write(`not read, and not needed here: ${path} (${code})\n`)
}
