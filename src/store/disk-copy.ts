import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { followLinks, syncFolder } from '../revocation/whole-file.ts'

/** One line of the copy: a key and its value, as the store has them. */
export type CopyLine = readonly [key: string, value: string]

/** What is known of the store, on disk: for a start while the store is down. */
export interface DiskCopy {
  /**
   * Reads the copy. `isWhole` is true if it has everything that this service ever knew of the
   * store, and can still be written. A copy that can no longer be written may be outdated.
   */
  load(): Promise<{ readonly lines: readonly CopyLine[]; readonly isWhole: boolean }>
  /** Adds lines; a later line counts before an earlier one of the same key. */
  append(lines: readonly CopyLine[]): Promise<void>
  /**
   * Writes all lines anew; the copy is whole from then on. What is added meanwhile gets into both. Rejects,
   * and leaves the file as it is, where `isComplete` says in the end that something is missing all the same.
   */
  rewrite(lines: Iterable<CopyLine>, isComplete?: () => boolean): Promise<void>
  /** Notes in the file that something is missing in it; needs no room on the disk. */
  markStale(): Promise<void>
  /** Lines in the file, those that count no more among them. */
  readonly length: number
}

/** The first line of a file: whether all is in it. They have the same length. */
const [wholeMark, staleMark] = ['whole', 'stale']

/** Ends a line that a kill or a full disk cut off; no other line ends so. */
const cancelled = '\x18'

/** Lines that are put together before they are written: 10,000 are some milliseconds of work. */
const pageLines = 5_000

/** Creates the copy in a file, a line `KEY TAB VALUE` for each change. */
export function createDiskCopy(path: string): DiskCopy {
  let length = 0
  // The file may end inside a line, and what follows must not become part of it.
  let isTorn = false
  /** What was added while the file is written anew. */
  let meanwhile: CopyLine[] | undefined
  let renaming: Promise<void> | undefined
  const format = ([key, value]: CopyLine) => `${key}\t${value}\n`

  async function write(flags: string, position: number | null, text: string): Promise<void> {
    const handle = await open(path, flags, 0o600)
    try {
      if (position === null) await handle.writeFile(text)
      else await handle.write(text, position)
      await handle.datasync()
    } finally {
      await handle.close()
    }
  }

  return {
    get length() {
      return length
    },
    async load() {
      const file = await followLinks(path)
      await removeUnfinished(file)
      const lines: CopyLine[] = []
      let first: string | undefined
      const take = (row: string) => {
        const tab = row.indexOf('\t')
        const isMark = first === undefined && tab < 0
        first ??= row
        if (isMark || row.endsWith(cancelled)) return
        // Without a tab it is no line of a copy: for the reader to say, since something is missing.
        lines.push(tab < 0 ? [row, ''] : [row.slice(0, tab), row.slice(tab + 1)])
      }
      length = 0
      // In pieces: the longest string of V8 is half a gigabyte.
      let rest = ''
      try {
        for await (const piece of createReadStream(file, { encoding: 'utf8' })) {
          const rows = `${rest}${piece}`.split('\n')
          rest = rows.pop() ?? ''
          length += rows.length
          for (const row of rows) take(row)
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { lines, isWhole: false }
        throw error
      }
      // What follows the last line end was cut off by a kill.
      isTorn = rest !== ''
      const isWritable = await write('r+', 0, '').then(
        () => true,
        () => false,
      )
      return { lines, isWhole: first === wholeMark && isWritable }
    },
    async append(lines) {
      await renaming
      meanwhile?.push(...lines)
      const start = isTorn ? `${cancelled}\n` : ''
      isTorn = true
      await write('a', null, start + lines.map(format).join(''))
      isTorn = false
      length += lines.length
    },
    async rewrite(lines, isComplete = () => true) {
      const file = await followLinks(path)
      const beside = `${file}.${randomUUID()}.new`
      const added: CopyLine[] = []
      meanwhile = added
      try {
        const handle = await open(beside, 'wx', 0o600)
        let count = 1
        try {
          let page = `${wholeMark}\n`
          for (const line of lines) {
            page += format(line)
            if (++count % pageLines > 0) continue
            await handle.writeFile(page)
            page = ''
            await turn()
          }
          await handle.writeFile(page)
          while (added.length > 0) {
            const late = added.splice(0)
            count += late.length
            await handle.writeFile(late.map(format).join(''))
          }
          await handle.sync()
          // From here on, additions wait for the new file. Lines added during the flush are written
          // later.
          renaming = finish(handle, added, async () => {
            if (!isComplete()) throw new Error('changes were lost meanwhile')
            await rename(beside, file)
          })
          count += added.length
          await renaming
        } finally {
          await handle.close()
        }
        isTorn = false
        length = count
      } catch (error) {
        await rm(beside, { force: true })
        throw error
      } finally {
        meanwhile = undefined
        renaming = undefined
      }
      await syncFolder(dirname(file))
    },
    markStale: () => write('r+', 0, staleMark),
  }

  async function finish(
    handle: Awaited<ReturnType<typeof open>>,
    added: readonly CopyLine[],
    replace: () => Promise<void>,
  ): Promise<void> {
    if (added.length > 0) {
      await handle.writeFile(added.map(format).join(''))
      await handle.sync()
    }
    await replace()
  }
}

/** Removes unfinished temporary files that a kill left behind. Each may be as large as the file. */
async function removeUnfinished(file: string): Promise<void> {
  const start = `${basename(file)}.`
  const names = await readdir(dirname(file)).catch(() => [])
  for (const name of names) {
    if (!name.startsWith(start)) continue
    if (!/^[\da-f-]{36}\.new$/.test(name.slice(start.length))) continue
    await rm(join(dirname(file), name), { force: true }).catch(() => {})
  }
}
