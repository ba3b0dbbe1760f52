import { setTimeout as wait } from 'node:timers/promises'
import { createQueue } from '../queue.ts'
import { maxRevocations, revocationKey, type StoredRevocation } from '../revocation/revocation.ts'
import {
  type OnNotice,
  RevocationError,
  type RevocationStore,
} from '../revocation/revocation-store.ts'
import type { PollAnswer, Position, StoreConnection } from './connection.ts'
import type { DiskCopy } from './disk-copy.ts'
import { type Entry, formatValue, readValue } from './entry.ts'
import { createKeptCopy } from './kept-copy.ts'
import {
  clockAheadSeconds,
  createKnownRevocations,
  type Moment,
  type Taken,
} from './known-revocations.ts'

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
  /** Whether nothing may be written to the store, as by a command that only looks. */
  readonly readOnly?: boolean
}

/** A look at everything that the store has, to find what it lacks. */
interface Audit {
  position: Position
  /** Keys of which the store has what is known here, or something newer. */
  readonly there: Set<string>
  /** How many of those that are announced have a value. */
  valued: number
  /** Keys without a value which nobody here can give back. */
  readonly orphans: string[]
}

/** Entries of one answer, and of one call that gives back what the store lost. */
const pageSize = 2_000
const mergeSize = 500

/** Besides the time for which verdicts are cached, an outage of the store of so long costs no hit. */
const outageSeconds = 840

/** For late polls, slow answers and what clocks drift apart during an outage. */
const slackSeconds = 60

/** How long one step of an audit may hold up changes and news, in ms. */
const stepMs = 100

/** How long a change waits for the copy on disk, in ms: the store has it anyway. */
const diskPatienceMs = 1_000

/**
 * Time until the next audit, in ms, where one could not mend everything. Something may have been lost while
 * it went on; what it cannot mend at all must not be looked for all the time. It doubles each time.
 */
const [leastAuditPauseMs, mostAuditPauseMs] = [1_000, 60_000]

/** So many within the time that HAProxy keeps them leave room for those of administrators. */
const maxYielding = 8_000

/** Changes that wait for the store: while it does not answer, nothing else limits their number. */
const maxPending = 3_000

/** So many of them leave room for administrators: the others may be sign-outs. */
const maxPendingSignOuts = 2_000

/** And so many for people: the others may be made up. */
const maxPendingGuesses = 1_000

/** How long a sign-out waits for the store, in ms: it is in force here already, and a person waits. */
const signOutPatienceMs = 1_000

/** How long a change may wait for those before it, in ms: nobody waits longer for the answer. */
const changePatienceMs = 15_000

/**
 * What takes so long and fails is a store that hangs. For a while afterwards nobody asks it: otherwise each change
 * and each poll would take as long, one after the other. In ms.
 */
const [hangMs, hangPauseMs] = [1_000, 1_000]

/** Keys that cannot be read of which the log has a line. */
const maxUnreadable = 100

/**
 * For so long a revocation without an end of its own is kept, also where tokens live shorter now: a reload may
 * lengthen their lifetime up to the default, with the clock skew. Then it is in force again.
 */
const usualLifetimeSeconds = 1_500 * 60 + 300

const start: Position = { us: 0, key: '' }

const pause = (ms: number) => wait(ms, undefined, { ref: false })

/**
 * Creates the revocations that replicas share. All are in memory, so no verdict waits for the store.
 * A change is written to the store first. The changes of other replicas arrive by a notice, or with
 * the next `reload`.
 *
 * While the store is unreachable, memory and the copy on disk say what is revoked, and changes are
 * rejected. A store can come back incomplete or outdated: restored from a backup, or a replica that
 * lagged behind. So its content is compared with memory after each connection, and whenever an answer
 * shows that something is missing. What the store lacks is written to it again. Of two states of one
 * revocation, the later one counts.
 */
export function createSharedRevocations(options: SharedRevocationsOptions): RevocationStore {
  const { now, monotonic, onNotice, readOnly = false } = options
  const known = createKnownRevocations({
    now,
    monotonic,
    onPut: (key, entry) => copy?.note(key, formatValue(entry)),
  })
  const copy =
    options.copy &&
    createKeptCopy({
      copy: options.copy,
      *lines() {
        for (const [key, entry] of known.all()) yield [key, formatValue(entry)]
      },
      count: () => known.count,
      monotonic,
      onNotice,
    })
  let connection: StoreConnection | undefined
  let cursor = start
  let audit: Audit | undefined
  let auditPauseMs = 0
  let nextAuditMs = Number.NEGATIVE_INFINITY
  /** All that was announced up to then (µs) was known here once. */
  let settledUs = Number.NEGATIVE_INFINITY
  /** How many announcements there were when all of them had been read. */
  let readCount = Infinity
  /** Keys that have to be given to the store. */
  const owed = new Set<string>()
  /** Changes that are in force here, and that the store does not have yet. */
  const pending = new Map<string, Entry>()
  /** How many revocations of this store HAProxy may keep, as it last said. */
  let keptCount = 0
  /** When they last counted as just heard of (monotonic, ms). */
  let renewedMs = Number.NEGATIVE_INFINITY
  let isGivingDue = false
  let giving: Promise<void> = Promise.resolve()
  /** The store hangs, and is asked again from then on (monotonic, ms). */
  let askAgainMs = Number.NEGATIVE_INFINITY
  let isExtensionDue = false
  /** Keys that this version cannot read. */
  const unreadable = new Set<string>()
  let isFeedFull = false
  let problem: string | undefined
  /** The last moment at which all that the store had was known here. */
  let synced: Moment | undefined
  let isLoaded = false
  /** Whether the copy on disk had everything that was known. */
  let hasWholeCopy = false
  let isStopped = false
  let isReloadDue = false
  const enqueue = createQueue()

  async function connect(): Promise<StoreConnection> {
    if (isStopped) throw new Error('this service is stopping')
    if (connection) return connection
    if (monotonic() < askAgainMs) throw new Error(problem)
    let opened: StoreConnection | undefined
    opened = await options.connect({
      onNotice: reloadSoon,
      onClose(error) {
        if (opened && connection === opened) connection = undefined
        if (error) problem = error.message
      },
    })
    if (isStopped) opened.close()
    connection = opened
    beginAudit()
    return opened
  }

  /** Whatever is asked of the store; a RevocationError with these words where it does not answer. */
  async function withStore<T>(
    use: (to: StoreConnection) => Promise<T>,
    consequence = '',
  ): Promise<T> {
    const startMs = monotonic()
    try {
      return await use(await connect())
    } catch (error) {
      problem = (error as Error).message
      const nowMs = monotonic()
      if (nowMs - startMs >= hangMs) askAgainMs = nowMs + hangPauseMs
      throw new RevocationError(`the store cannot be reached (${problem})${consequence}`, {
        isTemporary: true,
      })
    }
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

  /** For so long HAProxy may keep a revocation. */
  const keptSeconds = () => known.windowSeconds + clockAheadSeconds

  async function ask(from: StoreConnection, since: Position) {
    // Without a clock from before, only that of the answer counts.
    const recentSinceUs = known.recentSinceUs() || Infinity
    const answer = await from.poll(since, pageSize, keptSeconds() * 1e6)
    keptCount = answer.withinWindow
    const at = { storeUs: answer.timeUs, wallMs: now(), monotonicMs: monotonic() }
    known.hear(at)
    // By the clock before the answer and by the one since: it may have been set ahead in between.
    return { answer, at, sinceUs: Math.min(recentSinceUs, known.recentSinceUs()) }
  }

  /** One page after the other of what the store announced since; returns the first answer. */
  async function takeNews(from: StoreConnection): Promise<{ answer: PollAnswer; at: Moment }> {
    let first: PollAnswer | undefined
    let hasChanged = false
    for (;;) {
      const { answer, at, sinceUs } = await ask(from, cursor)
      first ??= answer
      for (const change of answer.changes) {
        const taken = known.take(change, sinceUs)
        if (taken === 'new') hasChanged = true
        noteUnreadable(change.key, taken)
        noteDebt(change.key, taken === 'older')
      }
      if (hasChanged) known.renew()
      cursor = endOf(cursor, answer)
      if (answer.changes.length < pageSize) {
        readCount = answer.announced
        return { answer: first, at }
      }
    }
  }

  /** The last announcement that was read, with one more page. */
  function endOf(since: Position, { changes }: PollAnswer): Position {
    const last = changes.at(-1)
    if (!last) return since
    // Otherwise the same page would come for ever.
    if (changes.length === pageSize && last.key === since.key) {
      throw new Error('the store holds keys that are too long')
    }
    return { us: last.announcedUs, key: last.key }
  }

  function noteUnreadable(key: string, taken: Taken): void {
    if (taken !== 'unreadable' || unreadable.has(key) || unreadable.size >= maxUnreadable) return
    unreadable.add(key)
    const name = JSON.stringify(key.slice(0, 80))
    onNotice(`the store holds ${name}, which this version cannot read and does not enforce`)
  }

  /** HAProxy says so too, and asks for each request meanwhile. */
  function noteFeed(): void {
    const isFull = (known.list.recent?.().length ?? 0) > maxRevocations
    if (isFull === isFeedFull) return
    isFeedFull = isFull
    onNotice(
      isFull
        ? `more than ${maxRevocations} revocations are recent: all are in force, and HAProxy caches no verdict until there are fewer`
        : `no more than ${maxRevocations} revocations are recent any more`,
    )
  }

  function noteDebt(key: string, isOlder: boolean): void {
    const entry = known.get(key)
    if (!entry || known.hasEnded(entry)) return
    if (known.endsEarly(entry)) known.extend(key)
    else if (!isOlder) return
    owed.add(key)
  }

  /**
   * Whether something was lost. A store that came back as it once was lacks what was announced last,
   * whatever was written since.
   */
  function hasLost(answer: PollAnswer, since: Position, readBefore: number): boolean {
    const { values, announced, newestUs, markUs, upToMark } = answer
    if (values !== announced || newestUs < since.us) return true
    // Somebody put others before those that are known.
    if (upToMark > readBefore) return true
    const last = known.get(since.key)
    if (last && markUs < since.us && !known.hasEnded(last)) return true
    return announced < known.count - known.endedCount
  }

  function beginAudit(): void {
    audit = { position: start, there: new Set(), valued: 0, orphans: [] }
  }

  /** Compares page by page; true once all is compared, false where the time of a step is over. */
  async function advanceAudit(from: StoreConnection, isPatient: boolean): Promise<boolean> {
    const untilMs = isPatient ? Infinity : monotonic() + stepMs
    while (audit) {
      const { answer, sinceUs } = await ask(from, audit.position)
      let hasChanged = false
      for (const change of answer.changes) {
        const { key, value, announcedUs } = change
        // One from before that was not there before: verdicts were given without it, however old it is.
        const isLate = announcedUs <= settledUs
        const taken = known.take(change, isLate ? Number.NEGATIVE_INFINITY : sinceUs)
        if (taken === 'new') hasChanged = true
        noteUnreadable(key, taken)
        noteDebt(key, false)
        if (value !== '') audit.valued++
        if (value === '' && isOver(key)) audit.orphans.push(key)
        if (value !== '' && taken !== 'older') audit.there.add(key)
      }
      if (hasChanged) known.renew()
      audit.position = endOf(audit.position, answer)
      if (answer.changes.length < pageSize) {
        await endAudit(from, audit, answer)
        return true
      }
      if (monotonic() >= untilMs) return false
    }
    return true
  }

  function isOver(key: string): boolean {
    const entry = known.get(key)
    return entry === undefined || known.hasEnded(entry)
  }

  async function endAudit(
    from: StoreConnection,
    { there, valued, orphans, position }: Audit,
    last: PollAnswer,
  ) {
    // Values that nothing announces: the other structure was evicted.
    if (last.values > valued) {
      await from.readUnannounced(async (pairs) => {
        if (!readOnly) await from.merge(pairs, known.latestUs)
        // Nobody announces it to one who may not write.
        for (let i = 0; i < pairs.length && readOnly; i += 2) {
          const [key = '', value = ''] = pairs.slice(i, i + 2)
          known.take({ key, value, announcedUs: 0 }, Infinity)
        }
      })
    }
    for (let i = 0; i < orphans.length && !readOnly; i += mergeSize) {
      await from.prune(orphans.slice(i, i + mergeSize))
    }
    let lost = 0
    for (const [key, entry] of known.all()) {
      if (there.has(key) || pending.has(key) || known.hasEnded(entry)) continue
      owed.add(key)
      lost++
    }
    if (lost > 0) onNotice(`the store lacked ${lost} revocations that are known here; they go back`)
    // What follows is news. It may be earlier than the last news, where the store was set back.
    cursor = position
    readCount = last.announced
    audit = undefined
  }

  /** Gives the store what it lacks; true once nothing is owed. */
  async function giveOwed(to: StoreConnection, isPatient: boolean): Promise<boolean> {
    if (readOnly) owed.clear()
    const untilMs = isPatient ? Infinity : monotonic() + stepMs
    while (owed.size > 0) {
      const page: string[] = []
      for (const key of owed) if (page.push(key) === mergeSize) break
      const pairs = page.flatMap((key) => {
        const entry = known.get(key)
        return entry ? [key, formatValue(entry)] : []
      })
      await to.merge(pairs, known.latestUs)
      for (const key of page) owed.delete(key)
      if (monotonic() >= untilMs) break
    }
    return owed.size === 0
  }

  /** Gives the store the changes that it does not have. Of two states of one, it keeps the later. */
  async function givePending(to: StoreConnection): Promise<void> {
    while (pending.size > 0) {
      const page = [...pending].slice(0, mergeSize)
      await to.merge(
        page.flatMap(([key, entry]) => [key, formatValue(entry)]),
        known.latestUs,
      )
      for (const [key, entry] of page) {
        if (pending.get(key) === entry) pending.delete(key)
        audit?.there.add(key)
      }
    }
  }

  /**
   * HAProxy has to know them for as long as other replicas do not: each verdict of those may be newer than the
   * change. So they stay recent.
   */
  function renewPending(): void {
    const nowMs = monotonic()
    if (nowMs - renewedMs < (known.windowSeconds * 1_000) / 2) return
    renewedMs = nowMs
    for (const key of pending.keys()) {
      const entry = known.get(key)
      if (entry) known.put(key, entry, 0)
    }
  }

  /** However many changes come at a time, the store takes them together. */
  async function givePendingSoon(): Promise<void> {
    if (isGivingDue) return giving
    isGivingDue = true
    giving = enqueue(async () => {
      isGivingDue = false
      if (pending.size > 0) await withStore(givePending)
    })
    return giving
  }

  /** All that is to be done with the store at a time, in steps that hold nobody up for long. */
  async function exchange(from: StoreConnection, isPatient: boolean): Promise<void> {
    // Before anything is known, the audit brings it all.
    if (cursor.us > 0 || !audit) {
      const [since, readBefore] = [cursor, readCount]
      const { answer, at } = await takeNews(from)
      void keepCopy()
      // What was never given to the store is not lost.
      const isAllGiven = owed.size === 0 && pending.size === 0
      if (!audit && isAllGiven && hasLost(answer, since, readBefore)) {
        if (monotonic() >= nextAuditMs) beginAudit()
      }
      if (!audit) noteSync(at)
    }
    const hasAudit = audit !== undefined
    if (hasAudit && !(await advanceAudit(from, isPatient))) return
    if (isExtensionDue) extendDefaults()
    // After the news: a store that is full takes nothing, and tells what others revoked all the same.
    await givePending(from)
    if (!(await giveOwed(from, isPatient)) || !hasAudit) return
    const [since, readBefore] = [cursor, readCount]
    const { answer, at } = await takeNews(from)
    noteSync(at)
    auditPauseMs = hasLost(answer, since, readBefore)
      ? Math.min(mostAuditPauseMs, Math.max(leastAuditPauseMs, 2 * auditPauseMs))
      : 0
    nextAuditMs = monotonic() + auditPauseMs
  }

  /** Defaults follow the longest lifetime, and no replica may drop them from the store before. */
  function extendDefaults(): void {
    isExtensionDue = false
    for (const [key, entry] of known.all()) {
      if (!known.endsEarly(entry) || known.hasEnded(entry)) continue
      known.extend(key)
      owed.add(key)
    }
  }

  function noteSync(at: Moment): void {
    synced = at
    settledUs = cursor.us
    problem = undefined
  }

  async function reload({ isPatient = false } = {}): Promise<boolean> {
    const before = known.list
    renewPending()
    try {
      await withStore(async (from) => {
        await exchange(from, isPatient)
        await prune(from)
      })
      noteFeed()
      return known.list !== before
    } finally {
      // News do not wait for a disk that is slow.
      void keepCopy()
    }
  }

  /**
   * Writes the copy on disk, once it is known for sure who is revoked. One that was written before would say for sure
   * what nobody knew, and the next start would believe it.
   */
  function keepCopy(): Promise<void> | undefined {
    return hasWholeCopy || synced ? copy?.flush() : undefined
  }

  /** Drops what has ended, here and in the store. */
  async function prune(from: StoreConnection): Promise<void> {
    const ended = known.dropEnded()
    for (let i = 0; i < ended.length && !readOnly; i += mergeSize) {
      await from.prune(ended.slice(i, i + mergeSize))
    }
  }

  /** Reads the copy on disk, once. Later the copy would be older than memory. */
  async function load(): Promise<boolean> {
    const stored = (await options.copy?.load()) ?? { lines: [], isWhole: false }
    const found = new Map<string, Entry>()
    let { isWhole } = stored
    for (const [key, value] of stored.lines) {
      const read = readValue(key, value)
      // Somebody may be revoked in it: a line that cannot be read is not missing.
      if (!read) isWhole = false
      if (!read || read.changedUs < (found.get(key)?.changedUs ?? 0)) continue
      found.set(key, { ...read, announcedUs: read.changedUs })
    }
    // What was announced last stands last among the recent ones.
    const inOrder = [...found].toSorted(([, one], [, other]) => one.announcedUs - other.announcedUs)
    for (const [key, entry] of inOrder) if (!known.hasEnded(entry)) known.put(key, entry)
    if (isWhole) copy?.trust()
    for (const revocation of await options.former()) {
      const key = revocationKey(revocation.kind, revocation.id)
      const changedUs = (revocation.madeAt ?? 0) * 1e6
      if (known.get(key)) continue
      known.put(key, { revocation, removed: false, changedUs, announcedUs: now() * 1e3 })
    }
    known.renew()
    return isWhole
  }

  async function begin(): Promise<void> {
    if (!isLoaded) {
      hasWholeCopy = await load()
      isLoaded = true
    }
    try {
      await reload({ isPatient: true })
    } catch {
      if (!hasWholeCopy) {
        throw new RevocationError(
          `the store cannot be reached (${problem}), and there is no copy on disk that says for sure who was revoked`,
          { isTemporary: true },
        )
      }
      onNotice(
        `the store cannot be reached (${problem}); the ${known.list.size} revocations of the copy on disk are in force`,
      )
    }
    await copy?.settle()
  }

  function putChanged(key: string, entry: Entry): void {
    // Recent by any clock: that of the store may just have been set back.
    known.put(key, entry, 0)
    known.renew()
    owed.delete(key)
    pending.delete(key)
    audit?.there.add(key)
  }

  /**
   * Makes a change in the store; a RevocationError where that cannot be known to have happened. It is on disk too
   * when this resolves, unless the disk takes its time.
   */
  async function changeAndKeep<T>(make: (to: StoreConnection) => Promise<T>): Promise<T> {
    const startMs = monotonic()
    const made = await enqueue(async () => {
      if (monotonic() - startMs > changePatienceMs) {
        const sentence = 'the store is too slow; the change was not made, try again'
        throw new RevocationError(sentence, { isTemporary: true })
      }
      return withStore(make, '; the change cannot be confirmed, try again')
    })
    await keep()
    return made
  }

  async function keep(): Promise<void> {
    if (copy) await Promise.race([keepCopy(), pause(diskPatienceMs)])
  }

  /**
   * Puts a sign-out in force here before the store has it: nobody can try it again, because the person is gone.
   * Resolves once the store has it too, or cannot be reached, or takes its time.
   */
  async function addPending(revocation: StoredRevocation, isGuess: boolean): Promise<void> {
    const inForce = known.list.get(revocation.kind, revocation.id)
    // That of an administrator may last longer, and stays.
    if (!inForce || known.list.endOf(inForce) < revocation.until) {
      requireRoom(revocation)
      putPending(revocation, isGuess ? maxPendingGuesses : maxPendingSignOuts)
    }
    const given = givePendingSoon().catch(() => {})
    // Where the store is known not to answer, nobody waits for it.
    const answered = problem === undefined && Promise.race([given, pause(signOutPatienceMs)])
    await Promise.all([answered, keep()])
  }

  function requireRoom({ kind, id }: StoredRevocation): void {
    const former = known.get(revocationKey(kind, id))
    // Beyond the upper limit HAProxy caches nothing anyway. While the store is away, the count is an old one.
    const isFull = keptCount >= maxYielding && keptCount <= maxRevocations
    if (!former && isFull && problem === undefined) {
      throw new RevocationError(
        `there were ${maxYielding} revocations within the last ${keptSeconds()} s; the rest up to ${maxRevocations} is for administrators`,
      )
    }
  }

  function putPending(revocation: StoredRevocation, most: number): void {
    const key = revocationKey(revocation.kind, revocation.id)
    if (pending.size >= most) {
      for (const [each, entry] of pending) if (known.hasEnded(entry)) pending.delete(each)
    }
    if (!pending.has(key) && pending.size >= most) {
      throw new RevocationError(`${most} changes wait for the store (${problem ?? 'it is slow'})`, {
        isTemporary: true,
      })
    }
    const formerEnd = formerEndOf(key, revocation)
    const kept = formerEnd > revocation.until && { keptUntil: formerEnd }
    keepPending(key, { revocation, removed: false, ...kept })
  }

  function keepPending(key: string, state: Omit<Entry, 'changedUs' | 'announcedUs'>): void {
    // No clock of ours: one that is ahead would date every later change.
    const changedUs = known.latestUs + 1
    const entry = { ...state, changedUs, announcedUs: changedUs }
    known.put(key, entry, 0)
    known.renew()
    pending.set(key, entry)
  }

  /** Until when somebody may have an earlier state of it (s). */
  function formerEndOf(
    key: string,
    { before, madeAt = 0, untilDefault }: StoredRevocation,
  ): number {
    const former = known.get(key)
    return Math.max(
      former ? known.keptUntil(former) : 0,
      untilDefault ? Math.max(before, madeAt) + usualLifetimeSeconds : 0,
    )
  }

  /** Whether a revocation rejects all that the one in force does, for as long. */
  function isNoLess(revocation: StoredRevocation): boolean {
    const { list } = known
    const inForce = list.get(revocation.kind, revocation.id)
    if (!inForce) return true
    return revocation.before >= inForce.before && list.endOf(revocation) >= list.endOf(inForce)
  }

  /**
   * A change that the store did not take is in force here all the same where it rejects more, and where it ends what
   * the store never had. The error stays: the other replicas do not know of it.
   */
  async function makeHere(error: RevocationError, make: () => void): Promise<never> {
    if (!error.isTemporary) throw error
    make()
    await keep()
    throw new RevocationError(
      `the store cannot be reached (${problem ?? 'it is slow'}); the change counts on this replica, and the others get it later`,
      { isTemporary: true, isMadeHere: true },
    )
  }

  return {
    get list() {
      return known.list
    },
    start: () => enqueue(begin),
    reload: () => enqueue(reload),
    add: (revocation, { untilDefault = false, isYielding = false, isGuess = false } = {}) => {
      const madeAt = Math.floor(now() / 1e3)
      const stored = { ...revocation, madeAt, ...(untilDefault && { untilDefault }) }
      if (isYielding) return addPending(stored, isGuess)
      return changeAndKeep(async (to) => {
        const key = revocationKey(revocation.kind, revocation.id)
        const added = await to.add(key, JSON.stringify(stored), {
          floorUs: known.latestUs,
          formerEnd: formerEndOf(key, stored),
        })
        const announcedUs = added.changedUs
        putChanged(key, { revocation: stored, removed: false, ...added, announcedUs })
      }).catch((error: RevocationError) => {
        if (!isNoLess(stored)) throw error
        return makeHere(error, () => putPending(stored, maxPending))
      })
    },
    remove: (kind, id) => {
      const key = revocationKey(kind, id)
      return changeAndKeep(async (to) => {
        const former = known.get(key)
        const value = former && !former.removed ? formatValue(former) : ''
        const changedUs = await to.remove(key, { floorUs: known.latestUs, value })
        if (changedUs === 0) return false
        // One that is not known here comes with the poll as it is then.
        if (!former) return true
        putChanged(key, { ...former, removed: true, changedUs, announcedUs: changedUs })
        return true
      }).catch((error: RevocationError) => {
        // Whoever made it by mistake must not wait for the store.
        const waiting = pending.get(key)
        if (!waiting || waiting.removed) throw error
        return makeHere(error, () => keepPending(key, { ...waiting, removed: true }))
      })
    },
    setLongest(seconds) {
      if (known.setLongest(seconds)) isExtensionDue = true
    },
    setVerdictLife(seconds) {
      known.setWindow(seconds + outageSeconds + slackSeconds)
    },
    verdictLife() {
      if (!synced) return 0
      const elapsedMs = Math.max(now() - synced.wallMs, monotonic() - synced.monotonicMs)
      return known.windowSeconds - slackSeconds - elapsedMs / 1e3
    },
    storeMs: known.storeMs,
    state: () => ({
      reachable: connection !== undefined && problem === undefined,
      ...(synced && { secondsSinceSync: Math.round((monotonic() - synced.monotonicMs) / 1e3) }),
      ...(problem !== undefined && { problem }),
    }),
    async stop() {
      isStopped = true
      connection?.close()
      connection = undefined
      // What was learned last is in the copy too.
      await enqueue(async () => {})
      await copy?.settle()
    },
  }
}
