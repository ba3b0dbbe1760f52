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

/** What a change meant for what is known; 'unreadable' where this version cannot enforce it. */
export type Taken = 'new' | 'known' | 'older' | 'unreadable'

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
  /** Whether the entry has ended, and each earlier state of it. */
  hasEnded(entry: Entry): boolean
  /** When that is (s). */
  keptUntil(entry: Entry): number
  /** What the store's clock was heard to say. */
  hear(moment: Moment): void
  /** What it says now (ms), by our clock that only goes forward; undefined before it was heard. */
  storeMs(): number | undefined
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
  /** When one of those that are shown ends (s), and another one takes its place. */
  let recentShownUntil = Infinity
  /** Keys of revocations that have ended, of which somebody may have an earlier state that has not. */
  const over = new Set<string>()
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
      [...entries]
        .filter(([key, { removed }]) => !removed && !over.has(key))
        .map(([, { revocation }]) => revocation)
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
        const key = revocationKey(kind, id)
        const entry = entries.get(key)
        return entry && !entry.removed && !over.has(key) ? entry.revocation : undefined
      },
      *inForce(nowSeconds) {
        for (const [key, { revocation, removed }] of entries) {
          if (removed || over.has(key)) continue
          const shownOne = show(revocation, longestSeconds)
          if (shownOne.until > nowSeconds) yield shownOne
        }
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
    if (now() / 1e3 >= recentShownUntil) recentShown = undefined
    recentShown ??= showRecent()
    return recentShown
  }

  /**
   * One more than HAProxy takes switches its cache off; a million would not do more. Only those in force
   * count for that: fewer would look like all. Each replica heard of them in an order of its own. Those with the
   * same revocations must give HAProxy the same answer, so the order is that of the announcements.
   */
  function showRecent(): readonly RecentRevocation[] {
    const nowSeconds = now() / 1e3
    const shown: Recent[] = []
    const all = [...recent.values()]
    recentShownUntil = Infinity
    for (let i = all.length - 1; i >= 0 && shown.length <= maxRevocations; i--) {
      const one = all[i] as Recent
      const ending = endingOf(one.entry)
      if (one.entry.removed || ending <= nowSeconds) continue
      shown.push(one)
      recentShownUntil = Math.min(recentShownUntil, ending)
    }
    return shown
      .toSorted((one, other) => one.entry.announcedUs - other.entry.announcedUs)
      .map(({ entry, listedUntil }) => {
        const ending = endingOf(entry)
        return { revocation: entry.revocation, ending, listedUntil: Math.min(ending, listedUntil) }
      })
  }

  function setRecent(key: string, entry: Entry, heardMs: number): void {
    const aheadMs = heard ? heard.storeUs / 1e3 - heard.wallMs : 0
    const offsetMs = Math.abs(aheadMs) < sameClockMs ? 0 : aheadMs
    const announcedSeconds = Math.ceil(entry.announcedUs / 1e6 - offsetMs / 1e3)
    const heardSeconds = Math.ceil((now() + heardMs - monotonic()) / 1e3)
    // One that came late was in no list of this replica before.
    const isLate = heardSeconds - announcedSeconds > windowSeconds
    const sinceSeconds = isLate ? heardSeconds : announcedSeconds
    const listedUntil = sinceSeconds + windowSeconds + clockAheadSeconds
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

  const endingOf = ({ revocation }: Entry) => endOf(revocation, longestSeconds)

  const keptUntil = (entry: Entry) => Math.max(endingOf(entry), entry.keptUntil ?? 0)

  const hasEnded = (entry: Entry) => keptUntil(entry) <= now() / 1e3

  const storeMs = () => heard && heard.storeUs / 1e3 + monotonic() - heard.monotonicMs

  /** Also by the store's clock: ours may be ahead for a moment, and nothing brings back what was dropped. */
  const certainMs = () => Math.min(now(), storeMs() ?? Infinity)

  const minuteOf = (seconds: number) => Math.floor(seconds / endStepSeconds)

  function noteEnd(key: string, seconds: number): void {
    const keys = ends.get(minuteOf(seconds))
    if (keys) keys.push(key)
    else ends.set(minuteOf(seconds), [key])
  }

  /** In force, as far as this is told from one minute to the next. */
  const counts = (key: string, entry: Entry | undefined) =>
    entry && !entry.removed && !over.has(key) ? 1 : 0

  function put(key: string, entry: Entry, sinceUs = recentSinceUs()): void {
    const former = entries.get(key)
    const wasOver = over.has(key)
    size -= counts(key, former)
    over.delete(key)
    size += counts(key, entry)
    entries.set(key, entry)
    latestUs = Math.max(latestUs, entry.changedUs, entry.announcedUs)
    // Behind all others, also where it was there before.
    const wasRecent = recent.delete(key)
    if (wasRecent || isRecent(entry, sinceUs)) {
      setRecent(key, entry, heard ? monotonic() : Number.NEGATIVE_INFINITY)
    }
    // Those that are over are noted with a later end.
    const isNoted = former && minuteOf(endingOf(former)) === minuteOf(endingOf(entry)) && !wasOver
    if (!isNoted) noteEnd(key, endingOf(entry))
    if (!former || !hasSameValue(former, entry)) onPut(key, entry)
  }

  /**
   * Somebody was revoked, and until when was lost, or is in a form of another version: nobody is admitted
   * for that, whenever the token was issued. The key may be in other letters than those of this service.
   */
  function takeUnreadable({ key, announcedUs }: Change, sinceUs: number): Taken {
    const [kind, id] = [key.slice(0, key.indexOf(' ')), key.slice(key.indexOf(' ') + 1)]
    const lasting = Math.ceil(now() / 1e3) + longestSeconds
    const reason = 'its value was lost'
    const parsed = parseStored({ kind, id, before: lasting, until: lasting, reason })
    if (typeof parsed === 'string') return 'unreadable'
    const own = revocationKey(parsed.kind, parsed.id)
    const known = entries.get(own)
    if (known && own !== key) return 'known'
    const until = Math.max(lasting, known ? keptUntil(known) : 0)
    const before = Math.max(until, known?.revocation.before ?? 0)
    // Not earlier than the state before, or the copy on disk would prefer that one.
    const changedUs = known?.changedUs ?? 0
    const revocation = { ...parsed, before, until }
    put(own, { revocation, removed: false, changedUs, announcedUs }, sinceUs)
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
    keptUntil,
    hear(moment) {
      const beforeUs = heard ? recentSinceUs() : Infinity
      heard = moment
      // The first time, and where the store's clock was set back.
      if (recentSinceUs() < beforeUs - 1e6) refillRecent()
    },
    storeMs,
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
      const read = readValue(key, value)
      if (!read)
        return known && stamp === known.changedUs ? 'older' : takeUnreadable(change, sinceUs)
      put(key, { ...read, announcedUs }, sinceUs)
      return 'new'
    },
    endsEarly: ({ revocation }) =>
      revocation.untilDefault === true && revocation.until < endOf(revocation, longestSeconds),
    extend(key) {
      const entry = entries.get(key)
      if (!entry) return
      const until = endOf(entry.revocation, longestSeconds)
      put(key, { ...entry, revocation: { ...entry.revocation, until } })
    },
    dropEnded() {
      const untilMinute = minuteOf(certainMs() / 1e3) - 1
      const ended: string[] = []
      let hasChanged = false
      for (const [minute, keys] of ends) {
        if (minute > untilMinute) continue
        ends.delete(minute)
        for (const key of keys) {
          const entry = entries.get(key)
          if (!entry) continue
          const end = endingOf(entry)
          if (minuteOf(end) > untilMinute) {
            // It was made to end later.
            noteEnd(key, end)
            continue
          }
          hasChanged = true
          size -= counts(key, entry)
          recent.delete(key)
          if (minuteOf(keptUntil(entry)) > untilMinute) {
            over.add(key)
            noteEnd(key, keptUntil(entry))
            continue
          }
          over.delete(key)
          entries.delete(key)
          ended.push(key)
        }
      }
      if (!hasChanged) return ended
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
      for (const key of over) {
        const entry = entries.get(key)
        if (!entry || endingOf(entry) <= now() / 1e3) continue
        over.delete(key)
        noteEnd(key, endingOf(entry))
        size += counts(key, entry)
      }
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
