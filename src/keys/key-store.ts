import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { createQueue } from '../queue.ts'

/** The last good documents of one issuer, as the authority sent them. */
export interface StoredKeys {
  /** When the key set was read, in ms. */
  readonly readMs: number
  readonly metadata: unknown
  readonly keys: readonly unknown[]
}

/** Keeps the last good keys for a cold start while the authority is out of reach. */
export interface KeyStore {
  /** The stored documents, which are then checked like new ones; undefined where there are none. */
  load(name: string): Promise<StoredKeys | undefined>
  save(name: string, stored: StoredKeys): Promise<void>
}

/** Longest wait for the disk, in ms: a network drive that is gone may never answer. */
const defaultPatienceMs = 3_000

/**
 * Creates a store of one JSON file for each issuer; `directory` is made when it is missing. A disk that
 * does not answer within `patienceMs` has nothing and keeps nothing. `onUnreadable` is told of a file that
 * is there and of no use: what cannot be read is not missing.
 */
export function createKeyStore(
  directory: string,
  patienceMs = defaultPatienceMs,
  onUnreadable: (file: string, problem: string) => void = () => {},
): KeyStore {
  const fileOf = (name: string) => join(directory, `${name}.json`)
  const enqueue = createQueue()
  let isUnderWay = false

  /** One call at a time: a call that never comes back takes one of Node's four threads for good. */
  function inTime<T>(task: () => Promise<T>): Promise<T> {
    return enqueue(async () => {
      // The call before was given up, and has not come back.
      if (isUnderWay) throw new Error(noAnswer)
      isUnderWay = true
      const call = task().finally(() => {
        isUnderWay = false
      })
      const deadline = new AbortController()
      const giveUp = wait(patienceMs, undefined, deadline).then(() => {
        throw new Error(noAnswer)
      })
      try {
        // The race also takes the failure of whichever comes second, so that it stops no process.
        return await Promise.race([call, giveUp])
      } finally {
        deadline.abort()
      }
    })
  }

  return {
    async load(name) {
      try {
        const text = await inTime(() => readFile(fileOf(name), 'utf8'))
        const { readMs, metadata, keys } = JSON.parse(text) ?? {}
        if (Number.isSafeInteger(readMs) && Array.isArray(keys)) return { readMs, metadata, keys }
        onUnreadable(fileOf(name), 'no store wrote this file')
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException
        const problem = error instanceof SyntaxError ? 'it is not JSON' : (code ?? message)
        if (code !== 'ENOENT') onUnreadable(fileOf(name), problem)
      }
      return undefined
    },
    save: (name, stored) =>
      inTime(async () => {
        await mkdir(directory, { recursive: true, mode: 0o700 })
        // Written beside and renamed: a process killed half-way leaves the former file whole. Under a
        // name of its own, since several services may use one folder.
        const temporary = `${fileOf(name)}.${randomUUID()}.new`
        try {
          await writeFile(temporary, JSON.stringify(stored), { mode: 0o600 })
          await rename(temporary, fileOf(name))
        } catch (error) {
          await rm(temporary, { force: true })
          throw error
        }
      }),
  }
}

const noAnswer = 'the disk does not answer'
