import {
  endOf,
  maxRevocations,
  parseStored,
  type Revocation,
  revocationKey,
} from '../revocation/revocation.ts'
import { type RecentRevocation, type RevocationList, show } from '../revocation/revocation-list.ts'
import type { Change } from './connection.ts'
import { type Entry, readValue, stampOf } from './entry.ts'

/** One moment by the store's clock and by both of ours. */
export interface Moment {
  readonly storeUs: number
  readonly wallMs: number
  readonly monotonicMs: number
}

/** What a change meant for what is known. */
export type Taken = 'new' | 'known' | 'older'

/** All that this replica knows of the store, in memory. */
export interface KnownRevocations {
  /** Another object whenever anything changed. */
  readonly list: RevocationList
  /** Entries, those that were ended before their time among them. */
  readonly count: number
  /** Entries that have ended, or are about to, and may be gone from the store already. */
  readonly endedCount: number
  /** The latest stamp that was ever seen (µs). */
  readonly latestUs: number
  readonly windowSeconds: number
  get(key: string): Entry | undefined
  all(): Iterable<[string, Entry]>
  hasEnded(entry: Entry): boolean
  /** What the store's clock was heard to say. */
  hear(moment: Moment): void
  /** HAProxy has to know what was announced since (µs). */
  recentSinceUs(): number
  put(key: string, entry: Entry, recentSinceUs?: number): void
  /** Applies a change that the store announced. Returns 'older' if memory has a newer state. */
  take(change: Change, recentSinceUs: number): Taken
  /** Whether the store's default end of this entry is too early for the lifetimes known here. */
  endsEarly(entry: Entry): boolean
  /** Gives the entry the end that the lifetimes known here ask for. */
  extend(key: string): void
  /** Drops what has ended; returns the keys. */
  dropEnded(): readonly string[]
  /** Makes `list` another object. */
  renew(): void
  /** True where defaults may end too early from now on. */
  setLongest(seconds: number): boolean
  setWindow(seconds: number): void
}

/** What it depends on. */
export interface KnownRevocationsOptions {
  readonly now: () => number
  /** A clock that only goes forward, in ms. */
  readonly monotonic: () => number
  /** Runs for each entry whose value is new, and not only its announcement. */
  readonly onPut: (key: string, entry: Entry) => void
}

/** An entry that HAProxy has to know, and when it was heard of here (monotonic, ms). */
interface Recent {
  readonly entry: Entry
  readonly heardMs: number
  /** Until when HAProxy keeps it, by the wall clock (s). */
  readonly listedUntil: number
}

/**
 * HAProxy drops a revocation by its own clock, and may poll a replica that was cut off and does not
 * list it. So it is told to keep each one longer, by as much as its clock may be ahead.
 */
export const clockAheadSeconds = 3_600

/** Clocks of store and replica that differ by less count as the same, so that replicas say the same. */
const sameClockMs = 60_000

/** Ended revocations are looked for in steps of this, and a while after their end. */
const endStepSeconds = 60

/** Creates it, empty. */
export function createKnownRevocations(options: KnownRevocationsOptions): KnownRevocations {
  const { now, monotonic, onPut } = options
  const entries = new Map<string, Entry>()
  /** Those announced not long ago, in the order in which they were heard of. */
  const recent = new Map<string, Recent>()
  let recentShown: readonly RecentRevocation[] | undefined
  /** Minute of the end → keys, so that nobody has to look through a million. */
  const ends = new Map<number, string[]>()
  let longestSeconds = 0
  let windowSeconds = 3_600
  let size = 0
  let latestUs = 0
  let heard: Moment | undefined
  let list = createList()

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

  /**
   * An entry stays until it has expired by the store's clock and by ours. So a store whose clock is
   * ahead cannot shorten the time.
   */
  function listRecent(): readonly RecentRevocation[] {
    const sinceUs = recentSinceUs()
    const sinceMs = monotonic() - windowSeconds * 1e3
    for (const [key, { entry, heardMs }] of recent) {
      if (isRecent(entry, sinceUs) || heardMs >= sinceMs) break
      recent.delete(key)
      recentShown = undefined
    }
    // One more than HAProxy takes switches its cache off; a million would not do more.
    recentShown ??= [...recent.values()]
      .slice(-maxRevocations - 1)
      .filter(({ entry }) => !entry.removed)
      .map(({ entry: { revocation }, listedUntil }) => {
        const ending = endOf(revocation, longestSeconds)
        return { revocation, ending, listedUntil: Math.min(ending, listedUntil) }
      })
    return recentShown
  }

  function setRecent(key: string, entry: Entry, heardMs: number): void {
    const aheadMs = heard ? heard.storeUs / 1e3 - heard.wallMs : 0
    const offsetMs = Math.abs(aheadMs) < sameClockMs ? 0 : aheadMs
    const announcedSeconds = Math.ceil(entry.announcedUs / 1e6 - offsetMs / 1e3)
    const listedUntil = announcedSeconds + windowSeconds + clockAheadSeconds
    recent.set(key, { entry, heardMs, listedUntil })
    recentShown = undefined
  }

  /** Looks again at all, where more of them count as recent than before. */
  function refillRecent(): void {
    const sinceUs = recentSinceUs()
    const sinceMs = monotonic() - windowSeconds * 1e3
    const missing = [...entries]
      .filter(([key, entry]) => isRecent(entry, sinceUs) && !recent.has(key))
      .toSorted(([, one], [, other]) => one.announcedUs - other.announcedUs)
    const former = [...recent]
    recent.clear()
    for (const [key, entry] of missing) setRecent(key, entry, Number.NEGATIVE_INFINITY)
    for (const [key, { entry, heardMs }] of former) {
      if (isRecent(entry, sinceUs) || heardMs >= sinceMs) setRecent(key, entry, heardMs)
    }
    recentShown = undefined
  }

  /** By the store's clock or by that of the replica that made it: one of them may have been set. */
  function isRecent({ announcedUs, revocation: { madeAt = 0 } }: Entry, sinceUs: number): boolean {
    return announcedUs >= sinceUs || madeAt >= now() / 1e3 - windowSeconds
  }

  /** By whichever of our clocks says that less time went by. */
  function recentSinceUs(): number {
    const windowUs = windowSeconds * 1e6
    // Before the store was heard, nobody knows what its clock says: all are recent.
    if (!heard) return 0
    const elapsedMs = Math.min(now() - heard.wallMs, monotonic() - heard.monotonicMs)
    return heard.storeUs + elapsedMs * 1e3 - windowUs
  }

  const hasEnded = ({ revocation }: Entry) => endOf(revocation, longestSeconds) <= now() / 1e3

  const minuteOf = ({ revocation }: Entry) =>
    Math.floor(endOf(revocation, longestSeconds) / endStepSeconds)

  function noteEnd(key: string, entry: Entry): void {
    const keys = ends.get(minuteOf(entry))
    if (keys) keys.push(key)
    else ends.set(minuteOf(entry), [key])
  }

  function put(key: string, entry: Entry, sinceUs = recentSinceUs()): void {
    const former = entries.get(key)
    size += (entry.removed ? 0 : 1) - (former && !former.removed ? 1 : 0)
    entries.set(key, entry)
    latestUs = Math.max(latestUs, entry.changedUs, entry.announcedUs)
    // Behind all others, also where it was there before.
    const wasRecent = recent.delete(key)
    if (wasRecent || isRecent(entry, sinceUs)) {
      setRecent(key, entry, heard ? monotonic() : Number.NEGATIVE_INFINITY)
    }
    if (!former || minuteOf(former) !== minuteOf(entry)) noteEnd(key, entry)
    if (!former || !hasSameValue(former, entry)) onPut(key, entry)
  }

  /** Somebody was revoked, and until when was lost: nobody is admitted for that. */
  function takeUnreadable({ key, announcedUs }: Change, sinceUs: number): Taken {
    const [kind, id] = [key.slice(0, key.indexOf(' ')), key.slice(key.indexOf(' ') + 1)]
    const before = Math.ceil(announcedUs / 1e6)
    const until = Math.ceil(now() / 1e3) + longestSeconds
    const revocation = parseStored({ kind, id, before, until, reason: 'its value was lost' })
    if (typeof revocation === 'string') return 'known'
    put(key, { revocation, removed: false, changedUs: 0, announcedUs }, sinceUs)
    return 'new'
  }

  return {
    get list() {
      return list
    },
    get count() {
      return entries.size
    },
    get endedCount() {
      const aheadMs = heard ? heard.storeUs / 1e3 - heard.wallMs : 0
      const nowMinute = Math.floor((now() + Math.max(0, aheadMs)) / 1e3 / endStepSeconds)
      let count = 0
      for (const [minute, keys] of ends) if (minute <= nowMinute) count += keys.length
      return count
    },
    get latestUs() {
      return latestUs
    },
    get windowSeconds() {
      return windowSeconds
    },
    get: (key) => entries.get(key),
    all: () => entries,
    hasEnded,
    hear(moment) {
      const beforeUs = heard ? recentSinceUs() : Infinity
      heard = moment
      // The first time, and where the store's clock was set back.
      if (recentSinceUs() < beforeUs - 1e6) refillRecent()
    },
    recentSinceUs,
    put,
    take(change, sinceUs) {
      const { key, announcedUs, value } = change
      latestUs = Math.max(latestUs, announcedUs)
      const known = entries.get(key)
      const stamp = stampOf(value)
      // Without its value the store knows less than what is known here.
      if (known && stamp < known.changedUs) return 'older'
      if (known && stamp === known.changedUs && known.announcedUs >= announcedUs) return 'known'
      const read = readValue(value)
      if (!read) return known ? 'older' : takeUnreadable(change, sinceUs)
      put(key, { ...read, announcedUs }, sinceUs)
      return 'new'
    },
    endsEarly: ({ revocation, removed }) =>
      revocation.untilDefault === true &&
      !removed &&
      revocation.until < endOf(revocation, longestSeconds),
    extend(key) {
      const entry = entries.get(key)
      if (!entry) return
      const until = endOf(entry.revocation, longestSeconds)
      put(key, { ...entry, revocation: { ...entry.revocation, until } })
    },
    dropEnded() {
      const untilMinute = Math.floor(now() / 1e3 / endStepSeconds) - 1
      const ended: string[] = []
      for (const [minute, keys] of ends) {
        if (minute > untilMinute) continue
        ends.delete(minute)
        for (const key of keys) {
          const entry = entries.get(key)
          if (!entry) continue
          if (!hasEnded(entry)) {
            if (minuteOf(entry) !== minute) noteEnd(key, entry)
            continue
          }
          entries.delete(key)
          recent.delete(key)
          if (!entry.removed) size--
          ended.push(key)
        }
      }
      if (ended.length === 0) return ended
      recentShown = undefined
      list = createList()
      return ended
    },
    renew() {
      list = createList()
    },
    setLongest(seconds) {
      if (seconds === longestSeconds) return false
      const isLonger = seconds > longestSeconds
      longestSeconds = seconds
      recentShown = undefined
      list = createList()
      return isLonger
    },
    setWindow(seconds) {
      const isLonger = seconds > windowSeconds
      windowSeconds = seconds
      if (isLonger) refillRecent()
      recentShown = undefined
    },
  }
}

function hasSameValue(one: Entry, other: Entry): boolean {
  return (
    one.changedUs === other.changedUs &&
    one.removed === other.removed &&
    one.revocation.until === other.revocation.until
  )
}
