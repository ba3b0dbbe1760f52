import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Config, SignInConfig } from '../config/config.ts'
import { defaults } from '../config/defaults.ts'
import { createKeyFolder, SealingKeyFileError } from '../session/key-folder.ts'
import { createSealingKey, type SealingKeys } from '../session/sealing.ts'
import type { SignInPart } from '../sign-in/part.ts'
import { type CommandIo, exitCodes } from './io.ts'
import { createFileReader } from './watched-file.ts'

/** Time between two readings of the folder. */
const readIntervalMs = 10_000

/** Sign-in, and how to stop what it does by itself. */
export interface OpenSignIn {
  readonly part: SignInPart
  stop(): void
}

/** Opens what sign-in needs. Its packages are loaded here, and nowhere without the section `signIn`. */
export async function openSignIn(
  config: Config,
  log: Logger,
  io: CommandIo,
  folderByDefault: string = defaults.sealingKeys,
): Promise<OpenSignIn> {
  const { createSignInPart } = await import('../sign-in/part.ts')
  const { sealingKeys: folder } = config.signIn as SignInConfig
  const mustWork = folder !== folderByDefault
  const { sealingKeys, stop } = await openSealingKeys({ folder, mustWork }, log, io)
  const part = createSignInPart({
    sealingKeys,
    credential: { env: io.env, readFile: createFileReader(), randomId: randomUUID },
    logo: await readLogo(config.signIn?.page.logoFile, io),
  })
  return { part, stop }
}

interface OpenSealingKeys {
  readonly sealingKeys: SealingKeys
  stop(): void
}

/**
 * Opens the sealing keys. If the configuration names a folder, it must work, or the service exits.
 * Otherwise, if the default folder cannot be used, a key in memory is enough to try sign-in, and
 * the log says what that means. A key there that cannot be used is a mistake in each case: with another
 * one, this replica would end the sessions of the others.
 */
async function openSealingKeys(
  { folder: path, mustWork }: { readonly folder: string; readonly mustWork: boolean },
  log: Logger,
  io: CommandIo,
): Promise<OpenSealingKeys> {
  const folder = createKeyFolder(path, {
    clock: io.now,
    monotonic: () => performance.now(),
    log,
  })
  try {
    await folder.read()
  } catch (error) {
    const { message } = error as Error
    if (mustWork || error instanceof SealingKeyFileError) {
      io.stderr.write(`error: signIn.sealingKeys: ${message}\n`)
      return io.exit(exitCodes.configuration)
    }
    log.warn(
      { problem: message },
      'sealing key in memory: sessions end with this process, and no other replica can open them; set signIn.sealingKeys',
    )
    return { sealingKeys: createMemoryKey(), stop() {} }
  }
  let isReading = false
  const timer = setInterval(() => {
    const message = 'sealing keys not read, the last ones stay'
    if (isReading) return log.error({ problem: 'the disk does not answer' }, message)
    isReading = true
    folder
      .read()
      .catch((error: Error) => {
        const isFile = error instanceof SealingKeyFileError
        const problem = error.message
        log.error({ problem }, isFile ? 'a file is no sealing key, the others count' : message)
      })
      .finally(() => {
        isReading = false
      })
  }, readIntervalMs)
  return { sealingKeys: folder, stop: () => clearInterval(timer) }
}

const maxLogoBytes = 32 * 1024

/** The picture of the pages as a `data:` address, since nothing on them is loaded from elsewhere. */
async function readLogo(file: string | undefined, io: CommandIo): Promise<string | undefined> {
  if (file === undefined) return undefined
  try {
    const content = await readFile(file)
    if (content.length > maxLogoBytes) throw new Error('it is larger than 32 KiB')
    const type = file.toLowerCase().endsWith('.svg') ? 'image/svg+xml' : 'image/png'
    return `data:${type};base64,${content.toString('base64')}`
  } catch (error) {
    io.stderr.write(`error: signIn.page.logoFile: ${(error as Error).message}\n`)
    return io.exit(exitCodes.configuration)
  }
}

function createMemoryKey(): SealingKeys {
  const key = createSealingKey(randomBytes(32))
  return { sealing: key, get: (id) => (id === key.id ? key : undefined) }
}
