import { appendFile, open, readFile, rename, rm } from 'node:fs/promises'
import { setImmediate as turn } from 'node:timers/promises'

/** One line of the copy: a key and its value, as the store has them. */
export type CopyLine = readonly [key: string, value: string]

/** What is known of the store, on disk: for a start while the store is down. */
export interface DiskCopy {
  /** What was written; `isWhole` where it once held all that the store had. */
  load(): Promise<{ readonly lines: readonly CopyLine[]; readonly isWhole: boolean }>
  /** Adds lines; a later line counts before an earlier one of the same key. */
  append(lines: readonly CopyLine[]): Promise<void>
  /** Writes all lines anew; the copy is whole from then on. */
  rewrite(lines: Iterable<CopyLine>): Promise<void>
  /** Lines in the file, those that count no more among them. */
  readonly length: number
}

const firstLine = 'whole'

/** Lines that are put together before they are written: 10,000 are some milliseconds of work. */
const pageLines = 5_000

/** Creates the copy in a file, a line `KEY TAB VALUE` for each change. */
export function createDiskCopy(file: string): DiskCopy {
  let length = 0
  // The file may end inside a line, and what follows must not become part of it.
  let isTorn = false
  const format = ([key, value]: CopyLine) => `${key}\t${value}\n`
  return {
    get length() {
      return length
    },
    async load() {
      const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return ''
        throw error
      })
      const rows = text.split('\n')
      // What follows the last line end was cut off by a kill.
      isTorn = rows.pop() !== ''
      length = rows.length
      const isWhole = rows[0] === firstLine
      const lines: CopyLine[] = []
      for (const row of isWhole ? rows.slice(1) : rows) {
        const tab = row.indexOf('\t')
        if (tab > 0) lines.push([row.slice(0, tab), row.slice(tab + 1)])
      }
      return { lines, isWhole }
    },
    async append(lines) {
      const start = isTorn ? '\n' : ''
      isTorn = true
      await appendFile(file, start + lines.map(format).join(''), { mode: 0o600 })
      isTorn = false
      length += lines.length
    },
    async rewrite(lines) {
      const beside = `${file}.new`
      try {
        const handle = await open(beside, 'w', 0o600)
        let count = 0
        try {
          let page = `${firstLine}\n`
          for (const line of lines) {
            page += format(line)
            if (++count % pageLines > 0) continue
            await handle.writeFile(page)
            page = ''
            await turn()
          }
          await handle.writeFile(page)
          await handle.sync()
        } finally {
          await handle.close()
        }
        await rename(beside, file)
        isTorn = false
        length = count + 1
      } catch (error) {
        await rm(beside, { force: true })
        throw error
      }
    },
  }
}
