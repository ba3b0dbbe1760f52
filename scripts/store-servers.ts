/**
 * Gets the servers that the tests of the store run against into `.cache/store/`, out of Debian
 * packages: Redis of this release and Valkey.
 *
 *     node scripts/store-servers.ts     prints one command line for each
 */
import { join, resolve } from 'node:path'
import { type Command, debianCommand } from './debian-packages.ts'

const servers = {
  redis: {
    name: 'redis-server',
    with: ['redis-tools'],
    file: 'usr/bin/redis-server',
    suite: 'bookworm',
    libraries: 'bookworm',
    versionArgument: '--version',
    version: 'Redis server v=7.0.',
  },
  valkey: {
    name: 'valkey-server',
    with: ['valkey-tools'],
    file: 'usr/bin/valkey-server',
    suite: 'trixie',
    libraries: 'trixie',
    versionArgument: '--version',
    version: 'server v=8.',
  },
} as const

/** A server that the tests know how to get. */
export type StoreServer = keyof typeof servers

/** Every server that the tests run against. */
export const storeServers = Object.keys(servers) as StoreServer[]

const cacheDirectory = resolve(import.meta.dirname, '../.cache/store')

/** The command that starts a server; downloads it on the first call. */
export function storeServerCommand(server: StoreServer): Promise<Command> {
  return debianCommand(servers[server], join(cacheDirectory, server))
}

if (process.argv[1] === import.meta.filename) {
  for (const server of storeServers) {
    const { command, args } = await storeServerCommand(server)
    process.stdout.write(`${server} ${[command, ...args].join(' ')}\n`)
  }
}
