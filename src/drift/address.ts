import { isLoopback } from '../loopback.ts'

/** The host of an address of HAProxy, without its family and port. */
export function hostOf(address: string): string {
  return address
    .replace(/^(?:(?:quic|udp|tcp|ip|mptcp|rhttp)?[46]?@|ipv[46]@)/, '')
    .replace(/:[+\d-]*$/, '')
}

/** One text for the addresses that lead to one service: family, brackets, case and spelling do not count. */
export function serverKey(address: string): string {
  const socket = /^(?:unix@|abns@|abnsz@)?([/@].*)$/.exec(address)?.[1]
  if (socket !== undefined) return socket
  const host = plainHost(
    hostOf(address)
      .toLowerCase()
      .replace(/^\[|\]$/g, '')
      .replace(/\.$/, ''),
  )
  const port = /:(\d+)$/.exec(address)?.[1] ?? ''
  const isHere = isLoopback(host) || host === 'localhost' || /^(|\*|0\.0\.0\.0|::)$/.test(host)
  return `${isHere ? 'loopback' : host}:${port === '' ? '' : Number(port)}`
}

/** An address in its usual form: `10.1`, `0x0a000001` and `::ffff:a00:1` are 10.0.0.1. */
function plainHost(host: string): string {
  if (!/^\d[\da-fx.]*$|:/.test(host)) return host
  const url = `http://${host.includes(':') ? `[${host}]` : host}`
  if (!URL.canParse(url)) return host
  const usual = new URL(url).hostname.replace(/^\[|\]$/g, '')
  const [, high, low] = /^::ffff:([\da-f]{1,4}):([\da-f]{1,4})$/.exec(usual) ?? []
  if (high === undefined || low === undefined) return usual
  return [high, low]
    .map((part) => Number.parseInt(part, 16))
    .flatMap((part) => [part >> 8, part & 255])
    .join('.')
}

/** A socket file or a handed-over descriptor is on this host; a variable without a value is unknown. */
export function isLocal(address: string): boolean {
  if (/^(unix|abns|abnsz|sockpair|fd)@|^[/$]/.test(address)) return true
  return isLoopback(hostOf(address))
}
