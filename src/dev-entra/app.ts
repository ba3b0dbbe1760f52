import { randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { setTimeout as waitFor } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { isLoopback } from '../loopback.ts'
import { addAuthorizeEndpoint } from './authorize-endpoint.ts'
import type { DevEntraContext, Flavour } from './context.ts'
import { addDevSurface } from './dev-surface.ts'
import { clients, createApiDirectory } from './directory.ts'
import { addDiscovery } from './discovery.ts'
import { addEndSession } from './end-session.ts'
import { EntraError, shapeEntraError } from './entra-error.ts'
import { createFaultBoard } from './faults.ts'
import { addKeyVault } from './key-vault.ts'
import { createKeyring, type Random } from './keys.ts'
import { addManagedIdentity } from './managed-identity.ts'
import { parseForm } from './parameters.ts'
import { listInitialRefusals } from './personas.ts'
import { createRefusalBoard } from './refusals.ts'
import { createRegistrations } from './registrations.ts'
import { createRequestCounter, type Endpoint } from './requests.ts'
import { createSignIns } from './sign-ins.ts'
import { createSsoSessions } from './sso-sessions.ts'
import type { TlsIdentity } from './tls.ts'
import { addTokenEndpoint } from './token-endpoint.ts'
import { createTokenIssuer } from './token-issuer.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Counted in `GET /dev/requests` under this name. */
    devEntraEndpoint?: Endpoint
  }
}

export interface DevEntraOptions {
  /** Clock, ms since the epoch. */
  readonly now: () => number
  /** Default `entra`. */
  readonly flavour?: Flavour
  /** Origin in issuers and URLs; default: where the app listens, `http://127.0.0.1:8400` before that. */
  readonly origin?: string
  /** More identifier URIs of the orders API. */
  readonly identifierUris?: readonly string[]
  /** More redirect URIs of the portal. */
  readonly redirectUris?: readonly string[]
  /** Answers on other addresses than loopback too; default false. */
  readonly allowRemote?: boolean
  /** Answers over HTTPS, as MSAL wants it; default: plain HTTP. */
  readonly tls?: TlsIdentity
  /** Default: `randomBytes` of node:crypto. */
  readonly random?: Random
  /** Resolves after that many ms, for the fault `slow`; default: a timer. */
  readonly wait?: (ms: number) => Promise<unknown>
  /** Default: no log. */
  readonly logger?: FastifyServerOptions['logger']
}

/** Port of dev-entra unless told otherwise. */
export const defaultPort = 8400

/**
 * Builds the stand-in for Microsoft Entra ID; it listens when the caller says so. Its keys are made
 * while it becomes ready, in about 0.1 s.
 */
export function buildDevEntra(options: DevEntraOptions): FastifyInstance {
  const { now, flavour = 'entra', random = randomBytes, wait = waitFor } = options
  const app = Fastify({
    logger: options.logger ?? false,
    ...(options.tls && { https: options.tls }),
    // The fault `hang` leaves connections open that nobody else would close.
    forceCloseConnections: true,
    // Fastify's defaults would drop unknown members and convert types, and hide typing errors.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, useDefaults: false } },
  })
  const origin = () =>
    options.origin?.replace(/\/+$/, '') ?? readOrigin(app, options.tls ? 'https' : 'http')
  const apis = createApiDirectory(options.identifierUris)
  const keyring = createKeyring(now, random)
  const issuer = createTokenIssuer({ flavour, origin, now, random, apis, keyring })
  const faults = createFaultBoard(wait)
  const registrations = createRegistrations()
  const context: DevEntraContext = {
    flavour,
    origin,
    now,
    apis,
    keyring,
    issuer,
    faults,
    registrations,
    signIns: createSignIns(now, random),
    sessions: createSsoSessions(random, () => origin().startsWith('https:')),
    refusals: createRefusalBoard(listInitialRefusals()),
  }
  registrations.change(clients.portal, { redirectUris: options.redirectUris ?? [] })
  const requests = createRequestCounter()

  app.addHook('onReady', () => keyring.prepare())
  app.addHook('onRequest', async (request, reply) => {
    const { localAddress } = request.socket
    if (!options.allowRemote && localAddress !== undefined && !isLoopback(localAddress)) {
      const message = 'dev-entra answers on loopback only.'
      return reply.code(403).send({ error: 'forbidden', message })
    }
    const endpoint = request.routeOptions.config.devEntraEndpoint
    if (endpoint) requests.add(endpoint, request.url)
    reply.header('access-control-allow-origin', '*')
  })
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    (_request, body, done) => done(null, parseForm(String(body))),
  )
  app.setErrorHandler((failure, request, reply) =>
    failure instanceof EntraError
      ? reply
          .code(failure.status)
          .send(shapeEntraError(failure, now(), origin(), readCorrelationId(request.headers)))
      : reply.send(failure),
  )

  addDiscovery(app, context)
  addTokenEndpoint(app, context)
  addAuthorizeEndpoint(app, context)
  addEndSession(app, context)
  addManagedIdentity(app, context)
  addKeyVault(app, context, random)
  addDevSurface(app, context, requests)
  return app
}

/** The correlation id that a client sends along; undefined when it sends none. */
function readCorrelationId(headers: IncomingHttpHeaders): string | undefined {
  const chosen = String(headers['client-request-id'])
  return /^[0-9a-f-]{36}$/i.test(chosen) ? chosen : undefined
}

function readOrigin(app: FastifyInstance, scheme: 'http' | 'https'): string {
  const [address] = app.addresses()
  if (address === undefined || typeof address === 'string') {
    return `${scheme}://127.0.0.1:${defaultPort}`
  }
  const host = address.family === 'IPv6' ? `[${address.address}]` : address.address
  // Nobody can ask a wildcard address.
  const reachable = host === '0.0.0.0' || host === '[::]' ? '127.0.0.1' : host
  return `${scheme}://${reachable}:${address.port}`
}
