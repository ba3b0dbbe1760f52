import { isDeepStrictEqual } from 'node:util'
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyRequest,
  LogController,
} from 'fastify'
import { addHealthRoutes } from './admin/health.ts'
import type { Config } from './config/config.ts'
import type { FailureCode } from './failure.ts'
import { type Authorities, type Authority, createAuthority } from './keys/authority.ts'
import type { Http } from './keys/http.ts'
import type { KeysRuntime } from './keys/issuer-keys.ts'
import { createSignatureEngine } from './token/signature.ts'
import { readCorrelation } from './verify/correlation.ts'
import { addResourceMetadataRoutes } from './verify/resource-metadata.ts'
import { addVerifyRoutes, sendRefusal } from './verify/route.ts'
import { compileRules } from './verify/rules.ts'
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
  /** Puts another configuration in force; listen addresses stay as they were. */
  reload(config: Config): Promise<void>
  /** Turns readiness red, so that HAProxy sends new requests elsewhere. */
  drain(): void
  /** Lets requests under way finish, then closes. */
  close(): Promise<void>
}

/** Room for a token of 16 KiB and the other headers of a request. */
const maxHeaderBytes = 32 * 1024

/** Composes the service from its configuration. */
export function buildApp(config: Config, runtime: Runtime): App {
  let authorities = createAuthorities(config, new Map(), runtime)
  let rules = compileRules(config, authorities)
  let stopping = false
  const isStopping = () => stopping

  const verify = buildListener(runtime.log)
  verify.addHook('onSend', async (_request, reply) => {
    if (stopping) reply.header('Connection', 'close')
  })
  addHealthRoutes(verify, { authorities: () => authorities, isStopping })
  addResourceMetadataRoutes(
    verify,
    () => rules.resources,
    (tenantId) => authorities.get(tenantId)?.issuerKeys('2.0').issuer,
  )
  addVerifyRoutes(verify, {
    verifier: createVerifier({
      clock: runtime.clock,
      engine: createSignatureEngine(),
      cache: createTokenCache(),
    }),
    rules: () => rules,
    clock: runtime.clock,
    isStopping,
  })

  return {
    verify,
    get authorities() {
      return authorities
    },
    async start() {
      await Promise.all([...authorities.values()].map((authority) => authority.start()))
    },
    async reload(next) {
      const former = authorities
      authorities = createAuthorities(next, former, runtime)
      const isNew = (authority: Authority) => former.get(authority.tenant.id) !== authority
      // The new rules count at once; a new tenant answers 503 until its keys are there.
      rules = compileRules(next, authorities)
      for (const [id, authority] of former)
        if (authorities.get(id) !== authority) authority.retire()
      await Promise.all([...authorities.values()].filter(isNew).map((added) => added.start()))
    },
    drain() {
      stopping = true
    },
    async close() {
      stopping = true
      // Before the keys: a request under way may wait for one.
      await verify.close()
      for (const authority of authorities.values()) authority.stop()
      await runtime.http.close()
    },
  }
}

/** The authorities of the tenants; one whose tenant did not change goes on with its keys. */
function createAuthorities(config: Config, former: Authorities, runtime: Runtime): Authorities {
  return new Map(
    config.tenants.map((tenant) => {
      const known = former.get(tenant.id)
      const unchanged = known && isDeepStrictEqual(known.tenant, tenant)
      return [tenant.id, unchanged ? known : createAuthority(tenant, runtime.http, runtime)]
    }),
  )
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
    // By default Node looks for late headers only every 30 s.
    http: {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
    },
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
    const { requestId } = readCorrelation(request.headers)
    return sendRefusal(reply, { allow: false, failure: findMisuse(request) }, requestId)
  })
  app.setErrorHandler((error: { statusCode?: number }, request, reply) => {
    const { requestId } = readCorrelation(request.headers)
    const { statusCode = 500 } = error
    // A body that Fastify cannot read is its sender's fault, and no reason for an alarm.
    if (statusCode < 500) {
      return sendRefusal(reply, { allow: false, failure: findMisuse(request) }, requestId)
    }
    request.server.log.error({ err: error, requestId }, 'internal error')
    return sendRefusal(reply, { allow: false, failure: 'internal_error' }, requestId)
  })
  return app
}

/** Why a request that reached no route did not. */
function findMisuse({ method }: FastifyRequest): FailureCode {
  return method === 'GET' || method === 'HEAD' ? 'not_found' : 'method_not_allowed'
}
