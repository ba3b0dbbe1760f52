import { randomUUID } from 'node:crypto'
import { open, readlink, rename, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { setTimeout as wait } from 'node:timers/promises'
import { readIfThere } from './whole-file.ts'

/** Holds a lock file, so that one process at a time changes the file beside it. */
export interface FileLock {
  /**
   * Whether the lock is still held. Another process may have taken it, because it believed that
   * this one had died.
   */
  isHeld(): Promise<boolean>
  release(): Promise<void>
}

/** Time between two attempts, in ms; half of it at least, so that two do not go in step. */
const retryMs = 20

/**
 * A lock is held for milliseconds. One whose owner cannot be looked at, such as that of a container that
 * is gone, is left after this (ms). A start waits for it, and must end before the start-up probe does.
 */
export const abandonedMs = 15_000

/** How time passes, so that tests can turn the clock. */
export interface LockTime {
  /** A clock in ms that nobody sets. */
  monotonic(): number
  wait(ms: number): Promise<unknown>
}

/** The time of the machine. */
export const realTime: LockTime = { monotonic: () => performance.now(), wait: (ms) => wait(ms) }

/**
 * Takes the lock, waiting for up to `patienceMs`; undefined where somebody else still holds it then.
 * Rejects where the lock file cannot be written. A lock of a process that ended counts no more;
 * a process that only stands still keeps its lock.
 */
export async function takeFileLock(
  path: string,
  patienceMs: number,
  time: LockTime = realTime,
): Promise<FileLock | undefined> {
  const mine = JSON.stringify({ ...(await describeSelf()), nonce: randomUUID() })
  for (let waitedMs = 0; ; ) {
    if (await create(path, mine)) {
      return {
        isHeld: async () => (await readIfThere(path)) === mine,
        async release() {
          if ((await readIfThere(path)) === mine) await rm(path, { force: true })
        },
      }
    }
    if (await removeAbandoned(path, time)) continue
    if (waitedMs >= patienceMs) return undefined
    const pauseMs = retryMs * (0.5 + Math.random() / 2)
    await time.wait(pauseMs)
    waitedMs += pauseMs
  }
}

async function create(path: string, text: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx', 0o600)
    try {
      await handle.writeFile(text)
    } catch (error) {
      await rm(path, { force: true })
      throw error
    } finally {
      await handle.close()
    }
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Removes an abandoned lock. Returns true if an immediate retry makes sense. */
async function removeAbandoned(path: string, time: LockTime): Promise<boolean> {
  const text = await readIfThere(path)
  if (text === undefined) return true
  if (!(await isAbandoned(path, text, time))) return false
  // Moved away first: of several processes that see it, one gets it, and never a newer lock.
  const aside = `${path}.${randomUUID()}.old`
  try {
    await rename(path, aside)
  } catch {
    return true
  }
  if ((await readIfThere(aside)) !== text) {
    // Somebody else was faster, and this is the lock taken since: back with it.
    await rename(aside, path).catch(() => {})
    return false
  }
  await rm(aside, { force: true })
  return true
}

/** Locks of owners that cannot be looked at: what was read, and since when (monotonic, ms). */
const watched = new Map<string, { readonly text: string; readonly sinceMs: number }>()

async function isAbandoned(path: string, text: string, time: LockTime): Promise<boolean> {
  const owner = readOwner(text)
  const self = await describeSelf()
  if (owner.place !== undefined && owner.place === self.place) {
    return (await startOf(owner.pid)) !== owner.start
  }
  const seen = watched.get(path)
  if (seen?.text !== text) watched.set(path, { text, sinceMs: time.monotonic() })
  else if (time.monotonic() - seen.sinceMs > abandonedMs) return watched.delete(path)
  return false
}

interface Owner {
  /** Where process ids have the same meaning; absent where there is no /proc. */
  readonly place?: string
  readonly pid?: string
  /** When the process began, in ticks since the start of the machine: process ids come again. */
  readonly start?: string
}

/** Reads a lock file; one that was not written to its end says nothing. */
function readOwner(text: string): Owner {
  try {
    return JSON.parse(text) as Owner
  } catch {
    return {}
  }
}

async function describeSelf(): Promise<Owner> {
  try {
    const namespace = await readlink('/proc/self/ns/pid')
    const pid = await readlink('/proc/self')
    const start = await startOf(pid)
    // Machines that were copied have one host name and the same namespaces, and may share a volume. Under
    // ProcSubset=pid of systemd nothing tells them apart, so locks there are left by their age alone.
    const boot = (await readIfThere('/proc/sys/kernel/random/boot_id'))?.trim()
    if (start === undefined || boot === undefined) return {}
    return { place: `${hostname()} ${namespace} ${boot}`, pid, start }
  } catch {
    return {}
  }
}

/** When a process began; undefined where there is none of that id. See proc_pid_stat(5). */
async function startOf(pid: string | undefined): Promise<string | undefined> {
  const text = await readIfThere(`/proc/${pid}/stat`)
  // The name of the program, in parentheses, may hold spaces and parentheses.
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19]
}
