/** A stack whose action remembers verdicts, and tells each client whether it did. */
import { Agent } from 'node:http'
import { eventually } from '../support/eventually.ts'
import { startRunningClock } from '../support/running-clock.ts'
import { type Ask, type Reply, values } from './client.ts'
import { revocations } from './fake-verifier.ts'
import { type Stack, type StackOptions, startStack } from './stack.ts'

export interface CacheStack extends Stack {
  /**
   * Asks over one and the same connection, so always the same thread: each has a cache of its own.
   * With a token, or with the usual one.
   */
  askFor(token?: string, what?: Ask): Promise<Reply>
  /** Asks until the verdict comes out of the cache. */
  untilRemembered(token?: string): Promise<Reply>
  /** Asks until the verdict does not come out of the cache any more. */
  untilForgotten(token?: string): Promise<Forgotten>
  /** Waits until so many polls more have been answered by each thread. */
  morePolls(count: number): Promise<void>
}

/** What is seen while a verdict comes out of the cache, counted from the first question. */
export interface Forgotten {
  /** The first answer that did not come out of it. */
  readonly reply: Reply
  readonly hits: number
  /** When the last question was asked that was answered out of it, without pauses of the machine. */
  readonly lastHitMs: number
  /** Polls of all threads until then. */
  readonly pollsAtLastHit: number
  /** When the first other answer came, with all pauses, and the polls until then. */
  readonly ms: number
  readonly polls: number
}

const show = 'http-after-response set-header x-cache %[var(txn.entra.cache)]'

/** Polls come ten times as often, so that a test waits a tenth of the time. */
export function pollingFast(lua: string): string {
  return lua
    .replace('POLL_LEAST_MS = 800', 'POLL_LEAST_MS = 80')
    .replace('POLL_SPREAD_MS = 400', 'POLL_SPREAD_MS = 40')
}

export async function startCacheStack(options: StackOptions = {}): Promise<CacheStack> {
  const { editConfig = (text: string) => text } = options
  const stack = await startStack({
    feed: revocations(),
    editLua: pollingFast,
    ...options,
    editConfig: (text) =>
      editConfig(text).replace(
        'monitor-uri /haproxy-livez',
        `monitor-uri /haproxy-livez\n    ${show}`,
      ),
  })
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const askFor = (token = 'alice', what: Ask = {}) =>
    stack.ask({ headers: [['Authorization', `Bearer ${token}`]], agent, ...what })
  return {
    ...stack,
    askFor,
    untilRemembered: (token) => eventually(() => askFor(token), isHit),
    async untilForgotten(token) {
      const startMs = performance.now()
      const clock = startRunningClock()
      const polls = stack.verifier.polls.length
      const seen = { hits: 0, lastHitMs: 0, pollsAtLastHit: 0 }
      const reply = await eventually(
        async () => {
          const askedMs = clock.nowMs()
          const answer = await askFor(token)
          if (isHit(answer)) {
            seen.hits++
            seen.lastHitMs = askedMs
            seen.pollsAtLastHit = stack.verifier.polls.length - polls
          }
          return answer
        },
        (answer) => !isHit(answer),
      ).finally(() => clock.stop())
      const ms = performance.now() - startMs
      return { ...seen, reply, ms, polls: stack.verifier.polls.length - polls }
    },
    async morePolls(count) {
      // Two threads at most, one of which may just have asked twice.
      const wanted = stack.verifier.polls.length + 3 * count
      await eventually(
        () => stack.verifier.polls.length,
        (polls) => polls >= wanted,
      )
    },
    async stop() {
      agent.destroy()
      await stack.stop()
    },
  }
}

/** Whether this answer needed no call of the verifier. */
export function isHit(reply: Reply): boolean {
  return values(reply, 'x-cache')[0] === 'hit'
}

/** Numbers of the action's metrics page, by name and labels. */
export async function readMetrics(stack: Pick<Stack, 'haproxy'>): Promise<Map<string, number>> {
  const page = await fetch(stack.haproxy.metricsUrl)
  if (page.status !== 200) throw new Error(`status ${page.status} of the metrics page`)
  const lines = (await page.text()).split('\n').filter((line) => line !== '' && line[0] !== '#')
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(' ')
      const text = line.slice(space + 1)
      const name = line.slice(0, space).replace(/^entra_auth_action_/, '')
      return [name, text === '+Inf' ? Number.POSITIVE_INFINITY : Number(text)]
    }),
  )
}
