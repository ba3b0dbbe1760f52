import type { FastifyInstance } from 'fastify'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { failures } from '../failure.ts'
import type { Authorities } from '../keys/authority.ts'
import type { OnRefresh, RefreshOutcome } from '../keys/issuer-keys.ts'
import type { RevocationList } from '../revocation/revocation-list.ts'
import type { StoreState } from '../revocation/revocation-store.ts'
import type { SignatureEngine } from '../token/signature.ts'
import type { OnVerdict } from '../verify/route.ts'
import type { Rules } from '../verify/rules.ts'
import type { TokenCache } from '../verify/token-cache.ts'

/** Where the numbers come from. */
export interface MetricsSources {
  readonly authorities: () => Authorities
  /** The policies in force, and the hash of the configuration. */
  readonly rules: () => Pick<Rules, 'policies' | 'version'>
  /** Version of the service; absent where it runs without a package. */
  readonly serviceVersion?: string | undefined
  readonly cache: TokenCache
  readonly revocations: () => RevocationList
  /** How the store that replicas share is doing; absent where there is none. */
  readonly store?: (() => StoreState) | undefined
  readonly clock: () => number
  /** The clock that ages of keys are measured by. */
  readonly elapsed: () => number
  /** Lines of refusals that the log left out. */
  readonly suppressedLogLines: () => number
  /** Lines that the reader of the log did not take. */
  readonly droppedLogLines: () => number
  /** When the certificate of the verify listener ends, in ms; undefined without TLS. */
  readonly certificateEndMs: () => number | undefined
}

/** The metrics of the service. Labels are policies, reason codes and tenants: all bounded. */
export interface Metrics {
  /** Counts a verdict; `policy` is undefined where no configured policy was asked for. */
  countVerdict: OnVerdict
  countRefresh: OnRefresh
  /** The engine, timed at each verification. */
  timeSignatures(engine: SignatureEngine): SignatureEngine
  /** Notes how long an answer of /verify took, in ms. */
  timeAnswer(ms: number): void
  /** Counts how a sign-in ended; with 0 its series is there before the first. */
  countSignIn(outcome: string, count?: number): void
  countReload(outcome: 'applied' | 'refused'): void
  /** All metrics in the text format of Prometheus. */
  print(): Promise<string>
  readonly contentType: string
}

const refreshOutcomes: readonly RefreshOutcome[] = ['applied', 'failed', 'absent']

/** RS256 takes 20 to 60 µs; the long ones wait for something else. */
const signatureBuckets = [0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.005, 0.025, 0.1]

/** Answers from the cache take 10 to 50 µs; HAProxy gives up after a second. */
const answerBuckets = [
  0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1,
] as const

/**
 * The time of answers as a histogram in the text format of Prometheus, counted in plain numbers: the one of
 * the library costs more than a verdict from the cache.
 */
function createAnswerTimes() {
  const name = 'entra_auth_verify_seconds'
  const counts = new Float64Array(answerBuckets.length + 1)
  let sum = 0
  return {
    observe(ms: number): void {
      const seconds = ms / 1000
      sum += seconds
      let bucket = 0
      while (bucket < answerBuckets.length && seconds > (answerBuckets[bucket] ?? 0)) bucket++
      counts[bucket] = (counts[bucket] ?? 0) + 1
    },
    print(): string {
      let total = 0
      const buckets = answerBuckets.map((le, index) => {
        total += counts[index] ?? 0
        return `${name}_bucket{le="${le}"} ${total}`
      })
      total += counts[answerBuckets.length] ?? 0
      return [
        `# HELP ${name} Time from a request of /verify to its answer`,
        `# TYPE ${name} histogram`,
        ...buckets,
        `${name}_bucket{le="+Inf"} ${total}`,
        `${name}_sum ${sum}`,
        `${name}_count ${total}`,
        '',
      ].join('\n')
    },
  }
}

/** What runs, and until when policies only report. */
function addBuildMetrics(
  { rules, serviceVersion = '' }: MetricsSources,
  registers: Registry[],
): void {
  new Gauge({
    name: 'entra_auth_build_info',
    help: 'Always 1: version of the service and of the configuration in force',
    labelNames: ['version', 'config_version'],
    registers,
    collect() {
      this.reset()
      this.set({ version: serviceVersion, config_version: rules().version }, 1)
    },
  })
  new Gauge({
    name: 'entra_auth_report_only_until_timestamp_seconds',
    help: 'When a policy begins to refuse; absent for policies that do already by their configuration',
    labelNames: ['policy'],
    registers,
    collect() {
      this.reset()
      for (const { name, reportOnlyUntilMs } of rules().policies.values()) {
        if (reportOnlyUntilMs > 0) this.set({ policy: name }, reportOnlyUntilMs / 1000)
      }
    },
  })
}

/** Two gauges, without a value where replicas share no store. */
function addStoreMetrics(store: (() => StoreState) | undefined, registers: Registry[]): void {
  const add = (name: string, help: string, read: (state: StoreState) => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.reset()
        // An unlabelled gauge is 0 after a reset, which would read as out of reach.
        if (!store) this.remove()
        else this.set(read(store()))
      },
    })
  add(
    'entra_auth_store_reachable',
    'Whether the store that replicas share answers; absent without one',
    ({ reachable }) => (reachable ? 1 : 0),
  )
  add(
    'entra_auth_store_sync_age_seconds',
    'Time since all that the store had was known here; absent without one',
    ({ secondsSinceSync = Number.POSITIVE_INFINITY }) => secondsSinceSync,
  )
}

/** Creates the metrics, with those of the process among them. */
export function createMetrics(sources: MetricsSources): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const verdicts = createVerdictCounts()
  new Counter({
    name: 'entra_auth_verdicts_total',
    help: 'Answers of /verify by policy, verdict and reason',
    labelNames: ['policy', 'verdict', 'reason'],
    registers,
    collect() {
      this.reset()
      for (const labels of earlyVerdicts([...sources.rules().policies.keys()])) this.inc(labels, 0)
      for (const { labels, count } of verdicts.all()) this.inc(labels, count)
    },
  })
  const reloads = new Counter({
    name: 'entra_auth_config_reloads_total',
    help: 'Reloads of the configuration by outcome',
    labelNames: ['outcome'],
    registers,
  })
  for (const outcome of ['applied', 'refused']) reloads.inc({ outcome }, 0)
  const signIns = new Counter({
    name: 'entra_auth_sign_ins_total',
    help: 'Sign-ins with a browser by outcome: signed_in, rechecked, postponed, signed_out or the reason of a page',
    labelNames: ['outcome'],
    registers,
  })
  const refreshes = new Counter({
    name: 'entra_auth_key_refreshes_total',
    help: 'Readings of key sets by tenant, token version and outcome',
    labelNames: ['tenant', 'version', 'outcome'],
    registers,
  })
  const signatureSeconds = new Histogram({
    name: 'entra_auth_signature_seconds',
    help: 'Time of a signature verification; tokens in the cache need none',
    buckets: signatureBuckets,
    registers,
  })
  addBuildMetrics(sources, registers)
  const answers = createAnswerTimes()
  addCacheMetrics(sources.cache, registers)
  addKeyMetrics(sources, registers)
  new Gauge({
    name: 'entra_auth_revocations',
    help: 'Revocations in force',
    registers,
    collect() {
      this.set(sources.revocations().countAt(sources.clock() / 1000))
    },
  })
  addStoreMetrics(sources.store, registers)
  new Counter({
    name: 'entra_auth_log_lines_suppressed_total',
    help: 'Refusals that got no line of their own in the log',
    registers,
    collect() {
      this.reset()
      this.inc(sources.suppressedLogLines())
    },
  })
  new Counter({
    name: 'entra_auth_log_lines_dropped_total',
    help: 'Lines of the log that were lost: standard output is full, closed or not read',
    registers,
    collect() {
      this.reset()
      this.inc(sources.droppedLogLines())
    },
  })
  new Gauge({
    name: 'entra_auth_tls_certificate_expiration_timestamp_seconds',
    help: 'When the certificate of the verify listener ends; absent without TLS',
    registers,
    collect() {
      this.reset()
      const endMs = sources.certificateEndMs()
      // An unlabelled gauge is 0 after a reset, which would read as ended long ago.
      if (endMs === undefined) this.remove()
      else this.set(endMs / 1000)
    },
  })
  return {
    countVerdict: verdicts.count,
    countRefresh(tenant, version, outcome) {
      // All from the first on: an increase from nothing is not seen as one.
      for (const each of refreshOutcomes) {
        refreshes.inc({ tenant, version, outcome: each }, each === outcome ? 1 : 0)
      }
    },
    timeSignatures: (engine) => ({
      async verify(key, token) {
        const startMs = performance.now()
        const isRight = await engine.verify(key, token)
        signatureSeconds.observe((performance.now() - startMs) / 1000)
        return isRight
      },
    }),
    timeAnswer: answers.observe,
    countSignIn: (outcome, count = 1) => signIns.inc({ outcome }, count),
    countReload: (outcome) => reloads.inc({ outcome }),
    print: async () => `${await registry.metrics()}\n${answers.print()}`,
    contentType: registry.contentType,
  }
}

/** Reasons by the verdict that they are counted under. */
const refusalReasons = Object.entries(failures).map(([reason, { status }]) => ({
  verdict: status >= 500 ? 'unavailable' : 'deny',
  reason,
}))

/** What an alert asks for; it is there for each policy, however many there are. */
const alarming = refusalReasons.filter(({ verdict }) => verdict === 'unavailable')

/** Up to this many series the other refusals are there from the start, too. */
const maxEarlySeries = 2_000

/**
 * Series that are there before the first event: `rate()` sees no increase from nothing to one, and so
 * would miss the first refusal.
 */
function earlyVerdicts(policies: readonly string[]): VerdictCount['labels'][] {
  const isSmall = policies.length * refusalReasons.length <= maxEarlySeries
  const refusals = isSmall ? refusalReasons : alarming
  return [
    ...refusalReasons
      .filter(({ reason }) => beforePolicy.has(reason))
      .map((labels) => ({ policy: '', ...labels })),
    ...policies.flatMap((policy) => [
      { policy, verdict: 'allow', reason: '' },
      ...refusals
        .filter(({ reason }) => !ofNoPolicy.has(reason))
        .map(({ verdict, reason }) => ({ policy, verdict, reason })),
    ]),
  ]
}

/** What the listener of /verify refuses before it knows the policy. */
const beforePolicy: ReadonlySet<string> = new Set([
  'unknown_policy',
  'caller_not_allowed',
  'overloaded',
  'malformed_request',
  'not_found',
  'method_not_allowed',
  'internal_error',
])

/** Refusals that no policy is counted with. */
const ofNoPolicy: ReadonlySet<string> = new Set(
  [...beforePolicy, 'admin_key_missing'].filter((reason) => reason !== 'internal_error'),
)

interface VerdictCount {
  readonly labels: { readonly policy: string; readonly verdict: string; readonly reason: string }
  count: number
}

/** Counts verdicts in plain numbers: a counter of the library puts its labels together each time. */
function createVerdictCounts() {
  const allows = new Map<string, VerdictCount>()
  const others = new Map<string, VerdictCount>()
  const count: OnVerdict = (policy = '', verdict, reason) => {
    // An allow is found by its policy alone: even a key made of three words would cost more.
    const isAllow = verdict === 'allow'
    const counts = isAllow ? allows : others
    const key = isAllow ? policy : `${policy} ${verdict} ${reason}`
    let entry = counts.get(key)
    if (!entry) {
      entry = { labels: { policy, verdict, reason: reason ?? '' }, count: 0 }
      counts.set(key, entry)
    }
    entry.count++
  }
  return { count, all: () => [...allows.values(), ...others.values()] }
}

/** Adds `GET /metrics`. */
export function addMetricsRoute(app: FastifyInstance, metrics: Metrics): void {
  app.get('/metrics', async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.print()),
  )
}

function addCacheMetrics(cache: TokenCache, registers: Registry[]): void {
  new Counter({
    name: 'entra_auth_token_cache_lookups_total',
    help: 'Look-ups of tokens in the cache by result',
    labelNames: ['result'],
    registers,
    collect() {
      // Counted where they happen without a call; here they only change their form.
      this.reset()
      this.inc({ result: 'hit' }, cache.hits)
      this.inc({ result: 'miss' }, cache.misses)
    },
  })
  new Counter({
    name: 'entra_auth_token_cache_evictions_total',
    help: 'Tokens that made room for others in the cache',
    registers,
    collect() {
      this.reset()
      this.inc(cache.evictions)
    },
  })
  new Gauge({
    name: 'entra_auth_token_cache_entries',
    help: 'Tokens in the cache',
    registers,
    collect() {
      this.set(cache.size)
    },
  })
}

function addKeyMetrics({ authorities, elapsed }: MetricsSources, registers: Registry[]): void {
  const labelNames = ['tenant', 'version'] as const
  const eachState = function* () {
    for (const authority of authorities().values()) {
      const { tenant, versions } = authority.state()
      for (const [version, state] of Object.entries(versions)) yield { tenant, version, state }
    }
  }
  new Gauge({
    name: 'entra_auth_keys',
    help: 'Signing keys known by tenant and token version',
    labelNames,
    registers,
    collect() {
      this.reset()
      for (const { tenant, version, state } of eachState())
        this.set({ tenant, version }, state.keys)
    },
  })
  new Gauge({
    name: 'entra_auth_keys_age_seconds',
    help: 'Time since the key set was last read; keys older than a day are not used',
    labelNames,
    registers,
    collect() {
      this.reset()
      for (const { tenant, version, state } of eachState()) {
        if (state.lastReadMs === undefined) continue
        this.set({ tenant, version }, (elapsed() - state.lastReadMs) / 1000)
      }
    },
  })
}
