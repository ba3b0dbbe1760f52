import type { Config } from '../config/config.ts'
import { serverKey } from './address.ts'
import type { ProxySection, Topology } from './proxy.ts'

/**
 * The backends of the sign-in listener, which answers whoever is not signed in and knows no other path
 * than its own: all of whose servers have the port of `signIn.listen`. None without `signIn`.
 */
export function findSignIn(
  { proxies }: Topology,
  { signIn }: Pick<Config, 'signIn'>,
): readonly ProxySection[] {
  if (!signIn) return []
  const port = `:${signIn.listen.port}`
  return proxies.filter(
    ({ kind, name, servers }) =>
      kind === 'backend' &&
      name === 'entra-sign-in' &&
      servers.length > 0 &&
      servers.every(({ address }) => serverKey(address).endsWith(port)),
  )
}
