import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import type { Config } from '../config/config.ts'
import { defaultSealingKeys } from '../config/sign-in.ts'
import { createKeyFolder } from '../session/key-folder.ts'
import { createSealingKey, type SealingKeys } from '../session/sealing.ts'
import { type CommandIo, exitCodes } from './io.ts'

/** Time between two readings of the folder. */
const readIntervalMs = 10_000

/** The sealing keys, and how to stop reading them. */
export interface OpenSealingKeys {
  readonly sealingKeys: SealingKeys
  stop(): void
}

/**
 * Opens the sealing keys; undefined where nobody signs in. A folder that the configuration names must
 * work, or the service exits. Without one a key in memory does where the usual folder cannot be used:
 * enough to try sign-in out, and the log says what it costs.
 */
export async function openSealingKeys(
  { signIn }: Config,
  log: Logger,
  io: CommandIo,
): Promise<OpenSealingKeys | undefined> {
  if (!signIn) return undefined
  const folder = createKeyFolder(signIn.sealingKeys, { clock: io.now, log })
  try {
    await folder.read()
  } catch (error) {
    const { message } = error as Error
    if (signIn.sealingKeys !== defaultSealingKeys) {
      io.stderr.write(`error: signIn.sealingKeys: ${message}\n`)
      return io.exit(exitCodes.configuration)
    }
    log.warn(
      { problem: message },
      'sealing key in memory: sessions end with this process, and no other replica can open them; set signIn.sealingKeys',
    )
    return { sealingKeys: createMemoryKey(), stop() {} }
  }
  const timer = setInterval(() => {
    folder.read().catch((error: Error) => {
      log.error({ problem: error.message }, 'sealing keys not read, the last ones stay')
    })
  }, readIntervalMs)
  return { sealingKeys: folder, stop: () => clearInterval(timer) }
}

function createMemoryKey(): SealingKeys {
  const key = createSealingKey(randomBytes(32))
  return { sealing: key, get: (id) => (id === key.id ? key : undefined) }
}
