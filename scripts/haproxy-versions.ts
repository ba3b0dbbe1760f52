/**
 * Gets the tested HAProxy versions into `.cache/haproxy/<version>/`, from Debian packages. Nothing
 * is installed on the machine. The sources are the machine's own apt entry with another suite name,
 * so no address is written here.
 *
 *     node scripts/haproxy-versions.ts [VERSION…]     prints one command line for each version
 */
import { access } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { type Command, debianCommand } from './debian-packages.ts'

/** Where Debian carries a version: one suite, or one for HAProxy and another for its libraries. */
interface Source {
  readonly haproxy: string
  readonly libraries: string
}

/** All are long-term versions of HAProxy. Experimental holds single packages, so needs a base. */
const sources = {
  '2.6': { haproxy: 'bookworm', libraries: 'bookworm' },
  '3.0': { haproxy: 'trixie', libraries: 'trixie' },
  '3.2': { haproxy: 'sid', libraries: 'sid' },
  '3.4': { haproxy: 'experimental', libraries: 'sid' },
} as const satisfies Record<string, Source>

/** A version of HAProxy that the tests know how to get. */
export type HaproxyVersion = keyof typeof sources

/** Every version that the tests run against, oldest first. */
export const haproxyVersions = Object.keys(sources) as HaproxyVersion[]

const cacheDirectory = resolve(import.meta.dirname, '../.cache/haproxy')

/**
 * The command that starts HAProxy of this version; downloads it on the first call. Rejects with a
 * one-line message where that is not possible (not a Debian, no network, no such version there).
 */
export async function haproxyCommand(version: string): Promise<Command> {
  if (!isKnown(version)) {
    throw new Error(`HAProxy ${version} is not one of ${haproxyVersions.join(', ')}`)
  }
  const { haproxy, libraries }: Source = sources[version]
  return debianCommand(
    {
      name: 'haproxy',
      file: 'usr/sbin/haproxy',
      suite: haproxy,
      libraries,
      versionArgument: '-v',
      version: `HAProxy version ${version}.`,
    },
    join(cacheDirectory, version),
  )
}

function isKnown(version: string): version is HaproxyVersion {
  return Object.hasOwn(sources, version)
}

async function main(): Promise<void> {
  const asked = process.argv.slice(2)
  for (const version of asked.length > 0 ? asked : haproxyVersions) {
    const { command, args } = await haproxyCommand(version)
    await access(command)
    process.stdout.write(`${version} ${[command, ...args].join(' ')}\n`)
  }
}

if (process.argv[1] === import.meta.filename) {
  main().catch((error: Error) => {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  })
}
