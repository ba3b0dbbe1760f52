import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { addHealthRoutes } from './admin/health.ts'
import type { Config } from './config/config.ts'
import { configVersion } from './config/version.ts'
import { createHeaderSet } from './identity/headers.ts'
import { type Authorities, createAuthority } from './keys/authority.ts'
import type { Http } from './keys/http.ts'
import type { KeysRuntime } from './keys/issuer-keys.ts'
import { compilePolicies } from './policy/compile.ts'
import { createSignatureEngine } from './token/signature.ts'
import { readCorrelation } from './verify/correlation.ts'
import { describeResources } from './verify/resource-metadata.ts'
import { addVerifyRoutes, sendRefusal } from './verify/route.ts'
import { createTokenCache } from './verify/token-cache.ts'
import { createVerifier } from './verify/verifier.ts'

/** What the service takes from the outside world. */
export interface Runtime extends Omit<KeysRuntime, 'log'> {
  readonly http: Http
  readonly log: FastifyBaseLogger
}

/** The service, composed and not yet listening. */
export interface App {
  readonly verify: FastifyInstance
  readonly authorities: Authorities
  /** Begins to read keys; resolves when each authority was tried once. */
  start(): Promise<void>
  /** Turns readiness red, so that HAProxy sends new requests elsewhere. */
  drain(): void
  /** Lets requests under way finish, then closes. */
  close(): Promise<void>
}

/** Room for a token of 16 KiB and the other headers of a request. */
const maxHeaderBytes = 32 * 1024

/** Composes the service from its configuration. */
export function buildApp(config: Config, runtime: Runtime): App {
  const authorities: Authorities = new Map(
    config.tenants.map((tenant) => [tenant.id, createAuthority(tenant, runtime.http, runtime)]),
  )
  const policies = compilePolicies(config.policies)
  const headerSet = createHeaderSet(config.identityHeaders)
  const resources = describeResources(config)
  let stopping = false

  const verify = buildListener(runtime.log)
  verify.addHook('onSend', async (_request, reply) => {
    if (stopping) reply.header('Connection', 'close')
  })
  addHealthRoutes(verify, { authorities, isStopping: () => stopping })
  for (const { path, document } of resources.values()) {
    verify.get(path, (_request, reply) => reply.type('application/json').send(document))
  }
  addVerifyRoutes(verify, {
    verifier: createVerifier({
      authorities,
      policies,
      headerSet,
      clockSkewSeconds: config.clockSkewSeconds,
      clock: runtime.clock,
      engine: createSignatureEngine(),
      cache: createTokenCache(),
    }),
    policies,
    resources,
    headerSet,
    version: configVersion(config),
    callerKey: config.callerKey,
    clock: runtime.clock,
    isStopping: () => stopping,
  })

  return {
    verify,
    authorities,
    async start() {
      await Promise.all([...authorities.values()].map((authority) => authority.start()))
    },
    drain() {
      stopping = true
    },
    async close() {
      stopping = true
      for (const authority of authorities.values()) authority.stop()
      await verify.close()
      await runtime.http.close()
    },
  }
}

/** A Fastify instance with every limit set and every error in the form of a refusal. */
function buildListener(log: FastifyBaseLogger): FastifyInstance {
  const app = fastify({
    loggerInstance: log,
    // A line for each allowed request would halve the throughput; refusals are logged by the route.
    logController: new LogController({ disableRequestLogging: true }),
    // The request id of the caller is read where a refusal needs it.
    genReqId: () => '',
    trustProxy: false,
    bodyLimit: 1024,
    connectionTimeout: 30_000,
    requestTimeout: 5_000,
    keepAliveTimeout: 75_000,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { maxParamLength: 256, caseSensitive: true },
    http: { maxHeaderSize: maxHeaderBytes, headersTimeout: 5_000 },
    // Header or path that HTTP or the router cannot read: nothing reached a handler.
    frameworkErrors(_error, request, reply) {
      const { requestId } = readCorrelation(request.headers)
      sendRefusal(reply, { allow: false, failure: 'malformed_request' }, requestId)
    },
    clientErrorHandler(_error, socket) {
      if (!socket.writable) return
      socket.end(
        'HTTP/1.1 400 Bad Request\r\nX-Entra-Auth-Verdict: deny\r\nX-Entra-Auth-Reason: malformed_request\r\nCache-Control: no-store\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
      )
    },
  })
  app.setNotFoundHandler((request, reply) => {
    const isMethod = request.method === 'GET' || request.method === 'HEAD'
    const failure = isMethod ? 'not_found' : 'method_not_allowed'
    const { requestId } = readCorrelation(request.headers)
    return sendRefusal(reply, { allow: false, failure }, requestId)
  })
  app.setErrorHandler((error, request, reply) => {
    const { requestId } = readCorrelation(request.headers)
    request.server.log.error({ err: error, requestId }, 'internal error')
    return sendRefusal(reply, { allow: false, failure: 'internal_error' }, requestId)
  })
  return app
}
