import { isLoopback } from '../loopback.ts'

/** The hosts that people sign in at. */
export interface Hosts {
  /** The host in the form that sessions hold, port included; undefined where it is none of them. */
  match(host: string | undefined): string | undefined
}

/**
 * Creates the look-up from host names in lower case, each maybe with a port. `localhost` and
 * `127.0.0.1` without a port stand for each port of theirs, as for a redirect URI (RFC 8252 section 7.3).
 */
export function createHosts(names: readonly string[]): Hosts {
  const exact = new Set(names)
  return {
    match(host) {
      if (host === undefined) return undefined
      const asked = host.toLowerCase()
      const name = asked.replace(/:\d{1,5}$/, '')
      if (isLoopback(name)) return exact.has(asked) || exact.has(name) ? asked : undefined
      const whole = asked.replace(/:443$/, '')
      return exact.has(whole) ? whole : undefined
    },
  }
}

/** What addresses of a host begin with. */
export { originOf } from '../loopback.ts'
