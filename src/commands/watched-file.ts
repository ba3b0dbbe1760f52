import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { decodeText } from './token-input.ts'

// Without O_NONBLOCK, the opening of a named pipe waits until somebody writes to it.
const flags = constants.O_RDONLY | constants.O_NONBLOCK

/**
 * Reads a file again that once had the text `former`; undefined where it cannot be read. A pipe or a
 * device gives its text once, so there it is still `former`. Never blocks the event loop.
 */
export async function readWatched(
  path: string,
  former: string | undefined,
): Promise<string | undefined> {
  try {
    const file = await open(path, flags)
    try {
      const stat = await file.stat()
      return stat.isFile() || stat.isDirectory() ? decodeText(await file.readFile()) : former
    } finally {
      await file.close()
    }
  } catch {
    return undefined
  }
}
