import type { TenantConfig } from '../config/config.ts'
import { fail, type Result } from '../failure.ts'
import { withoutSecrets } from '../secrets.ts'
import { type EndpointVersion, type Metadata, metadataUrl, readMetadata } from './discovery.ts'
import { type Http, HttpStatusError } from './http.ts'
import type { Key } from './key.ts'
import { createKeySource, type KeySource } from './key-source.ts'
import type { KeyStore, StoredKeys } from './key-store.ts'
import { createKeyring, type MergeReport, unconfirmedAfterMs } from './keyring.ts'

/** Time, chance and the log, passed in so that tests can turn the clock. */
export interface KeysRuntime {
  /** Now, in ms since the epoch. */
  readonly clock: () => number
  /** The clock for intervals, as `createElapsedClock` makes it; `clock` where absent. */
  readonly elapsed?: () => number
  /** A number from 0 up to 1, like Math.random. */
  readonly random: () => number
  /** Runs `task` once after `delayMs`; the function returned cancels it. */
  readonly schedule: (task: () => void, delayMs: number) => () => void
  /** Where the last good keys are kept; absent where nothing is. */
  readonly keyStore?: KeyStore
  /** Is told how each reading of a key set went. */
  readonly onRefresh?: OnRefresh
  readonly log: {
    info(fields: object, message: string): void
    warn(fields: object, message: string): void
  }
}

/** `absent`: the authority has no endpoint of this version, which is no failure. */
export type RefreshOutcome = 'applied' | 'failed' | 'absent'

/** Is told how the reading of a key set went; `tenant` is the name in the configuration. */
export type OnRefresh = (tenant: string, version: EndpointVersion, outcome: RefreshOutcome) => void

/** How the keys of one issuer are doing. */
export interface IssuerKeysState {
  /**
   * `untried`: no reading has ended since the authority may have become reachable; `absent`: the
   * authority has no endpoint of this version, as External ID has no v1.0.
   */
  readonly state: 'untried' | 'ready' | 'failing' | 'absent'
  /** Keys that may verify now. */
  readonly keys: number
  /** When the key set was last read, in ms by the clock for intervals. */
  readonly lastReadMs?: number
  readonly error?: string
}

/** The keys of one tenant and token version: discovery, background refresh, single look-ups. */
export interface IssuerKeys {
  /** The issuer to compare `iss` with; undefined until the metadata was read once. */
  readonly issuer: string | undefined
  state(): IssuerKeysState
  /** What the last key set that was taken in changed; undefined before the first. */
  readonly lastMerge: MergeReport | undefined
  /** Keys that were in use and are not any more, since a time in ms. */
  retiredSince(ms: number): readonly { readonly id: string; readonly atMs: number }[]
  /** What is known of a key without asking anybody; undefined where it is unknown. */
  find(id: string): Result<Key> | undefined
  /** Asks the authority about an unknown key, at most once in five minutes, whoever asks. */
  lookUp(id: string): Promise<Result<Key>>
  /** Reads metadata and keys now; never rejects, `state` tells how it went. */
  refresh(): Promise<void>
  /** Refreshes at once where no key is confirmed any more, at most twice a minute. */
  refreshIfStale(): void
  /** Refreshes now and then in the background until `stop`. */
  start(): Promise<void>
  /** If no keys could be read yet, tries again at once. Until then the issuer counts as untried. */
  retry(): void
  stop(): void
  /** Stops and withdraws each key. */
  retire(): void
}

/** What the authority last said of itself. */
interface Origin {
  readonly metadata: Metadata
  readonly source: KeySource
  /** When it said so, in ms. */
  readonly readMs: number
  readonly document: unknown
}

/** How the last reading of the key set ended. */
interface Outcome extends Pick<IssuerKeysState, 'state' | 'error'> {
  /** When it began, in ms. */
  readonly atMs: number
  /** How many failed in a row, this one included. */
  readonly failures: number
}

const untried: Outcome = { state: 'untried', atMs: Number.NEGATIVE_INFINITY, failures: 0 }

/** Time between two readings of a key set; a key withdrawn by its authority is gone within it. */
export const refreshIntervalMs = 10 * 60 * 1000

/** Time between two look-ups of unknown keys, as Microsoft advises; failures count too. */
export const lookUpCooldownMs = 5 * 60 * 1000

const metadataIntervalMs = 24 * 60 * 60 * 1000
const firstRetryMs = 500
const longestRetryMs = 30_000

/**
 * Creates the keys of one tenant and version; nothing is fetched before `start` or `refresh`.
 * `onReachable` is called when a key set was read after a failure.
 */
export function createIssuerKeys(
  tenant: TenantConfig,
  version: EndpointVersion,
  http: Http,
  runtime: KeysRuntime,
  onReachable: () => void = () => {},
): IssuerKeys {
  const keyring = createKeyring()
  const { elapsed = runtime.clock } = runtime
  const storeName = `${tenant.id}-v${version}`
  let origin: Origin | undefined
  let taken: { readonly readMs: number; readonly report: MergeReport } | undefined
  let outcome = untried
  let lookUp = { atMs: Number.NEGATIVE_INFINITY, failed: false }
  let refreshing: Promise<void> | undefined
  let lookingUp: Promise<void> | undefined
  let cancelTimer: () => void = () => {}
  let stopped = false

  /** With the name that the tenant has now. */
  function about() {
    return { tenant: tenant.name, version }
  }

  function warn(cause: unknown, message: string): void {
    runtime.log.warn({ ...about(), error: describe(cause) }, message)
  }

  function readOrigin(document: unknown, readMs: number): Origin {
    const metadata = readMetadata(tenant, version, document)
    return { metadata, source: createKeySource(http, metadata.jwksUri), readMs, document }
  }

  async function readMetadataIfDue(): Promise<Origin> {
    if (origin && elapsed() - origin.readMs < metadataIntervalMs) return origin
    try {
      const document = await http.fetchJson(metadataUrl(tenant, version))
      origin = readOrigin(document, elapsed())
    } catch (cause) {
      // Metadata hardly changes: with the last good one the keys can still be read.
      if (!origin) throw cause
      warn(cause, 'metadata not read, the last is used')
    }
    return origin
  }

  /** Takes in what the authority publishes now, and returns it for the store. */
  async function readKeySet(): Promise<StoredKeys | undefined> {
    const { metadata, source, document } = await readMetadataIfDue()
    const keys = await source.fetchSet()
    // Retired meanwhile: a key taken in now would count again.
    if (stopped) return undefined
    lookUp = { ...lookUp, failed: false }
    takeIn(metadata, keys, elapsed())
    return { readMs: runtime.clock(), metadata: document, keys }
  }

  function takeIn(from: Metadata, keys: readonly unknown[], readMs: number): void {
    const report = keyring.merge(keys, { ...from, tenantId: tenant.id }, readMs)
    taken = { readMs, report }
    for (const { id, failure } of report.rejected) {
      runtime.log.info({ ...about(), kid: id, reason: failure }, 'key not used')
    }
    if (report.added.length > 0 || report.withdrawn.length > 0) {
      runtime.log.info(
        { ...about(), added: report.added, withdrawn: report.withdrawn, keys: keyring.size },
        'keys changed',
      )
    }
  }

  /** Takes in the stored keys, checked like new ones and no younger than they are. */
  async function readStoredKeys(): Promise<void> {
    const stored = await runtime.keyStore?.load(storeName)
    if (!stored) return
    // By the wall clock: another process stored them.
    const ageMs = runtime.clock() - stored.readMs
    try {
      if (ageMs < 0) throw new Error('they are from later than now: one of two clocks is wrong')
      if (ageMs >= unconfirmedAfterMs) throw new Error('they are older than a day')
      // Due at once: the next refresh reads the metadata itself again.
      const read = readOrigin(stored.metadata, Number.NEGATIVE_INFINITY)
      takeIn(read.metadata, stored.keys, elapsed() - ageMs)
      origin = read
      runtime.log.warn({ ...about(), readMs: stored.readMs }, 'stored keys are used')
    } catch (cause) {
      warn(cause, 'stored keys not used')
    }
  }

  async function refreshOnce(): Promise<void> {
    const atMs = elapsed()
    const { failures: before } = outcome
    let read: StoredKeys | undefined
    try {
      read = await readKeySet()
    } catch (cause) {
      const error = describe(cause)
      const state = isAbsent(cause) ? 'absent' : 'failing'
      // The keys may have moved: the next attempt asks the metadata where they are.
      if (origin && isGone(cause)) origin = { ...origin, readMs: Number.NEGATIVE_INFINITY }
      runtime.onRefresh?.(tenant.name, version, state === 'absent' ? 'absent' : 'failed')
      const level = state === 'absent' ? 'info' : 'warn'
      runtime.log[level]({ ...about(), error, keys: keyring.size }, 'keys not read')
      if (state === 'failing' && keyring.size === 0) await readStoredKeys()
      // Last: a service whose first attempts are over is ready, and then it has the stored keys.
      outcome = { state, atMs, error, failures: before + 1 }
      return
    }
    outcome = { state: 'ready', atMs, failures: 0 }
    runtime.onRefresh?.(tenant.name, version, 'applied')
    if (before > 0) onReachable()
    // Nobody waits for the disk. A full one costs the next cold start, not this one.
    if (read)
      runtime.keyStore?.save(storeName, read).catch((cause) => warn(cause, 'keys not stored'))
  }

  function refresh(): Promise<void> {
    refreshing ??= refreshOnce().finally(() => {
      refreshing = undefined
    })
    return refreshing
  }

  /** No endpoint of this version: only where the authority is not one of the known clouds. */
  function isAbsent(cause: unknown): boolean {
    return (
      version === '1.0' &&
      tenant.cloud === undefined &&
      origin === undefined &&
      cause instanceof HttpStatusError &&
      cause.status === 404
    )
  }

  function nextDelayMs(): number {
    const { state, failures } = outcome
    const retryMs = Math.min(firstRetryMs * 2 ** Math.min(failures - 1, 10), longestRetryMs)
    const delayMs = state === 'failing' ? retryMs : refreshIntervalMs
    // Replicas that were started together must not ask together for ever.
    return delayMs * (0.9 + 0.2 * runtime.random())
  }

  async function refreshAndSchedule(): Promise<void> {
    await refresh()
    cancelTimer()
    if (!stopped) cancelTimer = runtime.schedule(() => void refreshAndSchedule(), nextDelayMs())
  }

  async function lookUpOnce(id: string, { metadata, source }: Origin): Promise<void> {
    lookUp = { ...lookUp, atMs: elapsed() }
    try {
      const jwk = await source.fetchKey(id)
      lookUp = { ...lookUp, failed: false }
      if (jwk === undefined || stopped) return
      keyring.add(jwk, { ...metadata, tenantId: tenant.id }, elapsed())
      // A new key means that the set has changed. Only the whole set shows whether two keys share
      // the id; a single look-up cannot.
      await refresh()
    } catch (cause) {
      lookUp = { ...lookUp, failed: true }
      warn(cause, 'unknown key not looked up')
    }
  }

  /** A timer stands still while the machine is suspended, so whoever needs a key asks as well. */
  function refreshIfStale(): void {
    if (stopped || refreshing || keyring.size === 0) return
    if (keyring.countUsable(elapsed()) > 0) return
    if (elapsed() - outcome.atMs < longestRetryMs) return
    void refreshAndSchedule()
  }

  function whatIsKnown(id: string): Result<Key> {
    return keyring.get(id, elapsed()) ?? fail(lookUp.failed ? 'keys_unavailable' : 'key_unknown')
  }

  function stop(): void {
    stopped = true
    cancelTimer()
  }

  return {
    get issuer() {
      return origin?.metadata.issuer
    },
    state() {
      return {
        state: outcome.state,
        keys: keyring.countUsable(elapsed()),
        ...(taken && { lastReadMs: taken.readMs }),
        ...(outcome.error !== undefined && { error: outcome.error }),
      }
    },
    get lastMerge() {
      return taken?.report
    },
    retiredSince: (ms) => keyring.retiredSince(ms),
    find(id) {
      const found = keyring.get(id, elapsed())
      if (found && !found.ok) refreshIfStale()
      return found
    },
    refreshIfStale,
    async lookUp(id) {
      if (!origin || keyring.size === 0) return fail('keys_unavailable')
      if (!lookingUp && elapsed() - lookUp.atMs >= lookUpCooldownMs) {
        lookingUp = lookUpOnce(id, origin).finally(() => {
          lookingUp = undefined
        })
      }
      // One look-up serves everybody who waits, whatever key they wait for.
      await lookingUp
      return whatIsKnown(id)
    },
    refresh,
    start: refreshAndSchedule,
    async retry() {
      if (stopped || outcome.state !== 'failing' || keyring.size > 0) return
      outcome = untried
      cancelTimer()
      // One under way may have begun before the authority was back: its failure says nothing.
      await refreshing
      if (stopped || keyring.size > 0) return
      outcome = untried
      await refreshAndSchedule()
    },
    stop,
    retire() {
      stop()
      keyring.clear(elapsed())
    },
  }
}

/** The authority answers, but has nothing at this address. */
function isGone(cause: unknown): boolean {
  return cause instanceof HttpStatusError && cause.status < 500
}

function describe(cause: unknown): string {
  const parts: string[] = []
  for (let error = cause; error instanceof Error && parts.length < 5; error = error.cause) {
    if (error.message) parts.push(error.message)
  }
  return withoutSecrets(parts.join(': ') || String(cause))
}
