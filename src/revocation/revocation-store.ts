import { randomUUID } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { maxRevocations, parseRevocation, type Revocation, revocationKey } from './revocation.ts'
import { createRevocationList, type RevocationList } from './revocation-list.ts'

/** Why a change of the revocations was not made; the message says what to do. */
export class RevocationError extends Error {}

/** The revocations in force, kept in one file. */
export interface RevocationStore {
  /** The list in force; another object whenever anything changed. */
  readonly list: RevocationList
  /** Reads the file if its text is another one. Rejects where it cannot be understood. */
  reload(): Promise<boolean>
  /** Adds a revocation, or replaces the one of the same kind and id. */
  add(revocation: Revocation): Promise<void>
  /** Ends a revocation before its time; false where there is none. */
  remove(kind: Revocation['kind'], id: string): Promise<boolean>
}

/**
 * Creates the store; `file` undefined means that there are no revocations and none can be made.
 * `now` is in ms. Entries that have ended are dropped with the next change.
 */
export function createRevocationStore(
  file: string | undefined,
  now: () => number,
): RevocationStore {
  let list = createRevocationList([])
  let text: string | undefined
  let changing: Promise<unknown> = Promise.resolve()

  async function reload(): Promise<boolean> {
    if (file === undefined) return false
    const read = await readIfThere(file)
    if (read === text) return false
    // Gone without a trace: that is no reason to admit again whom it refused.
    if (read === undefined) throw new RevocationError('the revocation file is gone')
    list = createRevocationList(parseFile(read))
    text = read
    return true
  }

  /** One change at a time, each on top of what the file says now. */
  function change<T>(make: (entries: Map<string, Revocation>) => T): Promise<T> {
    const result = changing.then(async () => {
      if (file === undefined) {
        throw new RevocationError('set revocationFile in the configuration to use revocations')
      }
      await reload()
      const nowSeconds = now() / 1000
      const alive = list.entries.filter(({ until }) => until > nowSeconds)
      const entries = new Map(alive.map((entry) => [revocationKey(entry.kind, entry.id), entry]))
      const made = make(entries)
      const next = `${JSON.stringify({ revocations: [...entries.values()] }, null, 2)}\n`
      await writeWhole(file, next)
      list = createRevocationList([...entries.values()])
      text = next
      return made
    })
    changing = result.catch(() => {})
    return result
  }

  return {
    get list() {
      return list
    },
    reload() {
      const result = changing.then(reload)
      changing = result.catch(() => {})
      return result
    },
    add: (revocation) =>
      change((entries) => {
        const key = revocationKey(revocation.kind, revocation.id)
        if (!entries.has(key) && entries.size >= maxRevocations) {
          throw new RevocationError(
            `there are ${maxRevocations} revocations, which is the limit; revoke the client or the tenant instead`,
          )
        }
        entries.set(key, revocation)
      }),
    remove: (kind, id) => change((entries) => entries.delete(revocationKey(kind, id))),
  }
}

/** Reads the text of a revocation file; throws RevocationError with a line on what is wrong. */
export function parseFile(text: string): readonly Revocation[] {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch {
    throw new RevocationError('the revocation file is not JSON')
  }
  const { revocations } = (document ?? {}) as { revocations?: unknown }
  if (!Array.isArray(revocations)) {
    throw new RevocationError('the revocation file has no list "revocations"')
  }
  if (revocations.length > maxRevocations) {
    throw new RevocationError(`the revocation file has more than ${maxRevocations} entries`)
  }
  return revocations.map((value, index) => {
    const parsed = parseRevocation(value)
    if (typeof parsed !== 'string') return parsed
    throw new RevocationError(`the revocation file, revocations[${index}]: ${parsed}`)
  })
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Written beside, flushed and renamed: a full disk or a kill leaves the former file whole. */
async function writeWhole(file: string, text: string): Promise<void> {
  const beside = `${file}.${randomUUID()}.new`
  try {
    const handle = await open(beside, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(beside, file)
  } catch (error) {
    await rm(beside, { force: true })
    const { code } = error as NodeJS.ErrnoException
    throw new RevocationError(
      `the revocation file cannot be written (${code}); nothing was changed`,
    )
  }
}
