import { setTimeout as wait } from 'node:timers/promises'
import { readRegularFile } from '../regular-file.ts'
import { decodeText } from './token-input.ts'

/**
 * Reads a file again that once had the text `former`; undefined where it cannot be read. A pipe or a
 * device gives its text once, so there it is still `former`. Never blocks the event loop.
 */
export async function readWatched(
  path: string,
  former: string | undefined,
): Promise<string | undefined> {
  try {
    const bytes = await readRegularFile(path)
    return bytes ? decodeText(bytes) : former
  } catch {
    return undefined
  }
}

/** Longest wait for a disk while somebody waits for an answer, in ms. */
const defaultPatienceMs = 3_000

/**
 * Creates a reader of text files for a service that answers requests meanwhile. It rejects for what is no
 * file, and where the disk does not answer within `patienceMs`. Of each path one reading is under way: one
 * that never comes back takes one of Node's four threads for good.
 */
export function createFileReader(
  patienceMs = defaultPatienceMs,
): (path: string) => Promise<string> {
  const underWay = new Map<string, Promise<string>>()

  async function readOnce(path: string): Promise<string> {
    try {
      return await readText(path)
    } finally {
      underWay.delete(path)
    }
  }

  return async (path) => {
    const reading = underWay.get(path) ?? readOnce(path)
    underWay.set(path, reading)
    const deadline = new AbortController()
    const late = wait(patienceMs, undefined, deadline).then(() => {
      throw problemOf('ETIMEDOUT')
    })
    try {
      return await Promise.race([reading, late])
    } finally {
      deadline.abort()
      late.catch(() => {})
      reading.catch(() => {})
    }
  }
}

async function readText(path: string): Promise<string> {
  const bytes = await readRegularFile(path)
  if (!bytes) throw problemOf('not a file')
  return decodeText(bytes)
}

function problemOf(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code })
}
