import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Environment } from '../config/environment.ts'
import type { RecordedLoad } from '../config/reload.ts'

/** What the thread is told. */
export interface ThreadSource {
  readonly env: Environment
  readonly file?: string
}

// As a built package or from source: the thread's file has the ending of this one.
const threadFile = new URL(import.meta.url.replace(/config-thread(\.[jt]s)$/, 'config-load$1'))

/** A disk that does not answer must not hold up each later reload for ever. */
const deadlineMs = 60_000

/**
 * Loads the configuration in a thread of its own: a thousand policies take half a second to read and
 * check, and no request may wait for that. Rejects where the thread cannot be started, fails, or has no
 * result within `withinMs`.
 */
export async function loadInThread(
  source: ThreadSource,
  withinMs: number = deadlineMs,
): Promise<RecordedLoad> {
  const worker = new Worker(threadFile, {
    workerData: { ...source, env: { ...source.env } },
    // It reads one file and ends; Node's defaults are for a program.
    resourceLimits: { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 192 },
  })
  const timer = setTimeout(() => void worker.terminate(), withinMs)
  try {
    const [loaded] = await Promise.race([once(worker, 'message'), endOf(worker)])
    return loaded
  } finally {
    clearTimeout(timer)
    // What was read counts whether or not the thread has come to its end.
    void worker.terminate()
  }
}

async function endOf(worker: Worker): Promise<never> {
  const [code] = await once(worker, 'exit')
  throw new Error(
    `the thread that loads the configuration ended with code ${code}, or its files cannot be read in time`,
  )
}
