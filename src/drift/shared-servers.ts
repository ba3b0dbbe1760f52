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
  const keysOf = (proxy: ProxySection, address: string) =>
    fullAddresses(address, [proxy, ...topology.entriesOf(proxy)]).map(serverKey)
  const owners = new Map(
    ways
      .filter(({ steps }) => steps.some(({ rule }) => isAction(rule)))
      .flatMap(({ target }) =>
        target.servers.flatMap(({ address }) =>
          keysOf(target, address).map((key) => [key, target] as const),
        ),
      ),
  )
  return topology.proxies
    .filter((proxy) => proxy.mode !== 'http' && !isExempt(proxy))
    .filter((proxy) => proxy.kind === 'listen' || topology.entriesOf(proxy).length > 0)
    .flatMap((proxy) =>
      proxy.servers.flatMap(({ line, address }) => {
        const [any] = owners.values()
        const owner = isAnywhere(address)
          ? any
          : keysOf(proxy, address)
              .map((key) => owners.get(key))
              .find((one) => one !== undefined && one !== proxy)
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

/** `option transparent` and a server without an address lead wherever the client wants to go. */
function isAnywhere(address: string): boolean {
  return /^(\*|0\.0\.0\.0|\[?::\]?)(:0)?$/.test(address)
}

/** Without a port, or with one such as `+1000`, a server has the port that the client asked for. */
function fullAddresses(address: string, entries: readonly ProxySection[]): string[] {
  // What a variable without a value holds is the same wherever it stands.
  if (/^(unix|abnsz?|sockpair|fd|rhttp)@|^[/$]|:\d+$/.test(address)) return [address]
  const [, host = address, shift = '0'] = /^(.*?)(?::([+-]\d+))?$/.exec(address) ?? []
  const bound = entries.flatMap(({ binds }) => binds.flatMap(({ addresses }) => addresses))
  return bound.flatMap((one) => {
    const [, first, last = first] = /:(\d+)(?:-(\d+))?$/.exec(one) ?? []
    if (first === undefined) return []
    const count = Math.min(Number(last), 65_535) - Number(first) + 1
    return Array.from(
      { length: Math.max(0, count) },
      (_, index) => `${host}:${Number(first) + index + Number(shift)}`,
    )
  })
}
