import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import {
  createRevocationStore,
  type OnNotice,
  parseFile,
  type RevocationStore,
} from '../revocation/revocation-store.ts'
import { readIfThere } from '../revocation/whole-file.ts'

/** Opens the place of the configuration for revocations: the shared store, or the file. */
export async function openRevocations(
  { store, revocationFile, keyStore }: Config,
  now: () => number,
  onNotice: OnNotice,
  { readOnly = false } = {},
): Promise<RevocationStore> {
  if (!store) return createRevocationStore(revocationFile, now, onNotice)
  const [{ connectStore }, { createDiskCopy }, { createSharedRevocations }] = await Promise.all([
    import('../store/connection.ts'),
    import('../store/disk-copy.ts'),
    import('../store/shared-revocations.ts'),
  ])
  const file = readOnly ? undefined : copyFileOf({ revocationFile, keyStore })
  return createSharedRevocations({
    connect: (events) => connectStore(store, events),
    copy: file === undefined ? undefined : createDiskCopy(file),
    async former() {
      if (revocationFile === undefined || readOnly) return []
      const text = await readIfThere(revocationFile)
      return text === undefined ? [] : parseFile(text)
    },
    now,
    readOnly,
    monotonic: () => performance.now(),
    onNotice,
  })
}

/** The path of the copy of the store: next to the other files of this service. */
function copyFileOf(config: {
  readonly revocationFile: string | undefined
  readonly keyStore: string | undefined
}): string | undefined {
  if (config.revocationFile !== undefined) return `${config.revocationFile}.store`
  return config.keyStore === undefined ? undefined : join(config.keyStore, 'revocations.store')
}
