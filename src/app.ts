import { setImmediate as nextTurn, setTimeout as wait } from 'node:timers/promises'
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'
import { addExplainRoute } from './admin/explain-route.ts'
import { guardAdmin } from './admin/guard.ts'
import { addHealthRoutes, createReadiness } from './admin/health.ts'
import { addMetricsRoute, createMetrics } from './admin/metrics.ts'
import { addPage } from './admin/page.ts'
import { addPoliciesRoute } from './admin/policies-route.ts'
import { addRevocationRoutes } from './admin/revocation-routes.ts'
import type { Config, LiveConfig } from './config/config.ts'
import { createExplainer } from './explain/explainer.ts'
import { type Authorities, type Authority, createAuthority } from './keys/authority.ts'
import { createElapsedClock } from './keys/elapsed-clock.ts'
import type { Http } from './keys/http.ts'
import type { KeysRuntime } from './keys/issuer-keys.ts'
import { isUsable } from './keys/keyring.ts'
import { buildListener, forbidStoring, sendAsRefusal } from './listener.ts'
import { describePolicies } from './policy/description.ts'
import { prepareRevocations } from './revocation/lifetimes.ts'
import type { RevocationStore } from './revocation/revocation-store.ts'
import type { SignInPart } from './sign-in/part.ts'
import { runInSlices } from './steps.ts'
import { createTlsServers } from './tls.ts'
import { createSignatureEngine } from './token/signature.ts'
import { createSpanExporter } from './tracing/exporter.ts'
import { addTracing } from './tracing/hooks.ts'
import { type AuditSink, createAuditLog } from './verify/audit-log.ts'
import { keysThatCount } from './verify/caller.ts'
import { createEntraSessions } from './verify/entra-sessions.ts'
import { createJudge } from './verify/judge.ts'
import { watchOverload } from './verify/overload.ts'
import { createRefusalLog } from './verify/refusal-log.ts'
import { addResourceMetadataRoutes } from './verify/resource-metadata.ts'
import { addRevocationFeed } from './verify/revocation-feed.ts'
import { addVerifyRoutes, verdictOf } from './verify/route.ts'
import { compileRules, compileRulesInSteps, withKeyMark } from './verify/rules.ts'
import { createFirstSights } from './verify/session-verifier.ts'
import { createTokenCache } from './verify/token-cache.ts'
import { createVerifier } from './verify/verifier.ts'

/** What the service takes from the outside world. */
export interface Runtime extends Omit<KeysRuntime, 'log' | 'elapsed'> {
  /** A clock in ms that nobody sets, such as `performance.now`; absent in tests that turn `clock`. */
  readonly monotonic?: () => number
  readonly http: Http
  readonly revocations: RevocationStore
  readonly log: FastifyBaseLogger
  /** Absent where nobody signs in with a browser. */
  readonly signIn?: SignInPart | undefined
  /** Where allows of first sights are written; absent where nobody keeps an audit. */
  readonly audit?: AuditSink | undefined
  /** Lines of the log that nobody took. */
  readonly droppedLogLines?: () => number
  /** Version of the service, for the metrics. */
  readonly serviceVersion?: string | undefined
}

/** The service, composed and not yet listening. */
export interface App {
  readonly verify: FastifyInstance
  /** Metrics and health, nothing that changes or tells a secret. */
  readonly metrics: FastifyInstance
  /** Answers whoever runs the service; never behind HAProxy. */
  readonly admin: FastifyInstance
  /** Where people sign in with a browser; absent where nobody does. */
  readonly signIn: FastifyInstance | undefined
  readonly authorities: Authorities
  /** Begins to read keys; resolves when each authority was tried once. */
  start(): Promise<void>
  /**
   * Applies another configuration, as far as possible without a restart, and resolves when it is
   * active. One call at a time.
   */
  reload(config: LiveConfig): Promise<Reloaded>
  /** Counts a configuration that was refused; the one before stays in force. */
  countRefusedReload(): void
  /** Turns readiness red, so that HAProxy sends new requests elsewhere. */
  drain(): void
  /** Lets requests under way finish, then closes. */
  close(): Promise<void>
}

/** A configuration that a reload put in force. */
export interface Reloaded {
  /** Hash of all that can change a verdict or a header. */
  readonly version: string
  /** Resolves when the authority of each new tenant was tried once. */
  readonly tried: Promise<void>
}

/** Longest time that a reload waits for the keys of a tenant whose authority is another one, in ms. */
const handoverMs = 5_000
/** Holds no process back from its end. */
const unheld = { ref: false }

/** Composes the service from its configuration. */
export function buildApp(config: Config, runtime: Runtime): App {
  let authorities: Authorities = new Map()
  const engine = createSignatureEngine()
  const { clock, revocations } = runtime
  const elapsed = createElapsedClock(clock, runtime.monotonic)
  const cache = createTokenCache((key) => isUsable(key, elapsed()))
  let longestSeconds = prepareRevocations(revocations, config)
  let settings: LiveConfig = config
  let sinceMs = clock()
  const tls = config.listen.tls && createTlsServers(config.listen.tls)
  const refusals = createRefusalLog(runtime.log, () => settings.log.refusalsPerSecond, clock)
  const measured = createMetrics({
    authorities: () => authorities,
    // With the sealing keys: replicas that have others must not look alike.
    rules: () => rulesOfVerdicts(),
    serviceVersion: runtime.serviceVersion,
    cache,
    revocations: () => revocations.list,
    store: revocations.state,
    clock,
    elapsed,
    suppressedLogLines: () => refusals.suppressed,
    droppedLogLines: runtime.droppedLogLines ?? (() => 0),
    certificateEndMs: () => tls?.notAfterMs,
  })
  const keysRuntime = { ...runtime, elapsed, onRefresh: measured.countRefresh }
  authorities = createAuthorities(config, authorities, keysRuntime)
  let rules = compileRules(config, authorities)
  const markOfKeys = runtime.signIn?.sealingKeys.mark
  /** What verdicts and the feed are made of. */
  const rulesOfVerdicts = markOfKeys ? withKeyMark(() => rules, markOfKeys) : () => rules
  const overload = watchOverload(() => settings.overload.maxEventLoopLagMs)
  let stopping = false
  const isStopping = () => stopping

  const verify = buildListener(runtime.log, {
    serverFactory: tls?.serverFactory,
    answer(request, reply, failure) {
      if (request.url.startsWith('/verify') || failure === 'internal_error') {
        measured.countVerdict(policyOf(request), verdictOf(failure), failure)
      }
      return sendAsRefusal(request, reply, failure)
    },
    onUnread: () => measured.countVerdict(undefined, 'deny', 'malformed_request'),
  })
  function policyOf({ routeOptions, params }: FastifyRequest): string | undefined {
    if (!routeOptions.url?.startsWith('/verify')) return undefined
    const { policy = 'default' } = params as { policy?: string }
    return rules.policies.get(policy)?.name
  }
  const spans = config.tracing && createSpanExporter(config.tracing, runtime)
  if (spans) addTracing(verify, { exporter: spans, rules: () => rules, clock })
  // Not an async function: a promise would cost each reply a turn of the microtask queue.
  verify.addHook('onSend', (_request, reply, _payload, done) => {
    if (stopping) reply.header('Connection', 'close')
    done()
  })
  const readiness = createReadiness({
    authorities: () => authorities,
    isStopping,
    store: revocations.state,
  })
  addHealthRoutes(verify, readiness)
  addResourceMetadataRoutes(
    verify,
    () => rules.resources,
    (tenantId) => authorities.get(tenantId)?.issuerKeys('2.0').issuer,
  )
  const verifier = createVerifier({
    clock,
    elapsed,
    engine: measured.timeSignatures(engine),
    cache,
    revocations: () => revocations.list,
  })
  const entraSessions = createEntraSessions()
  const judge = createJudge(
    verifier,
    runtime.signIn && {
      clock,
      revocations: () => revocations.list,
      sealingKeys: runtime.signIn.sealingKeys,
      firstSights: runtime.audit && createFirstSights(),
      entraSessions,
    },
  )
  const onFirstSight = runtime.audit && createAuditLog(runtime.audit)
  const signIn =
    config.signIn &&
    runtime.signIn?.build(config, {
      ...runtime,
      elapsed,
      engine,
      judge,
      entraSessions,
      rules: rulesOfVerdicts,
      onOutcome: measured.countSignIn,
      onVerdict: measured.countVerdict,
      refusals,
      isOverloaded: () => overload.isOverloaded,
      onFirstSight,
    })
  if (signIn) addHealthRoutes(signIn.app, readiness)
  // All from the start: an increase from nothing is not seen as one.
  for (const outcome of signIn?.outcomes ?? []) measured.countSignIn(outcome, 0)
  addVerifyRoutes(verify, {
    judge,
    rules: rulesOfVerdicts,
    clock,
    isStopping,
    isOverloaded: () => overload.isOverloaded,
    verdictLife: revocations.verdictLife,
    onVerdict: measured.countVerdict,
    onAnswer: measured.timeAnswer,
    refusals,
    onFirstSight,
    refusalPage: signIn?.refusalPage,
  })

  addRevocationFeed(verify, {
    rules: rulesOfVerdicts,
    revocations: () => revocations.list,
    clock,
  })

  const metrics = buildListener(runtime.log)
  forbidStoring(metrics)
  addHealthRoutes(metrics, readiness)
  addMetricsRoute(metrics, measured)

  const admin = buildListener(runtime.log)
  forbidStoring(admin)
  const adminKeys = () => keysThatCount(settings.admin.key, settings.admin.nextKey)
  guardAdmin(admin, adminKeys)
  const explainer = createExplainer({
    clock,
    elapsed,
    engine,
    revocations: () => revocations.list,
  })
  addExplainRoute(admin, {
    explainer,
    rules: () => rules,
    isKeyed: () => adminKeys().length > 0,
  })
  addPage(admin, {
    explainer,
    rules: () => rules,
    overview: () => ({
      nowMs: clock(),
      elapsedMs: elapsed(),
      version: rules.version,
      sinceMs,
      ready: readiness().status,
      policies: describePolicies(settings, clock()),
      authorities: [...authorities.values()].map((authority) => authority.state()),
      certificateEndMs: tls?.notAfterMs,
      store: revocations.state?.(),
      refusals: refusals.recent(),
      revocations: [...revocations.list.inForce(clock() / 1000)],
    }),
  })
  addPoliciesRoute(admin, { config: () => settings, version: () => rules.version, clock })
  addRevocationRoutes(admin, {
    store: revocations,
    clock,
    longestSeconds: () => longestSeconds,
    log: runtime.log,
  })

  return {
    verify,
    metrics,
    admin,
    signIn: signIn?.app,
    get authorities() {
      return authorities
    },
    async start() {
      await startEach(authorities.values())
    },
    async reload(next) {
      const former = authorities
      const nextAuthorities = createAuthorities(next, former, keysRuntime)
      const nextRules = await runInSlices(compileRulesInSteps(next, nextAuthorities))
      const isNew = (authority: Authority) => former.get(authority.tenant.id) !== authority
      const added = stopping ? [] : [...nextAuthorities.values()].filter(isNew)
      const successors = added.filter(({ tenant }) => former.has(tenant.id))
      const newcomers = added.filter(({ tenant }) => !former.has(tenant.id))
      const begun = startEach(successors)
      // Tokens of a known tenant have an answer by its former keys until the new ones are there.
      if (successors.length > 0) await Promise.race([begun, wait(handoverMs, undefined, unheld)])
      if (stopping) for (const authority of successors) authority.stop()
      // From here on without a pause: a request sees all of the new configuration or nothing of it.
      if (next.listen.tls && tls?.renew(next.listen.tls)) {
        const notAfter = new Date(next.listen.tls.notAfterMs).toISOString()
        runtime.log.info({ notAfter }, 'TLS certificate renewed')
      }
      settings = next
      sinceMs = clock()
      longestSeconds = prepareRevocations(revocations, next)
      authorities = nextAuthorities
      for (const { id, name } of next.tenants) authorities.get(id)?.rename(name)
      // The new rules count at once; a new tenant answers 503 until its keys are there.
      rules = nextRules
      signIn?.reload(next)
      measured.countReload('applied')
      for (const [id, authority] of former)
        if (authorities.get(id) !== authority) authority.retire()
      const tried = Promise.all([begun, startEach(stopping ? [] : newcomers)])
      return { version: rules.version, tried: tried.then(() => {}) }
    },
    countRefusedReload: () => measured.countReload('refused'),
    drain() {
      stopping = true
    },
    async close() {
      stopping = true
      overload.stop()
      // Before the keys: a request under way may wait for one.
      await Promise.all([verify.close(), metrics.close(), admin.close(), signIn?.app.close()])
      refusals.stop()
      for (const authority of authorities.values()) authority.stop()
      await spans?.close()
      await runtime.http.close()
    },
  }
}

/** Starts one after the other, without a wait for answers: hundreds of calls take a while to begin. */
async function startEach(authorities: Iterable<Authority>): Promise<void> {
  const started: Promise<void>[] = []
  for (const authority of authorities) {
    started.push(authority.start())
    await nextTurn()
  }
  await Promise.all(started)
}

/** The authorities of the tenants; one whose tenant has another name at most goes on with its keys. */
function createAuthorities(
  config: LiveConfig,
  former: Authorities,
  runtime: KeysRuntime & Pick<Runtime, 'http'>,
): Authorities {
  return new Map(
    config.tenants.map((tenant) => {
      const known = former.get(tenant.id)
      if (known?.serves(tenant)) return [tenant.id, known]
      return [tenant.id, createAuthority(tenant, runtime.http, runtime)]
    }),
  )
}
