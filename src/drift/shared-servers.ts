import { serverKey } from './address.ts'
import { isAction } from './effect.ts'
import { type Finding, finding } from './finding.ts'
import { type ProxySection, placeOf, type Topology } from './proxy.ts'
import type { Way } from './way.ts'

/** Sections in `mode tcp` that lead to the server of a protected one: a way round the action. */
export function checkSharedServers(
  topology: Topology,
  ways: readonly Way[],
  isExempt: (proxy: ProxySection) => boolean,
): Finding[] {
  const owners = new Map(
    ways
      .filter(({ steps }) => steps.some(({ rule }) => isAction(rule)))
      .flatMap(({ target }) => target.servers.map(({ address }) => [serverKey(address), target])),
  )
  return topology.proxies
    .filter((proxy) => proxy.mode !== 'http' && !isExempt(proxy))
    .filter((proxy) => proxy.kind === 'listen' || topology.entriesOf(proxy).length > 0)
    .flatMap((proxy) =>
      proxy.servers.flatMap(({ line, address }) => {
        const owner = owners.get(serverKey(address))
        if (!owner) return []
        return [
          finding(
            'tcp-bypass',
            placeOf(line, proxy.section),
            `leads in mode ${proxy.mode} to ${address}, the application of ${owner.name}, without the action`,
            'Remove it, or write mode http, the action and the guard here as well.',
          ),
        ]
      }),
    )
}
