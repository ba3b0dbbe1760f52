import { constants } from 'node:fs'
import { open } from 'node:fs/promises'

// Without O_NONBLOCK, the opening of a named pipe waits until somebody writes to it.
const flags = constants.O_RDONLY | constants.O_NONBLOCK

/**
 * The bytes of a file; undefined for a pipe or a device, whose reading might never end. Rejects with Node's
 * error where there is none, for a folder (EISDIR), and for more than `maxBytes` (EFBIG). Never blocks the
 * event loop.
 */
export async function readRegularFile(
  path: string,
  maxBytes = Number.POSITIVE_INFINITY,
): Promise<Buffer | undefined> {
  const file = await open(path, flags)
  try {
    const stat = await file.stat()
    // Of a folder, the reading itself says what is wrong.
    if (!stat.isFile() && !stat.isDirectory()) return undefined
    if (stat.isFile() && stat.size > maxBytes) {
      throw Object.assign(new Error(`${path} is too large`), { code: 'EFBIG' })
    }
    return await file.readFile()
  } finally {
    await file.close()
  }
}
