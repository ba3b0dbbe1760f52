/** Whether the memory of a process stays flat, by a rule that leaves room for bounded caches to fill. */

/** One look at a process. */
export interface Sample {
  /** Resident memory, in bytes. */
  readonly residentBytes: number
  /** Entries of its cache, which is bounded. */
  readonly entries: number
}

/** What a run showed of one process. */
export interface Judgement {
  readonly isFlat: boolean
  /** Lowest tenth of the third and of the last quarter of the run, in bytes. */
  readonly thirdBytes: number
  readonly lastBytes: number
  /** What the last quarter may have more than the third, in bytes. */
  readonly allowedBytes: number
}

/** What an allocator moves by itself. */
export const allocatorBytes = 16 * 1024 * 1024

/** And what Node's heap moves by in its first minutes, until it has its size: from 160 to 250 MiB was seen. */
export const collectorBytes = 96 * 1024 * 1024

/** A token with its verdict, in the verifier and in HAProxy, and room for the tables that hold them. */
const entryBytes = 3 * 1024

/**
 * Compares the lowest memory use of the last quarter with that of the third, which may be
 * `toleranceBytes` lower. The first half is warm-up. 96 MiB are a leak of 156 bytes a request after
 * the 645,000 requests of a quarter of five minutes. 16 MiB are one of 5 bytes after 3.8 million, a
 * quarter of thirty minutes. Fewer than eight samples prove nothing.
 */
export function judgeMemory(samples: readonly Sample[], toleranceBytes: number): Judgement {
  const quarter = Math.floor(samples.length / 4)
  const third = samples.slice(2 * quarter, 3 * quarter)
  const last = samples.slice(3 * quarter)
  const thirdBytes = floorOf(third)
  const lastBytes = floorOf(last)
  const gained = Math.max(0, (last.at(-1)?.entries ?? 0) - (third[0]?.entries ?? 0))
  const allowedBytes = toleranceBytes + gained * entryBytes
  const isFlat = samples.length >= 8 && lastBytes - thirdBytes <= allowedBytes
  return { isFlat, thirdBytes, lastBytes, allowedBytes }
}

/** Lowest tenth: what is above it waits for the next collection. */
function floorOf(samples: readonly Sample[]): number {
  const sorted = samples.map(({ residentBytes }) => residentBytes).sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 10)] ?? 0
}
