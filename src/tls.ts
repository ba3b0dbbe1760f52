import { createServer, type Server } from 'node:https'
import { isDeepStrictEqual } from 'node:util'
import type { FastifyServerFactory } from 'fastify'
import type { TlsConfig } from './config/config.ts'
import type { ServerOptions } from './listener.ts'

/** Makes the servers of a listener that speaks TLS, and gives them another certificate later. */
export interface TlsServers {
  readonly serverFactory: FastifyServerFactory
  /**
   * Applies to new connections. Existing connections keep their certificate. Returns false if
   * nothing changed.
   */
  renew(tls: TlsConfig): boolean
  /** When the certificate ends, in ms since the epoch. */
  readonly notAfterMs: number
}

/** A client that connects and says nothing must not hold its socket for Node's two minutes. */
const handshakeTimeoutMs = 5_000

/** Creates the maker; TLS 1.2 and 1.3, as Node has it. */
export function createTlsServers(tls: TlsConfig): TlsServers {
  let current = tls
  // Two of them where `localhost` is an address of each family.
  const servers = new Set<Server>()
  return {
    get notAfterMs() {
      return current.notAfterMs
    },
    serverFactory(handler, options) {
      const { http, keepAliveTimeout, requestTimeout, connectionTimeout } = options as ServerOptions
      const server = createServer(
        {
          ...http,
          keepAliveTimeout,
          requestTimeout,
          handshakeTimeout: handshakeTimeoutMs,
          ...contextOf(current),
        },
        handler,
      )
      server.setTimeout(connectionTimeout)
      servers.add(server)
      return server
    },
    renew(next) {
      if (isDeepStrictEqual(next, current)) return false
      for (const server of servers) server.setSecureContext(contextOf(next))
      current = next
      return true
    },
  }
}

function contextOf({ certificate, key }: TlsConfig) {
  return { cert: certificate, key }
}
