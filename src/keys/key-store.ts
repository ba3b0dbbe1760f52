import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

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

/** Creates a store of one JSON file for each issuer; `directory` is made when it is missing. */
export function createKeyStore(directory: string): KeyStore {
  const fileOf = (name: string) => join(directory, `${name}.json`)
  return {
    async load(name) {
      try {
        const { readMs, metadata, keys } = JSON.parse(await readFile(fileOf(name), 'utf8'))
        if (Number.isSafeInteger(readMs) && Array.isArray(keys)) return { readMs, metadata, keys }
      } catch {
        // No file yet, or none that a store wrote.
      }
      return undefined
    },
    async save(name, stored) {
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
    },
  }
}
