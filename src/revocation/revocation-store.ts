import { randomUUID } from 'node:crypto'
import { dirname, join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { createQueue } from '../queue.ts'
import { abandonedMs, type FileLock, type LockTime, realTime, takeFileLock } from './file-lock.ts'
import {
  endOf,
  maxRevocations,
  parseStored,
  type Revocation,
  revocationKey,
  type StoredRevocation,
} from './revocation.ts'
import { createRevocationList, type RevocationList } from './revocation-list.ts'
import { followLinks, keepCopy, readIfThere, UnflushedError, writeWhole } from './whole-file.ts'

/** Why a change of the revocations was not made; the message says what to do. */
export class RevocationError extends Error {
  /** Whether the same call may succeed later, with nothing changed by anybody. */
  readonly isTemporary: boolean
  /** Whether the change counts here all the same, and other replicas do not know of it yet. */
  readonly isMadeHere: boolean

  constructor(message: string, { isTemporary = false, isMadeHere = false } = {}) {
    super(message)
    this.isTemporary = isTemporary
    this.isMadeHere = isMadeHere
  }
}

/** The file is not there although it was; memory has what it had. */
class GoneError extends RevocationError {}

/** What a caller of `add` says besides the revocation. */
export interface AddOptions {
  /** Nobody said until when: the revocation follows the longest lifetime of a token. */
  readonly untilDefault?: boolean
  /** Whoever signs in can cause it, so it leaves room for those of administrators. */
  readonly isYielding?: boolean
  /** Anybody can cause it, for a session that is made up: it leaves room for those who sign in. */
  readonly isGuess?: boolean
}

/**
 * The active revocations. One test suite, test/revocation/contract.ts, runs against each
 * implementation. A change that resolves is active and survives a restart. A change that rejects
 * with a RevocationError was not made, may not survive a restart, or counts on this replica only, as its message says.
 */
export interface RevocationStore {
  /** The list in force; another object whenever anything changed. */
  readonly list: RevocationList
  /**
   * Reads what is kept, before the first request. Rejects where it cannot be known who was revoked:
   * what is missing is not empty.
   */
  start(): Promise<void>
  /** Takes in what others changed; true where there was something. Rejects where it cannot be read. */
  reload(): Promise<boolean>
  /** Adds a revocation, or replaces the one of the same kind and id. */
  add(revocation: Revocation, options?: AddOptions): Promise<void>
  /** Ends a revocation before its time; false where there is none. */
  remove(kind: Revocation['kind'], id: string): Promise<boolean>
  /** Sets the longest lifetime of a token, in seconds: revocations with the default end follow it. */
  setLongest(seconds: number): void
  /** Sets for how long HAProxy may keep a verdict, in seconds; only replicas need to know it. */
  setVerdictLife?(seconds: number): void
  /** For how long a verdict of this moment may be kept at most, in seconds. */
  verdictLife?(): number
  /** What the clock of the store that replicas share says (ms), as far as it was heard; absent where there is none. */
  storeMs?(): number | undefined
  /** How the store that replicas share is doing; absent where there is none. */
  state?(): StoreState
  stop?(): Promise<void>
}

/** Whether the store that replicas share answers. */
export interface StoreState {
  readonly reachable: boolean
  readonly secondsSinceSync?: number
  readonly problem?: string
}

/** So many leave room for those of administrators. */
const maxYielding = 8_000

/**
 * So many that have ended stay in the file, those that ended last. A clock that is wrong for a while, or
 * a reload that lengthens the lifetime of tokens, may put them in force again.
 */
export const maxEnded = 1_000

/** How long a change waits for another process that changes the file, in ms. */
const lockPatienceMs = 5_000

/**
 * How long whoever asks for a change waits for its end, in ms: for the lock, behind another change that
 * waited as long, and for the disk. One that hangs never answers.
 */
const changePatienceMs = 15_000

type Entries = Map<string, StoredRevocation>

interface Change {
  /** Whether the disk may have it already. */
  isBegun: boolean
  /** Makes the change, or throws a RevocationError; `ended` are those that count no more. */
  make(entries: Entries, ended: Entries): unknown
  resolve(made: unknown): void
  reject(error: unknown): void
}

/** What a store tells whoever runs the service. */
export type OnNotice = (message: string) => void

/**
 * Creates the store that keeps the revocations in one file; `file` undefined means that there are
 * none and none can be made. `now` is in ms. Of entries that have ended, the next change drops all but
 * the last `maxEnded`. Several processes of a machine may change one file: each waits for the lock beside it.
 * `flushFolder` takes the place of the file system's own way to do that.
 */
export function createRevocationStore(
  file: string | undefined,
  now: () => number,
  onNotice: OnNotice = () => {},
  flushFolder?: (folder: string) => Promise<void>,
  time: LockTime = realTime,
): RevocationStore {
  const { monotonic } = time
  /** The wall clock's lead over the monotonic one at the start. */
  let aheadMs: number | undefined
  let longestSeconds = 0
  let list = createRevocationList([])
  let text: string | undefined
  /** The id of the file, which it gets when it is created and keeps through all changes. */
  let id: string | undefined
  /** The file does not have what memory has, since it is another one than before. */
  let isMergeDue = false
  let isCopied = false
  /** Changes that wait; those that come during a write are made together with the next one. */
  let waiting: Change[] = []
  const enqueue = createQueue()

  function put(stored: readonly StoredRevocation[]): void {
    list = createRevocationList(stored, longestSeconds)
  }

  async function keepCopyOf(path: string): Promise<void> {
    isCopied = await keepCopy(path, copyOf(path)).then(
      () => true,
      () => false,
    )
  }

  /** Takes in what the file has; true where that is another text than before. */
  async function read(): Promise<boolean> {
    if (file === undefined) return false
    const path = await followLinks(file)
    const found = await readIfThere(path)
    if (found === undefined) {
      // Gone without a trace: that is no reason to admit again whom it refused.
      if (text !== undefined) {
        throw new GoneError(
          `the revocation file is gone; its ${list.size} revocations stay active, and the next change writes it again`,
        )
      }
      return takeCopy(path)
    }
    if (found === text) {
      // A copy that is older than the file would bring back less than all.
      if (!isCopied) await keepCopyOf(path)
      return false
    }
    const document = parseDocument(found)
    // Another file in the place of the one that is known, as when another service started while the
    // volume was not mounted. It ends no revocation.
    if (id !== undefined && document.id !== undefined && document.id !== id) {
      put(merge(list.stored, document.revocations))
      isMergeDue = true
    } else {
      put(document.revocations)
    }
    // A program that knows of no id writes the same file without it.
    id = document.id ?? id
    text = found
    await keepCopyOf(path)
    return true
  }

  async function reload(): Promise<boolean> {
    const isChanged = await read()
    if (file !== undefined && isMergeDue) {
      await writeLocked(await followLinks(file), () => {})
      onNotice(
        `the revocation file was replaced by another one: the ${list.size} revocations of both are active`,
      )
    }
    return isChanged
  }

  /** The copy, where the file has gone since it was written; false where there never was one. */
  async function takeCopy(path: string): Promise<boolean> {
    const copy = await readIfThere(copyOf(path))
    if (copy === undefined || list.size > 0) return false
    const document = parseDocument(copy)
    put(document.revocations)
    id = document.id
    return list.size > 0
  }

  async function start(): Promise<void> {
    aheadMs ??= now() - monotonic()
    await read()
    if (file === undefined || text !== undefined) return
    const path = await followLinks(file)
    const copy = copyOf(path)
    const hasCopy = (await readIfThere(copy)) !== undefined
    try {
      // Without a copy the start depends on the file, so it waits until the lock of a container that
      // is gone counts no more.
      await writeLocked(path, () => {}, lockPatienceMs + (hasCopy ? 0 : abandonedMs))
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      const reason = code ?? message
      if (!hasCopy) {
        throw new RevocationError(
          `the revocation file is not there and cannot be created (${reason}); is its volume mounted?`,
        )
      }
      // The copy says who was revoked, and the next change tries again to write the file.
      onNotice(
        `the revocation file is missing and cannot be created (${reason}): the ${list.size} revocations of ${copy} are active`,
      )
      return
    }
    onNotice(
      hasCopy
        ? `the revocation file was missing: ${list.size} revocations were restored from ${copy}; to begin without any, remove both`
        : 'there was no revocation file: it was created, and nothing is revoked',
    )
  }

  /** Reads, changes and writes the file while no other process does. */
  async function writeLocked(
    path: string,
    make: Change['make'],
    patienceMs = lockPatienceMs,
  ): Promise<void> {
    const lock = await takeFileLock(`${path}.lock`, patienceMs, time)
    if (!lock) {
      throw new RevocationError(
        `another process is changing the revocation file (${path}.lock); nothing was changed, try again`,
        { isTemporary: true },
      )
    }
    try {
      await read().catch((error) => {
        // Memory has what the file had: the change writes it again.
        if (!(error instanceof GoneError)) throw error
      })
      // A clock that is ahead for a moment must end nothing for good.
      aheadMs ??= now() - monotonic()
      const nowSeconds = Math.min(now(), monotonic() + aheadMs) / 1000
      const isAlive = (entry: StoredRevocation) => list.endOf(entry) > nowSeconds
      const entries = byKey(list.stored.filter(isAlive))
      const ended = byKey(
        list.stored
          .filter((entry) => !isAlive(entry))
          .toSorted((a, b) => list.endOf(b) - list.endOf(a)),
      )
      make(entries, ended)
      for (const key of entries.keys()) ended.delete(key)
      if (entries.size > maxRevocations) {
        throw new RevocationError(
          `two revocation files have more than ${maxRevocations} revocations together; end some of them`,
        )
      }
      const room = Math.min(maxEnded, maxRevocations - entries.size)
      const kept = [...ended.values()].slice(0, room)
      const stored = [...entries.values(), ...kept].map((entry) => ({
        ...entry,
        until: endOf(entry, longestSeconds),
      }))
      id ??= randomUUID()
      const next = `${JSON.stringify({ id, revocations: stored }, null, 2)}\n`
      const unflushed = await write(path, next, lock)
      put(stored)
      text = next
      isMergeDue = false
      await keepCopyOf(path)
      if (unflushed) throw unflushed
    } finally {
      await lock.release()
    }
  }

  /** Writes the file; returns the error of a change that was made and may not last. */
  async function write(
    path: string,
    next: string,
    lock: FileLock,
  ): Promise<RevocationError | undefined> {
    const isTemporary = true
    try {
      if (await writeWhole(path, next, () => lock.isHeld(), flushFolder)) return undefined
    } catch (error) {
      if (!(error instanceof UnflushedError)) throw error
      return new RevocationError(
        `the change is in force, but the disk did not confirm it, so a power failure may undo it (${error.message}); try again`,
        { isTemporary },
      )
    }
    throw new RevocationError(
      'the lock of the revocation file was lost; nothing was changed, try again',
      { isTemporary },
    )
  }

  /** Makes the changes that wait, all with one write. */
  async function makeChanges(): Promise<void> {
    // Those that were asked for in the same turn come along.
    await turn()
    const changes = waiting
    waiting = []
    if (changes.length === 0) return
    for (const change of changes) change.isBegun = true
    const refused = new Map<Change, unknown>()
    const made = new Map<Change, unknown>()
    try {
      if (file === undefined) {
        throw new RevocationError(
          'set revocationFile in the configuration, or ENTRA_AUTH_REVOCATION_FILE, to use revocations',
        )
      }
      await writeLocked(await followLinks(file), (entries, ended) => {
        for (const change of changes) {
          try {
            made.set(change, change.make(entries, ended))
          } catch (error) {
            refused.set(change, error)
          }
        }
      })
    } catch (error) {
      for (const { reject } of changes) reject(describe(error))
      return
    }
    for (const change of changes) {
      if (refused.has(change)) change.reject(refused.get(change))
      else change.resolve(made.get(change))
    }
  }

  async function change<T>(make: (entries: Entries, ended: Entries) => T): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const made = new Promise<unknown>((resolve, reject) => {
      const asked: Change = { isBegun: false, make, resolve, reject }
      waiting.push(asked)
      timer = setTimeout(() => giveUp(asked), changePatienceMs)
      void enqueue(makeChanges)
    })
    try {
      return (await made) as T
    } finally {
      clearTimeout(timer)
    }
  }

  /** Tells whoever asked for a change that the disk does not answer. */
  function giveUp(asked: Change): void {
    waiting = waiting.filter((one) => one !== asked)
    const outcome = asked.isBegun
      ? 'the change may still be made; look at the list of revocations, and try again'
      : 'nothing was changed, try again'
    asked.reject(
      new RevocationError(`the disk of the revocation file does not answer: ${outcome}`, {
        isTemporary: true,
      }),
    )
  }

  return {
    get list() {
      return list
    },
    start: () => enqueue(start),
    reload: () => enqueue(reload),
    add: (revocation, { untilDefault = false, isYielding = false } = {}) =>
      change((entries) => {
        const key = revocationKey(revocation.kind, revocation.id)
        const former = entries.get(key)
        if (isYielding && former && endOf(former, longestSeconds) >= revocation.until) return
        if (isYielding && !former && entries.size >= maxYielding) {
          throw new RevocationError(
            `there are ${maxYielding} revocations; the rest up to ${maxRevocations} is for administrators`,
          )
        }
        if (!entries.has(key) && entries.size >= maxRevocations) {
          throw new RevocationError(
            `there are ${maxRevocations} revocations, which is the limit; revoke the client or the tenant instead`,
          )
        }
        const madeAt = Math.floor(now() / 1000)
        entries.set(key, { ...revocation, madeAt, ...(untilDefault && { untilDefault }) })
      }),
    remove: (kind, id) =>
      change((entries, ended) => {
        ended.delete(revocationKey(kind, id))
        return entries.delete(revocationKey(kind, id))
      }),
    setLongest(seconds) {
      if (seconds === longestSeconds) return
      longestSeconds = seconds
      put(list.stored)
    },
  }
}

/** Reads the text of a revocation file; throws RevocationError with a line on what is wrong. */
export function parseFile(text: string): readonly StoredRevocation[] {
  return parseDocument(text).revocations
}

/** A revocation file. */
interface Document {
  /** Absent where another program wrote it. */
  readonly id: string | undefined
  readonly revocations: readonly StoredRevocation[]
}

function parseDocument(text: string): Document {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch {
    throw new RevocationError('the revocation file is not JSON')
  }
  const { id, revocations } = (document ?? {}) as { id?: unknown; revocations?: unknown }
  if (!Array.isArray(revocations)) {
    throw new RevocationError('the revocation file has no list "revocations"')
  }
  if (revocations.length > maxRevocations) {
    throw new RevocationError(`the revocation file has more than ${maxRevocations} entries`)
  }
  const parsed = revocations.map((value, index) => {
    const revocation = parseStored(value)
    if (typeof revocation !== 'string') return revocation
    throw new RevocationError(`the revocation file, revocations[${index}]: ${revocation}`)
  })
  return { id: typeof id === 'string' ? id : undefined, revocations: parsed }
}

/** All of two lists; of two of the same kind and id the one that revokes more tokens, for longer. */
function merge(
  some: readonly StoredRevocation[],
  others: readonly StoredRevocation[],
): readonly StoredRevocation[] {
  const merged = byKey(some)
  for (const [key, other] of byKey(others)) {
    const one = merged.get(key) ?? other
    const later = one.before > other.before ? one : other
    merged.set(key, { ...later, until: Math.max(one.until, other.until) })
  }
  return [...merged.values()]
}

function byKey(stored: readonly StoredRevocation[]): Entries {
  return new Map(stored.map((entry) => [revocationKey(entry.kind, entry.id), entry]))
}

/** The second name of a revocation file, by which it is found when the first one is gone. */
function copyOf(path: string): string {
  return join(dirname(path), `.${path.slice(dirname(path).length + 1)}.copy`)
}

function describe(error: unknown): unknown {
  if (error instanceof RevocationError) return error
  const { code, message } = error as NodeJS.ErrnoException
  return new RevocationError(
    `the revocation file cannot be written (${code ?? message}); nothing was changed`,
  )
}
