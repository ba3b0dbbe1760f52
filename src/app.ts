import { isDeepStrictEqual } from 'node:util'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { addExplainRoute } from './admin/explain-route.ts'
import { guardAdmin } from './admin/guard.ts'
import { addHealthRoutes } from './admin/health.ts'
import { addMetricsRoute, createMetrics } from './admin/metrics.ts'
import { addRevocationRoutes } from './admin/revocation-routes.ts'
import type { Config } from './config/config.ts'
import { createExplainer } from './explain/explainer.ts'
import { type Authorities, type Authority, createAuthority } from './keys/authority.ts'
import type { Http } from './keys/http.ts'
import type { KeysRuntime } from './keys/issuer-keys.ts'
import { buildListener } from './listener.ts'
import type { RevocationStore } from './revocation/revocation-store.ts'
import { createSignatureEngine } from './token/signature.ts'
import { addResourceMetadataRoutes } from './verify/resource-metadata.ts'
import { addRevocationFeed } from './verify/revocation-feed.ts'
import { addVerifyRoutes } from './verify/route.ts'
import { compileRules } from './verify/rules.ts'
import { createTokenCache } from './verify/token-cache.ts'
import { createVerifier } from './verify/verifier.ts'

/** What the service takes from the outside world. */
export interface Runtime extends Omit<KeysRuntime, 'log'> {
  readonly http: Http
  readonly revocations: RevocationStore
  readonly log: FastifyBaseLogger
}

/** The service, composed and not yet listening. */
export interface App {
  readonly verify: FastifyInstance
  /** Metrics and health, nothing that changes or tells a secret. */
  readonly metrics: FastifyInstance
  /** Answers whoever runs the service; never behind HAProxy. */
  readonly admin: FastifyInstance
  readonly authorities: Authorities
  /** Begins to read keys; resolves when each authority was tried once. */
  start(): Promise<void>
  /** Puts another configuration in force; listen addresses stay as they were. */
  reload(config: Config): Promise<void>
  /** Counts a configuration that was refused; the one before stays in force. */
  countRefusedReload(): void
  /** Turns readiness red, so that HAProxy sends new requests elsewhere. */
  drain(): void
  /** Lets requests under way finish, then closes. */
  close(): Promise<void>
}

/** Composes the service from its configuration. */
export function buildApp(config: Config, runtime: Runtime): App {
  let authorities = createAuthorities(config, new Map(), runtime)
  let rules = compileRules(config, authorities)
  const engine = createSignatureEngine()
  const cache = createTokenCache()
  const { clock, revocations } = runtime
  const measured = createMetrics({
    authorities: () => authorities,
    cache,
    revocations: () => revocations.list,
    clock,
  })
  let stopping = false
  const isStopping = () => stopping

  const verify = buildListener(runtime.log)
  // Not an async function: a promise would cost each reply a turn of the microtask queue.
  verify.addHook('onSend', (_request, reply, _payload, done) => {
    if (stopping) reply.header('Connection', 'close')
    done()
  })
  addHealthRoutes(verify, { authorities: () => authorities, isStopping })
  addResourceMetadataRoutes(
    verify,
    () => rules.resources,
    (tenantId) => authorities.get(tenantId)?.issuerKeys('2.0').issuer,
  )
  addVerifyRoutes(verify, {
    verifier: createVerifier({
      clock,
      engine,
      cache,
      revocations: () => revocations.list,
    }),
    rules: () => rules,
    clock,
    isStopping,
    onVerdict: measured.countVerdict,
    log: runtime.log,
  })

  addRevocationFeed(verify, { rules: () => rules, revocations: () => revocations.list, clock })

  const metrics = buildListener(runtime.log)
  addHealthRoutes(metrics, { authorities: () => authorities, isStopping })
  addMetricsRoute(metrics, measured)

  const admin = buildListener(runtime.log)
  guardAdmin(admin, config.admin.key)
  addExplainRoute(admin, {
    explainer: createExplainer({ clock, engine, revocations: () => revocations.list }),
    rules: () => rules,
    isKeyed: config.admin.key !== undefined,
  })
  addRevocationRoutes(admin, revocations, clock, runtime.log)

  return {
    verify,
    metrics,
    admin,
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
      measured.countReload('applied')
      for (const [id, authority] of former)
        if (authorities.get(id) !== authority) authority.retire()
      await Promise.all([...authorities.values()].filter(isNew).map((added) => added.start()))
    },
    countRefusedReload: () => measured.countReload('refused'),
    drain() {
      stopping = true
    },
    async close() {
      stopping = true
      // Before the keys: a request under way may wait for one.
      await Promise.all([verify.close(), metrics.close(), admin.close()])
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
