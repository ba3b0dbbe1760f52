import { isLoopback } from '../loopback.ts'
import type { ListenAddress } from './config.ts'
import { defaults } from './defaults.ts'
import type { Report } from './problems.ts'
import { memberOf, textOf } from './values.ts'

/** Addresses of the three listeners. */
export type Listeners = Readonly<Record<'listen' | 'metrics' | 'admin', ListenAddress>>

/** Checks host and port of each listener, and that no two want the same address. */
export function checkListeners(tree: unknown, report: Report): Listeners {
  const listeners: Listeners = {
    listen: addressOf(tree, 'listen', defaults.listenPort),
    metrics: addressOf(tree, 'metrics', defaults.metricsPort),
    admin: addressOf(tree, 'admin', defaults.adminPort),
  }
  const names = ['listen', 'metrics', 'admin'] as const
  for (const [index, name] of names.entries()) {
    const earlier = names.slice(0, index).find((other) => clash(listeners[other], listeners[name]))
    if (earlier === undefined) continue
    report(
      [name],
      `wants the same address as ${earlier}: port ${listeners[name].port}`,
      'Give each listener its own port.',
    )
  }
  const admin = memberOf(tree, 'admin')
  if (!isLoopback(listeners.admin.host) && memberOf(admin, 'adminKeyFile') === undefined) {
    report(
      ['admin', 'adminKeyFile'],
      'is missing although the admin listener is not on loopback',
      'Name a file that holds the admin key, or listen on 127.0.0.1.',
    )
  }
  return listeners
}

/** Host and port of a section, on loopback unless it says otherwise. */
export function addressOf(tree: unknown, name: string, defaultPort: number): ListenAddress {
  const section = memberOf(tree, name)
  const port = memberOf(section, 'port')
  return {
    host: textOf(memberOf(section, 'host')) ?? defaults.host,
    port: typeof port === 'number' ? port : defaultPort,
  }
}

/** Whether two listeners cannot both have their address. */
export function clash(a: ListenAddress, b: ListenAddress): boolean {
  if (a.port !== b.port || a.port === 0) return false
  const [hostA, hostB] = [plainHost(a.host), plainHost(b.host)]
  return hostA === hostB || isWildcard(hostA) || isWildcard(hostB)
}

function plainHost(host: string): string {
  const lower = host.toLowerCase()
  return lower === 'localhost' ? '127.0.0.1' : lower
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::'
}
