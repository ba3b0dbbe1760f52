import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { createLane } from './lane.ts'
import { guid, percentile, type RealChain, startRealChain } from './real-chain.ts'

const rounds = 8
const windowMs = 600
/** A machine that others use spoils one comparison; a flood that gets through spoils each. */
const comparisons = 3
const floodPerSecond = 3000

interface Window {
  readonly median: number
  readonly high: number
}

const isWithinTwice = (ratios: readonly number[]) => ratios.every((ratio) => ratio <= 2)

describe('a flood of forged tokens from one source', () => {
  const cleanUps: (() => unknown)[] = []
  let chain: RealChain
  let flood: ChildProcess
  before(async () => {
    const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
    // Short, so that the good clients need the verifier as well.
    chain = await startRealChain(life, 'cacheSeconds: 1')
    flood = fork(join(import.meta.dirname, 'flood-client.ts'), [
      ...[String(chain.haproxy.port), '127.0.0.2', String(floodPerSecond)],
      await chain.token(guid(0)),
    ])
    cleanUps.push(() => flood.kill('SIGKILL'))
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  it('leaves the latency of the others within twice the quiet one', async (t) => {
    const tokens = await Promise.all(
      Array.from({ length: 40 }, (_, index) => chain.token(guid(index))),
    )
    let isOver = false
    let next = 0
    let times: number[] = []
    const odd: string[] = []
    const lanes = Array.from({ length: 4 }, async () => {
      const lane = createLane(chain.haproxy.port)
      while (!isOver) {
        const index = next++ % tokens.length
        const { status, body, sentAt, receivedAt } = await lane.ask(tokens[index] ?? '')
        times.push(receivedAt - sentAt)
        if (status !== 200 || body !== `<${guid(index)}>`) odd.push(`${status} ${body}`)
        await new Promise((rest) => setTimeout(rest, 3))
      }
      lane.close()
    })
    t.after(() => {
      isOver = true
    })
    /** Median and a high percentile of what is asked in one window. */
    const measure = async (): Promise<Window> => {
      times = []
      await new Promise((over) => setTimeout(over, windowMs))
      return { median: percentile(times, 0.5), high: percentile(times, 0.95) }
    }
    await measure()
    // The source is known as a bad one before anything is measured; what it costs to find out is
    // bounded by the limit, and the same whatever the flood.
    flood.send('start')
    await measure()
    flood.send('stop')

    /** How many times as long as without the flood the others wait. */
    const compare = async () => {
      // In turn, so that whatever else the machine does meets both.
      const [quiet, flooded]: [Window[], Window[]] = [[], []]
      for (let round = 0; round < rounds; round++) {
        quiet.push(await measure())
        flood.send('start')
        flooded.push(await measure())
        flood.send('stop')
      }
      return (['median', 'high'] as const).map((what) => {
        const [before, during] = [quiet, flooded].map((windows) =>
          percentile(
            windows.map((window) => window[what]),
            0.5,
          ),
        ) as [number, number]
        t.diagnostic(`${what}: ${before.toFixed(2)} ms quiet, ${during.toFixed(2)} ms flooded`)
        return during / before
      })
    }
    const ratios: number[][] = []
    while (ratios.length < comparisons && !ratios.some(isWithinTwice)) ratios.push(await compare())
    isOver = true
    await Promise.all(lanes)
    flood.send('count')
    const [counts] = (await once(flood, 'message')) as [Record<string, number>]

    assert.ok(ratios.some(isWithinTwice), `median and high, times the quiet ones: ${ratios}`)
    assert.deepEqual(odd.slice(0, 5), [])
    t.diagnostic(`answers to the flood: ${JSON.stringify(counts)}`)
    const limited = counts[429] ?? 0
    assert.ok(limited > 2000, 'too little of a flood')
    assert.ok((counts[401] ?? 0) < limited / 5, 'next to nothing was limited')
  })
})
