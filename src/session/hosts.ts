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
      const [, name = '', port] =
        /^([a-z0-9._-]{1,253})(:\d{1,5})?$/.exec(host?.toLowerCase() ?? '') ?? []
      if (name === '') return undefined
      const whole =
        port === undefined || (port === ':443' && !isLoopback(name)) ? name : name + port
      if (exact.has(whole)) return whole
      return isLoopback(name) && exact.has(name) ? whole : undefined
    },
  }
}

/** Scheme and host of a page here; without TLS only on this machine, for trying out. */
export function originOf(host: string, isHttps: boolean): string {
  const name = host.replace(/:\d+$/, '')
  return `${isLoopback(name) && !isHttps ? 'http' : 'https'}://${host}`
}
