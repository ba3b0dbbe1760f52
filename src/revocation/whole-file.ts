import { randomUUID } from 'node:crypto'
import { copyFile, link, open, readlink, rename, rm } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { readRegularFile } from '../regular-file.ts'

/** Most symbolic links that are followed, as Linux does. */
const maxLinks = 40

/** The file that a path leads to, through symbolic links, whether or not it is there. */
export async function followLinks(path: string): Promise<string> {
  let file = resolve(path)
  for (let links = 0; links < maxLinks; links++) {
    const target = await readlink(file).catch(() => undefined)
    if (target === undefined) return file
    file = resolve(dirname(file), target)
  }
  throw Object.assign(new Error(`${path} leads to itself`), { code: 'ELOOP' })
}

/** Ten times what the longest list of revocations takes. */
const maxBytes = 64 * 1024 * 1024

/**
 * The text of a file; undefined where there is none. Rejects for what is no file, such as a folder or a
 * pipe, and for a file that is far too large.
 */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    const bytes = await readRegularFile(path, maxBytes)
    if (!bytes) throw new Error(`${path} is not a file`)
    return bytes.toString('utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EISDIR') throw new Error(`${path} is not a file`)
    if (code === 'EFBIG') throw new Error(`${path} is larger than 64 MiB`)
    // ESRCH: a file of a process that has ended, in /proc.
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
}

/** The file was replaced, but may be the former one again after a power failure. */
export class UnflushedError extends Error {}

/**
 * Writes a file beside, flushes it and renames it: a full disk or a kill leaves the former file
 * whole. `mayReplace` is asked at the last moment; false leaves the former file. The folder is
 * flushed too: without that, a power failure may bring the former file back. Rejects with an
 * UnflushedError where only that fails.
 */
export async function writeWhole(
  file: string,
  text: string,
  mayReplace: () => Promise<boolean>,
  flushFolder = syncFolder,
): Promise<boolean> {
  const beside = `${file}.${randomUUID()}.new`
  try {
    const handle = await open(beside, 'wx', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    if (!(await mayReplace())) {
      await rm(beside, { force: true })
      return false
    }
    await rename(beside, file).catch(async (error) => {
      // A network file system may do it and lose its answer.
      if ((await readIfThere(file).catch(() => undefined)) !== text) throw error
    })
  } catch (error) {
    await rm(beside, { force: true })
    throw error
  }
  try {
    await flushFolder(dirname(file))
  } catch (error) {
    throw new UnflushedError((error as NodeJS.ErrnoException).code ?? (error as Error).message)
  }
  return true
}

/** Gives a file a second name, or copies it where the file system has no second names. */
export async function keepCopy(file: string, copy: string): Promise<void> {
  const beside = `${copy}.${randomUUID()}.new`
  try {
    await link(file, beside).catch(() => copyFile(file, beside))
    await rename(beside, copy)
    // Of two names of one file the rename leaves both.
    await rm(beside, { force: true })
  } catch (error) {
    await rm(beside, { force: true })
    throw error
  }
}

/** Flushes a folder: without that a power failure may bring the former file of a name back. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } catch (error) {
    // Some network file systems cannot flush a folder.
    if (!['EINVAL', 'ENOTSUP', 'EBADF'].includes((error as NodeJS.ErrnoException).code ?? '')) {
      throw error
    }
  } finally {
    await handle.close()
  }
}
