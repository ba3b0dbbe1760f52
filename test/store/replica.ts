/** Replicas inside the process of a test, at a real server. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { StoredRevocation } from '../../src/revocation/revocation.ts'
import type { RevocationStore } from '../../src/revocation/revocation-store.ts'
import { connectStore, type StoreConnection } from '../../src/store/connection.ts'
import { createDiskCopy, type DiskCopy } from '../../src/store/disk-copy.ts'
import { createSharedRevocations } from '../../src/store/shared-revocations.ts'
import { entry, nowMs } from '../revocation/contract.ts'
import type { Life } from '../serve/process.ts'
import type { StoreServer } from './server.ts'

export interface ReplicaOptions {
  /** Name of its copy on disk, in a folder of the suite. */
  readonly copy?: string
  readonly former?: readonly StoredRevocation[]
  readonly said?: string[]
  readonly clock?: { wallMs: number; monotonicMs: number }
  /** The longest lifetime of a token, in seconds. */
  readonly longest?: number
  /** Stands between the replica and its connection. */
  readonly wrap?: (connection: StoreConnection) => StoreConnection
  readonly wrapCopy?: (copy: DiskCopy) => DiskCopy
  readonly readOnly?: boolean
}

export interface Replicas {
  readonly folder: string
  /** Makes one that has not started. */
  create(options?: ReplicaOptions): RevocationStore
  open(options?: ReplicaOptions): Promise<RevocationStore>
  /** Stops all replicas and empties the server. */
  begin(): Promise<void>
}

/** Prepares replicas; all end with the suite. */
export function prepareReplicas(server: StoreServer, { after }: Life): Replicas {
  const folder = mkdtempSync(join(tmpdir(), 'entra-auth-copies-'))
  const opened: RevocationStore[] = []
  const stop = () => Promise.all(opened.splice(0).map((store) => store.stop?.()))
  after(async () => {
    await stop()
    rmSync(folder, { recursive: true })
  })
  const create = (options: ReplicaOptions = {}): RevocationStore => {
    const { copy, former = [], said = [], clock } = options
    const { wrap = (connection) => connection, wrapCopy = (disk) => disk } = options
    const store = createSharedRevocations({
      connect: async (events) => wrap(await connectStore({ url: server.url }, events)),
      copy: copy === undefined ? undefined : wrapCopy(createDiskCopy(join(folder, copy))),
      former: async () => former,
      now: () => clock?.wallMs ?? nowMs,
      monotonic: () => clock?.monotonicMs ?? performance.now(),
      onNotice: (message) => said.push(message),
      readOnly: options.readOnly === true,
    })
    if (options.longest !== undefined) store.setLongest(options.longest)
    opened.push(store)
    return store
  }
  return {
    folder,
    create,
    async open(options) {
      const store = create(options)
      await store.start()
      return store
    },
    async begin() {
      await stop()
      await server.ask('FLUSHALL')
    },
  }
}

export const keyNamed = (id: string, more = {}): StoredRevocation => ({
  ...entry,
  kind: 'key',
  id,
  ...more,
})

export const idsOf = ({ list }: RevocationStore) => list.entries.map(({ id }) => id).toSorted()
