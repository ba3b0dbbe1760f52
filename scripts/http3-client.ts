/** A client for HTTP/3: Debian's newest curl, in `.cache/curl`. */
import { resolve } from 'node:path'
import { type Command, debianCommand } from './debian-packages.ts'

/** The command that starts it; downloads it on the first call. Rejects as `debianCommand` does. */
export function http3Client(): Promise<Command> {
  return debianCommand(
    {
      name: 'curl',
      file: 'usr/bin/curl',
      suite: 'sid',
      libraries: 'sid',
      versionArgument: '--version',
      version: 'HTTP3',
    },
    resolve(import.meta.dirname, '../.cache/curl'),
  )
}
