import { isLoopback } from '../loopback.ts'

/** The host of an address of HAProxy, without its family and port. */
export function hostOf(address: string): string {
  return address
    .replace(/^(?:(?:quic|udp|tcp|ip|mptcp|rhttp)?[46]?@|ipv[46]@)/, '')
    .replace(/:[+\d-]*$/, '')
}

/** One text for the addresses that lead to one service: family, brackets and case do not count. */
export function serverKey(address: string): string {
  const socket = /^(?:unix@|abns@|abnsz@)?([/@].*)$/.exec(address)?.[1]
  if (socket !== undefined) return socket
  const host = hostOf(address)
    .toLowerCase()
    .replace(/^\[|\]$/g, '')
    .replace(/\.$/, '')
    .replace(/^::ffff:(?=\d+\.)/, '')
  const port = /:(\d+)$/.exec(address)?.[1] ?? ''
  const isHere = isLoopback(host) || host === 'localhost' || /^(|\*|0\.0\.0\.0|::)$/.test(host)
  return `${isHere ? 'loopback' : written(host)}:${port === '' ? '' : Number(port)}`
}

/** Numbers of one address can be written in many ways, as `10.1` or with zeros left out. */
function written(host: string): string {
  if (!/^[\d.x]+$|:/.test(host)) return host
  const url = `http://${host.includes(':') ? `[${host}]` : host}`
  return URL.canParse(url) ? new URL(url).hostname : host
}

/** A socket file or a handed-over descriptor is on this host; a variable without a value is unknown. */
export function isLocal(address: string): boolean {
  if (/^(unix|abns|abnsz|sockpair|fd)@|^[/$]/.test(address)) return true
  return isLoopback(hostOf(address))
}
