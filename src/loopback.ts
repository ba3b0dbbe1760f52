import { isIPv4 } from 'node:net'

/** Whether a host name or address (IPv6 with or without brackets) means this machine only. */
export function isLoopback(host: string): boolean {
  const bare = host.toLowerCase().replace(/^\[(.*)\]$/, '$1')
  const address = bare.startsWith('::ffff:') ? bare.slice('::ffff:'.length) : bare
  return (
    address === 'localhost' || address === '::1' || (isIPv4(address) && address.startsWith('127.'))
  )
}

/** Scheme and host of a page here; without TLS only on this machine, for trying out. */
export function originOf(host: string, isHttps: boolean): string {
  const name = host.replace(/:.*/, '')
  return `${isLoopback(name) && !isHttps ? 'http' : 'https'}://${host}`
}
