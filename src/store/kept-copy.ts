import type { CopyLine, DiskCopy } from './disk-copy.ts'

/** Keeps the copy on disk in step with what is known. Nothing here ever rejects. */
export interface KeptCopy {
  /** Takes a change along with the next flush. */
  note(key: string, value: string): void
  /** What was loaded is whole, so that changes may follow it. */
  trust(): void
  /**
   * Writes what was noted, after what is under way; resolves once that is done. Begins to write the
   * whole file anew where that is due.
   */
  flush(): Promise<void>
  /** Resolves once no write is under way. */
  settle(): Promise<void>
}

/** What the copy is made of. */
export interface KeptCopyOptions {
  readonly copy: DiskCopy
  readonly lines: () => Iterable<CopyLine>
  readonly count: () => number
  /** A clock that only goes forward, in ms. */
  readonly monotonic: () => number
  readonly onNotice: (message: string) => void
}

/** A disk that is full stays so for a while, and a million lines are a quarter of a gigabyte. */
const retryMs = 10_000

/** Lines that wait for a disk that hangs; beyond that, writing all anew is less. */
const maxNoted = 100_000

/** Lines beyond twice those that count, so that a small file is not written anew all the time. */
const spareLines = 50_000

/**
 * Creates the keeper. The copy is a second place: if it cannot be written, revocations count
 * nevertheless. But then the file must not claim to be complete. It is written again, with
 * everything, as soon as possible.
 */
export function createKeptCopy(options: KeptCopyOptions): KeptCopy {
  const { copy, lines, count, monotonic, onNotice } = options
  let noted: CopyLine[] = []
  let isWhole = false
  /** Changes that did not get into the file since it began to be written anew. */
  let hasLostMeanwhile = false
  let retryAtMs = Number.NEGATIVE_INFINITY
  let rewriting: Promise<void> | undefined
  let appending: Promise<void> = Promise.resolve()
  let isWriteDue = false
  let lastProblem: string | undefined

  function report(error: unknown): void {
    retryAtMs = monotonic() + retryMs
    const { code, message } = error as NodeJS.ErrnoException
    const text = `the copy of the store on disk cannot be written (${code ?? message})`
    if (text !== lastProblem) onNotice(text)
    lastProblem = text
  }

  /** What came while another write was under way goes into one. */
  async function write(): Promise<void> {
    isWriteDue = false
    const added = noted
    noted = []
    if (added.length === 0 || !(isWhole || rewriting)) return
    try {
      await copy.append(added)
      lastProblem = undefined
    } catch (error) {
      lose()
      report(error)
      // Where not even this works, the next start finds a file that it cannot write.
      await copy.markStale().catch(() => {})
    }
  }

  /** The file lacks something, and so does one that is being written. */
  function lose(): void {
    isWhole = false
    hasLostMeanwhile = true
  }

  async function rewrite(): Promise<void> {
    hasLostMeanwhile = false
    try {
      await copy.rewrite(lines(), () => !hasLostMeanwhile)
      // Something may have been lost after the new file took its place: then it is stale already.
      isWhole = !hasLostMeanwhile
      lastProblem = undefined
    } catch (error) {
      report(error)
    }
  }

  return {
    note(key, value) {
      // What is written anew has it.
      if (!isWhole && !rewriting) return
      noted.push([key, value])
      if (noted.length <= maxNoted) return
      noted = []
      lose()
      void copy.markStale().catch(() => {})
    },
    trust() {
      isWhole = true
    },
    flush() {
      if (noted.length > 0 && !isWriteDue) {
        isWriteDue = true
        appending = appending.then(write)
      }
      const isDue = !isWhole || copy.length > 2 * count() + spareLines
      if (isDue && !rewriting && monotonic() >= retryAtMs) {
        rewriting = rewrite().finally(() => {
          rewriting = undefined
        })
      }
      return appending
    },
    async settle() {
      if (noted.length > 0 && !isWriteDue) appending = appending.then(write)
      await appending
      await rewriting
    },
  }
}
