import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { link, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { readRegularFile } from '../regular-file.ts'
import { createSealingKey, type SealingKey, type SealingKeys } from './sealing.ts'

/** Why the sealing keys cannot be used; the message says what to do. */
export class SealingKeysError extends Error {}

/** There are files, and one of them is no key that can be used: other replicas may have good ones. */
export class SealingKeyFileError extends SealingKeysError {
  /** Whether nobody knows what the file has. */
  readonly isUnread: boolean

  constructor(message: string, { isUnread = false } = {}) {
    super(message)
    this.isUnread = isUnread
  }
}

/** What the folder needs from outside. */
export interface KeyFolderRuntime {
  /** Now, in ms since the epoch. */
  readonly clock: () => number
  /** A clock in ms that nobody sets, for how long a key is known; `clock` where absent. */
  readonly monotonic?: () => number
  readonly log: {
    info(fields: object, message: string): void
    warn(fields: object, message: string): void
  }
}

/** The sealing keys of a folder, as they were last read. */
export interface KeyFolder extends SealingKeys {
  /** Reads the folder; makes a key where there is none and the folder can be written. Rejects with SealingKeysError. */
  read(): Promise<void>
  readonly size: number
}

/**
 * How long a new key waits before it seals. A mounted Kubernetes Secret reaches the last pod within
 * two minutes, and a replica without the key would send people to sign in again.
 */
export const knownToAllMs = 5 * 60_000

/** A key of the service's own is replaced after this time. */
export const rotationMs = 30 * 24 * 3_600_000

const maxFiles = 100
const minBytes = 32
const maxBytes = 1_024

/** Files that the service made itself: the day, so that replicas which start together make one key. */
const ownName = /^sealing-(\d{4}-\d{2}-\d{2})\.key$/

interface KnownKey {
  readonly name: string
  readonly key: SealingKey
  /** When this process first saw it, in ms by the clock that nobody sets. */
  readonly sinceMs: number
}

/**
 * Creates the folder; nothing is read before `read`. Keys are ordered by the names of their files, the
 * newest last. The newest that has been known for five minutes seals. Where none has, as after a start,
 * the oldest does: that one every replica has.
 */
export function createKeyFolder(
  folder: string,
  { clock, monotonic = clock, log }: KeyFolderRuntime,
): KeyFolder {
  let known: readonly KnownKey[] = []
  let byId: ReadonlyMap<string, SealingKey> = new Map()
  let mark = ''
  /** The folder was there, with keys. */
  let wasThere = false
  let reading: Promise<void> | undefined

  /**
   * A file that is no key must not keep in force a key whose file is gone: whoever deletes one that was stolen would
   * not notice. So all that can be read counts, and the first problem is the error.
   */
  async function readOnce(): Promise<void> {
    const nowMs = monotonic()
    const former = new Map(known.map((entry) => [entry.key.id, entry]))
    const names = await listKeyFiles(folder, wasThere)
    let problem = names.length > maxFiles ? tooManyFiles(folder) : undefined
    const next: KnownKey[] = []
    for (const name of names) {
      const before = known.find((entry) => entry.name === name)
      // Of too many files, those are read that were read before.
      if (names.length > maxFiles && !before) continue
      let key: SealingKey | undefined
      try {
        key = createSealingKey(await readKeyFile(join(folder, name), name))
      } catch (error) {
        problem ??= error as SealingKeyFileError
        // What cannot be read may well be the key that it was.
        if ((error as SealingKeyFileError).isUnread) key = before?.key
      }
      if (!key || next.some((entry) => entry.key.id === key.id)) continue
      next.push({ name, key, sinceMs: former.get(key.id)?.sinceMs ?? nowMs })
    }
    const changed = next.length !== known.length || next.some(({ key }) => !former.has(key.id))
    known = next
    byId = new Map(next.map(({ key }) => [key.id, key]))
    mark = markOf(byId.keys())
    if (changed) log.info({ keys: next.map(({ name }) => name) }, 'sealing keys read')
    if (problem) throw problem
    wasThere = next.length > 0
  }

  /** Whether a key is one of the service's own and due to be replaced; no other one has a day. */
  function isRotationDue({ name }: KnownKey): boolean {
    return clock() - Date.parse(String(ownName.exec(name)?.[1])) >= rotationMs
  }

  async function makeKey(): Promise<void> {
    // One more could not be read, and neither could the others.
    if ((await listKeyFiles(folder)).length === maxFiles) {
      throw new SealingKeysError(`${folder} has ${maxFiles} files`)
    }
    const name = `sealing-${new Date(clock()).toISOString().slice(0, 10)}.key`
    await writeNew(folder, name, `${randomBytes(32).toString('base64url')}\n`)
    // All but the last two have sealed nothing for a rotation, and no session lives for as long.
    const superseded = known.filter((entry) => ownName.test(entry.name)).slice(0, -1)
    for (const { name: old } of superseded) await rm(join(folder, old), { force: true })
    await readOnce()
  }

  async function readAndRotate(): Promise<void> {
    await readOnce()
    const newest = known.at(-1)
    if (newest && !isRotationDue(newest)) return
    try {
      await makeKey()
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message
      if (!newest) {
        throw new SealingKeysError(
          `${folder} has no key and none can be made there (${reason}); write one with "openssl rand -base64 32"`,
        )
      }
      log.warn({ reason }, 'no new sealing key could be made, the last one goes on')
    }
  }

  return {
    get size() {
      return known.length
    },
    get sealing() {
      const nowMs = monotonic()
      const ripe = known.findLast(({ sinceMs }) => nowMs - sinceMs >= knownToAllMs)
      return (ripe ?? known[0])?.key
    },
    get: (id) => byId.get(id),
    mark: () => mark,
    read() {
      // One at a time: a disk that hangs would collect readings, and the oldest could end last.
      reading ??= readAndRotate().finally(() => {
        reading = undefined
      })
      return reading
    },
  }
}

function markOf(ids: Iterable<string>): string {
  const text = [...ids].sort().join(' ')
  return text && createHash('sha256').update(text).digest('base64url').slice(0, 8)
}

/** Reads the keys of a folder and changes nothing there. Rejects with SealingKeysError, also where there is none. */
export async function readSealingKeys(folder: string): Promise<SealingKeys> {
  const keys = new Map<string, SealingKey>()
  const names = await listKeyFiles(folder)
  if (names.length > maxFiles) throw tooManyFiles(folder)
  for (const name of names) {
    const key = createSealingKey(await readKeyFile(join(folder, name), name))
    keys.set(key.id, key)
  }
  if (keys.size === 0) throw new SealingKeysError(`${folder} has no key`)
  return { sealing: undefined, get: (id) => keys.get(id) }
}

function tooManyFiles(folder: string): SealingKeyFileError {
  return new SealingKeyFileError(
    `${folder} has more than ${maxFiles} files; it is for sealing keys only`,
  )
}

/** Names of key files, the oldest first. Those that begin with a dot belong to Kubernetes or to an editor. */
async function listKeyFiles(folder: string, mustBeThere = false): Promise<readonly string[]> {
  try {
    // A volume of its own has a folder lost+found. Links are files here: Kubernetes mounts keys as such.
    return (await readdir(folder, { withFileTypes: true }))
      .filter((entry) => !entry.isDirectory() && !entry.name.startsWith('.'))
      .map(({ name }) => name)
      .sort()
  } catch (error) {
    // Gone, as with a volume that is not mounted: that is no reason to end every session.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && !mustBeThere) return []
    throw new SealingKeysError(
      `${folder} cannot be read (${(error as NodeJS.ErrnoException).code})`,
    )
  }
}

async function readKeyFile(path: string, name: string): Promise<Buffer> {
  let content: Buffer | undefined
  try {
    content = await readRegularFile(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // A link to nowhere, and a folder: that is no key any more.
    const isUnread = code !== 'ENOENT' && code !== 'EISDIR'
    throw new SealingKeyFileError(`${name} cannot be read (${code})`, { isUnread })
  }
  if (!content) throw new SealingKeyFileError(`${name} cannot be read (not a file)`)
  // A text ends with a line break or not, depending on who wrote it; bytes stay as they are.
  const text = content.toString('latin1')
  const material = /^[!-~]+\s*$/.test(text) ? Buffer.from(text.trimEnd()) : content
  if (material.length < minBytes || material.length > maxBytes) {
    throw new SealingKeyFileError(
      `${name} is no sealing key: ${minBytes} to ${maxBytes} bytes; write one with "openssl rand -base64 32"`,
    )
  }
  return material
}

/** Written beside and linked: whole or not at all, and the first of two replicas wins. */
async function writeNew(folder: string, name: string, text: string): Promise<void> {
  // Not recursive: Node never comes back where a folder such as /proc refuses a new entry.
  for (const path of [dirname(folder), folder]) {
    await mkdir(path, { mode: 0o700 }).catch(() => {})
  }
  const beside = join(folder, `.${randomUUID()}.new`)
  try {
    await writeFile(beside, text, { mode: 0o600 })
    await link(beside, join(folder, name))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    await rm(beside, { force: true })
  }
}
