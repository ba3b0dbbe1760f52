import {
  endOf,
  maxRevocations,
  parseStored,
  type Revocation,
  revocationKey,
  type StoredRevocation,
} from '../revocation/revocation.ts'
import { type RecentRevocation, type RevocationList, show } from '../revocation/revocation-list.ts'
import {
  type OnNotice,
  RevocationError,
  type RevocationStore,
} from '../revocation/revocation-store.ts'
import type { Change, StoreConnection } from './connection.ts'
import type { DiskCopy } from './disk-copy.ts'

/** What replicas that share their revocations need from outside. */
export interface SharedRevocationsOptions {
  /** Opens a connection; see connectStore. */
  readonly connect: (events: {
    onNotice(): void
    onClose(error?: Error): void
  }) => Promise<StoreConnection>
  /** Where what is known is kept besides; undefined where there is no place for it. */
  readonly copy: DiskCopy | undefined
  /** Revocations of a file from before there was a store. */
  readonly former: () => Promise<readonly StoredRevocation[]>
  readonly now: () => number
  /** A clock that only goes forward, in ms. */
  readonly monotonic: () => number
  readonly onNotice: OnNotice
}

interface Entry {
  readonly revocation: StoredRevocation
  readonly removed: boolean
  /** When it was last changed, and when the store announced it (µs of the store's clock). */
  readonly changedUs: number
  readonly announcedUs: number
}

/** One moment by the store's clock and by both of ours. */
interface Moment {
  readonly storeUs: number
  readonly wallMs: number
  readonly monotonicMs: number
}

/** Entries of one answer, and of one call that gives back what the store lost. */
const pageSize = 2_000

/** Besides the time for which verdicts are cached, an outage of the store of so long costs no hit. */
const outageSeconds = 840

/** For late polls, slow answers and what clocks drift apart during an outage. */
const slackSeconds = 60

/** Ended revocations are looked for in steps of this, and a while after their end. */
const pruneStepSeconds = 60

/**
 * Creates the revocations that replicas share. All are in memory, so no verdict waits for the store.
 * Changes go to the store first; what others change comes with a notice, or with the next `reload`.
 *
 * While the store is away, memory and the copy on disk say what is revoked, and changes are refused.
 * When it is back, what it lost is given back to it: of two states of one revocation the later counts.
 */
export function createSharedRevocations(options: SharedRevocationsOptions): RevocationStore {
  const { copy, now, monotonic, onNotice } = options
  const entries = new Map<string, Entry>()
  /** Those announced not long ago, in that order. */
  const recent = new Map<string, Entry>()
  let recentShown: readonly RecentRevocation[] | undefined
  /** Minute of the end → keys, so that nobody has to look through a million. */
  const ends = new Map<number, string[]>()
  let connection: StoreConnection | undefined
  let longestSeconds = 0
  let windowSeconds = 3_600
  let size = 0
  let cursorUs = 0
  let isWhole = false
  let problem: string | undefined
  /** The last moment at which all that the store had was known here. */
  let synced: Moment | undefined
  /** What the store's clock was last heard to say. */
  let heard: Moment | undefined
  let isReloadDue = false
  let working: Promise<unknown> = Promise.resolve()
  let list = createList()
  let pending: [string, string][] = []
  let lastCopyProblem: string | undefined

  function createList(): RevocationList {
    let shown: readonly Revocation[] | undefined
    const alive = () =>
      [...entries.values()].filter(({ removed }) => !removed).map(({ revocation }) => revocation)
    return {
      get size() {
        return size
      },
      get stored() {
        return alive()
      },
      get entries() {
        shown ??= alive().map((revocation) => show(revocation, longestSeconds))
        return shown
      },
      get(kind, id) {
        const entry = entries.get(revocationKey(kind, id))
        return entry && !entry.removed ? entry.revocation : undefined
      },
      countAt: () => size,
      endOf: (revocation) => endOf(revocation, longestSeconds),
      recent: listRecent,
    }
  }

  function listRecent(): readonly RecentRevocation[] {
    const sinceUs = storeUs(Math.min) - windowSeconds * 1e6
    for (const [key, { announcedUs }] of recent) {
      if (announcedUs >= sinceUs) break
      recent.delete(key)
      recentShown = undefined
    }
    recentShown ??= [...recent.values()]
      .filter(({ removed }) => !removed)
      .map(({ revocation, announcedUs }) => {
        const ending = endOf(revocation, longestSeconds)
        return {
          revocation,
          ending,
          listedUntil: Math.min(ending, Math.ceil(announcedUs / 1e6) + windowSeconds),
        }
      })
    return recentShown
  }

  /** The store's clock now, by whichever of our clocks says the earlier or the later (µs). */
  function storeUs(pick: (...elapsed: number[]) => number): number {
    if (!heard) return now() * 1e3
    const elapsedMs = pick(now() - heard.wallMs, monotonic() - heard.monotonicMs)
    return heard.storeUs + elapsedMs * 1e3
  }

  const formatValue = ({ revocation, removed, changedUs }: Entry) =>
    `${changedUs} ${JSON.stringify(removed ? { ...revocation, removed } : revocation)}`

  function readValue(value: string): Omit<Entry, 'announcedUs'> | undefined {
    const space = value.indexOf(' ')
    const changedUs = Number(value.slice(0, space))
    try {
      const { removed = false, ...rest } = JSON.parse(value.slice(space + 1))
      const revocation = parseStored(rest)
      if (typeof revocation === 'string' || !(changedUs >= 0)) return undefined
      return { revocation, removed: removed === true, changedUs }
    } catch {
      return undefined
    }
  }

  function put(key: string, entry: Entry): void {
    const former = entries.get(key)
    size += (entry.removed ? 0 : 1) - (former && !former.removed ? 1 : 0)
    entries.set(key, entry)
    // Behind all others, also where it was there before.
    recent.delete(key)
    if (entry.announcedUs >= storeUs(Math.min) - windowSeconds * 1e6) recent.set(key, entry)
    recentShown = undefined
    noteEnd(key, entry)
    if (copy) pending.push([key, formatValue(entry)])
  }

  function noteEnd(key: string, { revocation }: Entry): void {
    const minute = Math.floor(endOf(revocation, longestSeconds) / pruneStepSeconds)
    const keys = ends.get(minute)
    if (keys) keys.push(key)
    else ends.set(minute, [key])
  }

  /** Takes what the store announced; true where it changes anything. */
  function take({ key, announcedUs, value }: Change): boolean {
    const known = entries.get(key)
    const read = readValue(value)
    if (!read) return takeUnreadable(key, announcedUs, known)
    // What came back from another replica may be older than what is known here.
    if (known && known.changedUs > read.changedUs) return false
    if (known && known.changedUs === read.changedUs && known.announcedUs >= announcedUs)
      return false
    put(key, { ...read, announcedUs })
    return true
  }

  /** Somebody was revoked, and until when was lost: nobody is admitted for that. */
  function takeUnreadable(key: string, announcedUs: number, known: Entry | undefined): boolean {
    if (known) return false
    const [kind, id] = [key.slice(0, key.indexOf(' ')), key.slice(key.indexOf(' ') + 1)]
    const before = Math.ceil(announcedUs / 1e6)
    const until = Math.ceil(now() / 1e3) + longestSeconds
    const revocation = parseStored({ kind, id, before, until, reason: 'its value was lost' })
    if (typeof revocation === 'string') return false
    put(key, { revocation, removed: false, changedUs: 0, announcedUs })
    return true
  }

  async function connect(): Promise<StoreConnection> {
    if (connection) return connection
    let opened: StoreConnection | undefined
    opened = await options.connect({
      onNotice: reloadSoon,
      onClose(error) {
        if (opened && connection === opened) connection = undefined
        if (error) problem = error.message
      },
    })
    connection = opened
    try {
      await synchronize(opened)
    } catch (error) {
      opened.close()
      connection = undefined
      throw error
    }
    return opened
  }

  /** However many notices come, the next poll reads all that they are about. */
  function reloadSoon(): void {
    if (isReloadDue) return
    isReloadDue = true
    const run = () => {
      isReloadDue = false
      return reload()
    }
    void enqueue(run).catch(() => {})
  }

  /** One page after the other of what the store announced since; returns the last answer. */
  async function takeNews(from: StoreConnection, onChange?: (change: Change) => void) {
    let hasChanged = false
    for (;;) {
      const answer = await from.poll(cursorUs, pageSize)
      const at = { storeUs: answer.timeUs, wallMs: now(), monotonicMs: monotonic() }
      heard = at
      for (const change of answer.changes) {
        onChange?.(change)
        if (take(change)) hasChanged = true
        cursorUs = change.announcedUs
      }
      if (hasChanged) list = createList()
      if (answer.changes.length < pageSize) return { answer, hasChanged, at }
    }
  }

  /** A new connection: the store may have lost what it had, or have it from another time. */
  async function synchronize(from: StoreConnection): Promise<boolean> {
    const news = await takeNews(from)
    let { at } = news
    const { values, announced, newestUs } = news.answer
    let hasChanged = news.hasChanged
    if (values !== announced || announced !== entries.size || newestUs !== cursorUs) {
      if (values > announced) await from.readValues(async (pairs) => void (await from.merge(pairs)))
      const there = new Set<string>()
      cursorUs = 0
      const all = await takeNews(from, ({ key, value }) => {
        const changedUs = Number(value.slice(0, value.indexOf(' ')))
        if (value !== '' && changedUs >= (entries.get(key)?.changedUs ?? 0)) there.add(key)
      })
      const lost = [...entries].filter(([key, entry]) => !there.has(key) && !hasEnded(entry))
      await giveBack(from, lost)
      hasChanged ||= all.hasChanged
      at = all.at
      if (lost.length > 0) {
        onNotice(`the store lacked ${lost.length} revocations that are known here; it has them now`)
        // They were announced anew, for replicas that never knew them.
        at = (await takeNews(from)).at
      }
    }
    noteSync(at)
    if (!isWhole || (copy && copy.length > 2 * entries.size + pageSize)) await writeCopy()
    else await flushCopy()
    return hasChanged
  }

  async function giveBack(to: StoreConnection, lost: readonly [string, Entry][]): Promise<void> {
    for (let i = 0; i < lost.length; i += 500) {
      const page = lost.slice(i, i + 500)
      await to.merge(page.flatMap(([key, entry]) => [key, formatValue(entry)]))
    }
  }

  function noteSync(at: Moment): void {
    synced = at
    problem = undefined
  }

  const hasEnded = ({ revocation }: Entry) => endOf(revocation, longestSeconds) <= now() / 1e3

  async function reload(): Promise<boolean> {
    try {
      const from = connection
      if (!from) {
        const before = list
        await connect()
        return before !== list
      }
      const { answer, hasChanged, at } = await takeNews(from)
      // Something was lost: evicted, or by a failover to a server that lags behind.
      const isWorse = answer.values !== answer.announced || answer.newestUs < cursorUs
      if (isWorse) return await synchronize(from)
      noteSync(at)
      await flushCopy()
      await prune(from)
      return hasChanged
    } catch (error) {
      problem = (error as Error).message
      throw new RevocationError(`the store cannot be reached: ${problem}`, { isTemporary: true })
    }
  }

  /** Drops what has ended, here and in the store. */
  async function prune(from: StoreConnection): Promise<void> {
    const untilMinute = Math.floor(now() / 1e3 / pruneStepSeconds) - 1
    for (const [minute, keys] of ends) {
      if (minute > untilMinute) continue
      ends.delete(minute)
      const ended: string[] = []
      for (const key of keys) {
        const entry = entries.get(key)
        if (!entry) continue
        if (!hasEnded(entry)) {
          if (Math.floor(endOf(entry.revocation, longestSeconds) / pruneStepSeconds) !== minute)
            noteEnd(key, entry)
          continue
        }
        entries.delete(key)
        recent.delete(key)
        if (!entry.removed) size--
        ended.push(key)
      }
      if (ended.length === 0) continue
      recentShown = undefined
      list = createList()
      for (let i = 0; i < ended.length; i += 500) await from.prune(ended.slice(i, i + 500))
    }
  }

  async function writeCopy(): Promise<void> {
    if (!copy) return
    pending = []
    const lines = function* (): Iterable<[string, string]> {
      for (const [key, entry] of entries) yield [key, formatValue(entry)]
    }
    await keepCopy(async () => {
      await copy.rewrite(lines())
      isWhole = true
    })
  }

  async function flushCopy(): Promise<void> {
    if (!copy || pending.length === 0) return
    const lines = pending
    pending = []
    if (copy.length > 2 * entries.size + 10 * pageSize) return writeCopy()
    await keepCopy(() => copy.append(lines))
  }

  /** The copy is a second place: where it cannot be written, revocations count all the same. */
  async function keepCopy(write: () => Promise<void>): Promise<void> {
    try {
      await write()
      lastCopyProblem = undefined
    } catch (error) {
      isWhole = false
      const { code, message } = error as NodeJS.ErrnoException
      const text = `the copy of the store on disk cannot be written (${code ?? message})`
      if (text !== lastCopyProblem) onNotice(text)
      lastCopyProblem = text
    }
  }

  function enqueue<T>(task: () => Promise<T>): Promise<T> {
    const result = working.then(task)
    working = result.catch(() => {})
    return result
  }

  async function start(): Promise<void> {
    const stored = (await copy?.load()) ?? { lines: [], isWhole: false }
    const known = new Map<string, Entry>()
    for (const [key, value] of stored.lines) {
      const read = readValue(value)
      if (!read || read.changedUs < (known.get(key)?.changedUs ?? 0)) continue
      known.set(key, { ...read, announcedUs: read.changedUs })
    }
    // What was announced last stands last among the recent ones.
    const inOrder = [...known].sort(([, one], [, other]) => one.announcedUs - other.announcedUs)
    for (const [key, entry] of inOrder) if (!hasEnded(entry)) put(key, entry)
    pending = []
    isWhole = stored.isWhole
    for (const revocation of await options.former()) {
      const key = revocationKey(revocation.kind, revocation.id)
      const changedUs = (revocation.madeAt ?? 0) * 1e6
      if (!entries.has(key))
        put(key, { revocation, removed: false, changedUs, announcedUs: now() * 1e3 })
    }
    list = createList()
    try {
      await connect()
    } catch (error) {
      problem = (error as Error).message
      if (!stored.isWhole) {
        throw new RevocationError(
          `the store cannot be reached (${problem}), and there is no copy on disk that says who was revoked`,
          { isTemporary: true },
        )
      }
      onNotice(
        `the store cannot be reached (${problem}); the ${size} revocations of the copy on disk are in force`,
      )
    }
  }

  /** Makes a change in the store; a RevocationError where that cannot be known to have happened. */
  async function change<T>(make: (to: StoreConnection) => Promise<T>): Promise<T> {
    try {
      return await make(await connect())
    } catch (error) {
      if (error instanceof RevocationError) throw error
      problem = (error as Error).message
      throw new RevocationError(
        `the store cannot be reached (${problem}); the change cannot be confirmed, try again`,
        { isTemporary: true },
      )
    }
  }

  return {
    get list() {
      return list
    },
    start: () => enqueue(start),
    reload: () => enqueue(reload),
    add: (revocation, { untilDefault = false } = {}) =>
      enqueue(() =>
        change(async (to) => {
          const key = revocationKey(revocation.kind, revocation.id)
          const madeAt = Math.floor(now() / 1e3)
          const stored = { ...revocation, madeAt, ...(untilDefault && { untilDefault }) }
          const changedUs = await to.add(
            key,
            JSON.stringify(stored),
            maxRevocations,
            windowSeconds * 1e6,
          )
          if (changedUs === 0) {
            throw new RevocationError(
              `there were ${maxRevocations} revocations within the last ${windowSeconds} s, which is the limit; revoke the client or the tenant instead`,
            )
          }
          put(key, { revocation: stored, removed: false, changedUs, announcedUs: changedUs })
          list = createList()
          await flushCopy()
        }),
      ),
    remove: (kind, id) =>
      enqueue(() =>
        change(async (to) => {
          const key = revocationKey(kind, id)
          const changedUs = await to.remove(key)
          if (changedUs === 0) return false
          // Its own state comes with the poll; the revocation is over from here on.
          const revocation = entries.get(key)?.revocation
          if (revocation) {
            put(key, { revocation, removed: true, changedUs, announcedUs: changedUs })
            list = createList()
          }
          await flushCopy()
          return true
        }),
      ),
    setLongest(seconds) {
      if (seconds === longestSeconds) return
      longestSeconds = seconds
      recentShown = undefined
      list = createList()
    },
    setVerdictLife(seconds) {
      windowSeconds = seconds + outageSeconds + slackSeconds
      recentShown = undefined
    },
    verdictLife() {
      if (!synced) return 0
      const elapsedMs = Math.max(now() - synced.wallMs, monotonic() - synced.monotonicMs)
      return windowSeconds - slackSeconds - elapsedMs / 1e3
    },
    state: () => ({
      reachable: connection !== undefined && problem === undefined,
      ...(synced && { secondsSinceSync: Math.round((monotonic() - synced.monotonicMs) / 1e3) }),
      ...(problem !== undefined && { problem }),
    }),
    async stop() {
      connection?.close()
      connection = undefined
    },
  }
}
