import { readFile } from 'node:fs/promises'
import { maxStampUs } from './entry.ts'
import {
  addScript,
  mergeScript,
  pollScript,
  pruneScript,
  removeScript,
  unannouncedScript,
} from './scripts.ts'

/** Where the store is, and the files that say who asks. */
export interface StoreAddress {
  /** `redis://HOST:PORT/DATABASE`, or `rediss://…` with TLS. */
  readonly url: string
  readonly usernameFile?: string
  readonly passwordFile?: string
  readonly caFile?: string
}

/** The server's answer to a poll. Times in µs of the server's clock. */
export interface PollAnswer {
  readonly timeUs: number
  /** Revocations with a value, and those that are announced: the same, unless something was lost. */
  readonly values: number
  readonly announced: number
  readonly newestUs: number
  /** When the key that was asked about was last announced; -1 where it is not there. */
  readonly markUs: number
  /** How many announcements are no later than the one that was asked about. */
  readonly upToMark: number
  /** How many announcements are within the window that was asked about. */
  readonly withinWindow: number
  readonly changes: readonly Change[]
}

export interface Change {
  readonly key: string
  readonly announcedUs: number
  /** `STAMP JSON`; empty where the value was lost. */
  readonly value: string
}

/** A revocation that was added; see Entry. */
export interface Added {
  readonly changedUs: number
  readonly keptUntil?: number
}

/** The last announcement that was read. */
export interface Position {
  readonly us: number
  /** Its key; empty where it is not known. */
  readonly key: string
}

/**
 * A connection to the store. Each call rejects in time; after that the connection is of no use. What
 * is written gets a later stamp than `floorUs`.
 */
export interface StoreConnection {
  add(
    key: string,
    json: string,
    known: { readonly floorUs: number; readonly formerEnd: number },
  ): Promise<Added>
  /** `value` is what is known of it here, in the form of formatValue; empty where it is not in force. */
  remove(key: string, known: { readonly floorUs: number; readonly value: string }): Promise<number>
  merge(pairs: readonly string[], floorUs: number): Promise<number>
  poll(since: Position, limit: number, windowUs: number): Promise<PollAnswer>
  prune(keys: readonly string[]): Promise<void>
  /** Keys with a value that nothing announces: the other structure was evicted. */
  readUnannounced(use: (pairs: readonly string[]) => Promise<void>): Promise<void>
  /** Version and settings of the server, as `INFO` and `CONFIG GET` tell them; for `check`. */
  describe(): Promise<Readonly<Record<string, string>>>
  close(): void
}

const prefix = '{entra-auth}'
const structures = [`${prefix}:revocations`, `${prefix}:changes`]
const channel = `${prefix}:changed`

/** How long an answer may take, in ms: a server that is slow is used, one that hangs is not. */
const patienceMs = 2_000

/**
 * A time of the server (µs). One that is far in the future would hide every later change, so such an
 * answer counts as none.
 */
function timeOf(value: unknown): number {
  const us = Number(value)
  if (us <= maxStampUs) return us
  throw new Error(`the store holds a time that cannot be right: ${String(value).slice(0, 40)}`)
}

/** Waits no longer than `patienceMs`. */
async function within<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${patienceMs} ms`)), patienceMs)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
    // Whoever came second must not end the process.
    answer.catch(() => {})
  }
}

/**
 * Connects, with the credentials that the files hold now: a rotated password counts from the next
 * connection on. `onNotice` runs when another replica changed something, `onClose` when the
 * connection is gone. Loads its package only here.
 */
export async function connectStore(
  address: StoreAddress,
  { onNotice, onClose }: { onNotice(): void; onClose(error?: Error): void },
): Promise<StoreConnection> {
  const { createClient } = await import('@redis/client')
  const read = async (file: string | undefined) => {
    if (file === undefined) return undefined
    const text = (await readFile(file, 'utf8')).trim()
    // Without a password, or with the certificate authorities of the system, is not what was asked for.
    if (text === '') throw new Error(`${file} is empty`)
    return text
  }
  const files = [address.usernameFile, address.passwordFile, address.caFile]
  const [username, password, ca] = await within(Promise.all(files.map(read)))
  const socket = { connectTimeout: patienceMs, reconnectStrategy: false } as const
  const client = createClient({
    url: address.url,
    RESP: 2,
    name: 'haproxy-entra-auth',
    disableOfflineQueue: true,
    maintNotifications: 'disabled',
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    socket: address.url.startsWith('rediss:')
      ? { ...socket, tls: true, rejectUnauthorized: true, ...(ca !== undefined && { ca }) }
      : socket,
  })
  const subscriber = client.duplicate()
  let isClosed = false
  function close(error?: Error): void {
    if (isClosed) return
    isClosed = true
    for (const each of [client, subscriber]) {
      try {
        each.destroy()
      } catch {
        // It was closed by itself.
      }
    }
    onClose(error)
  }
  for (const each of [client, subscriber]) {
    each.on('error', (error: Error) => close(error))
    each.on('end', () => close())
  }

  /** The connection is closed where an answer fails or does not come: what follows would be late. */
  async function inTime<T>(answer: Promise<T>): Promise<T> {
    try {
      return await within(answer)
    } catch (error) {
      close(error as Error)
      throw error
    }
  }

  const run = (script: string, args: readonly (string | number)[]) =>
    inTime(client.eval(script, { keys: structures, arguments: args.map(String) }))

  await inTime(Promise.all([client.connect(), subscriber.connect()]))
  await inTime(subscriber.subscribe(channel, onNotice))

  return {
    async add(key, json, { floorUs, formerEnd }) {
      const answer = await run(addScript, [channel, floorUs, key, json, formerEnd])
      if (!Array.isArray(answer)) throw new Error('no answer of a store')
      const [changedUs, keptUntil] = answer.map(Number)
      return { changedUs: timeOf(changedUs), ...(keptUntil && { keptUntil }) }
    },
    remove: async (key, { floorUs, value }) =>
      timeOf(await run(removeScript, [channel, floorUs, key, value])),
    merge: async (pairs, floorUs) => Number(await run(mergeScript, [channel, floorUs, ...pairs])),
    async poll(since, limit, windowUs) {
      const answer = (await run(pollScript, [since.us, since.key, limit, windowUs])) as unknown
      if (!Array.isArray(answer)) throw new Error('no answer of a store')
      const [timeUs, values, announced, newestUs, markUs, ...rest] = answer
      const [upToMark, withinWindow, isReplica] = rest
      // It may lag behind by hours, and does not say so. The address may lead to the master by now.
      if (Number(isReplica) === 1) {
        const error = new Error('it is a replica, and the address has to lead to the master')
        close(error)
        throw error
      }
      const changes: Change[] = []
      for (let i = 8; i < answer.length; i += 3) {
        changes.push({
          key: String(answer[i]),
          announcedUs: timeOf(answer[i + 1]),
          value: String(answer[i + 2]),
        })
      }
      return {
        timeUs: timeOf(timeUs),
        values: Number(values),
        announced: Number(announced),
        newestUs: timeOf(newestUs),
        markUs: timeOf(markUs),
        upToMark: Number(upToMark),
        withinWindow: Number(withinWindow),
        changes,
      }
    },
    async prune(keys) {
      await run(pruneScript, keys)
    },
    async readUnannounced(use) {
      let cursor = '0'
      do {
        const page = (await run(unannouncedScript, [cursor])) as unknown
        if (!Array.isArray(page)) throw new Error('no answer of a store')
        const [next, ...pairs] = page.map(String)
        if (pairs.length > 0) await use(pairs)
        cursor = next ?? '0'
      } while (cursor !== '0')
    },
    async describe() {
      const info = String(await inTime(client.info()))
      const pairs = [...info.matchAll(/^(\w+):(.*?)\r?$/gm)].map(([, name, value]) => [name, value])
      return Object.fromEntries(pairs)
    },
    close: () => close(),
  }
}
