/**
 * A thread that sends one request after the other and notes how long each waited: in the test's own
 * thread the authority answers too, and its work would count as waiting.
 */
import { Agent, request } from 'node:http'
import { parentPort, Worker, workerData } from 'node:worker_threads'

interface Target {
  readonly url: string
  readonly token: string
}

export interface Waits {
  readonly count: number
  readonly longestMs: number
  readonly statuses: readonly number[]
}

export interface Prober {
  /** What was noted since the last call; a request under way is waited for. */
  take(): Promise<Waits>
  stop(): Promise<unknown>
}

/** Starts the thread. */
export function startProber(target: Target): Prober {
  const worker = new Worker(new URL(import.meta.url), { workerData: { target } })
  return {
    take: () =>
      new Promise((resolve, reject) => {
        worker.once('message', resolve).once('error', reject)
        worker.postMessage('take')
      }),
    stop: () => worker.terminate(),
  }
}

function send(agent: Agent, { url, token }: Target): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { agent, headers: { authorization: `Bearer ${token}` } }, (reply) => {
      reply.resume().on('end', () => resolve(reply.statusCode ?? 0))
    })
      .on('error', reject)
      .end()
  })
}

async function probe(target: Target, port: NonNullable<typeof parentPort>): Promise<never> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  let count = 0
  let longestMs = 0
  let asked = 0
  const statuses = new Set<number>()
  port.on('message', () => asked++)
  for (;;) {
    const beganMs = performance.now()
    statuses.add(await send(agent, target))
    longestMs = Math.max(longestMs, performance.now() - beganMs)
    count++
    for (; asked > 0; asked--) {
      port.postMessage({ count, longestMs, statuses: [...statuses] } satisfies Waits)
      longestMs = 0
      count = 0
      statuses.clear()
    }
    await new Promise(setImmediate)
  }
}

const { target } = (workerData ?? {}) as { target?: Target }
if (parentPort && target) await probe(target, parentPort)
