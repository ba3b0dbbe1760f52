/**
 * One thread and two, with a new connection for each request, so that any thread may get any token: how often is
 * the verifier called? What one thread has asked for, the others need not ask for again.
 */
import type { Tokens } from '../tokens.ts'
import { shippedFront } from './configs.ts'
import { loadPaced } from './load.ts'
import { median, round } from './numbers.ts'
import { type Bench, readActionNumbers, withStack } from './stack.ts'
import { startVerifier } from './verifier.ts'

const warmUpSeconds = 8
const seconds = 16

const setups = [
  { setup: 'one thread', threads: 1, settings: {} },
  { setup: 'two threads', threads: 2, settings: {} },
  { setup: 'two threads, not shared', threads: 2, settings: { ENTRA_AUTH_SHARED_BYTES: '0' } },
]

/** Calls for 1,000 requests with each number of threads, and the ratios to one thread. */
export async function compareThreads(
  bench: Bench,
  tokens: Tokens,
  authority: string,
  rounds: number,
) {
  const calls = new Map<string, number[]>(setups.map(({ setup }) => [setup, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const one of setups) {
      console.error(`round ${round} of ${rounds}: ${one.setup}`)
      calls.get(one.setup)?.push(await callsOf(bench, tokens, authority, one))
    }
  }
  const [ofOne = []] = calls.values()
  const results = [...calls].map(([setup, all]) => ({
    setup,
    callsFor1000Requests: round(median(all), 1),
    timesOneThread: round(median(all.map((value, index) => value / (ofOne[index] ?? 0))), 3),
  }))
  return { liveTokens: tokens.count, results }
}

async function callsOf(
  bench: Bench,
  tokens: Tokens,
  authority: string,
  { threads, settings }: (typeof setups)[number],
): Promise<number> {
  const options = {
    config: (ports: Parameters<typeof shippedFront>[0]) =>
      shippedFront(ports, settings).replace('nbthread 1\n', `nbthread ${threads}\n`),
    startVerifier: async ({ verifier }: { verifier: number }) =>
      (await startVerifier(verifier, authority, bench.files.folder)).child,
  }
  return withStack(bench, options, async ({ ports }) => {
    const load = (duration: number) => loadPaced(ports.front, tokens.file, 'zipf', duration, 'new')
    await load(warmUpSeconds)
    const before = (await readActionNumbers(ports))('cache_misses_total')
    const { requests } = await load(seconds)
    const after = (await readActionNumbers(ports))('cache_misses_total')
    return ((after - before) / requests) * 1000
  })
}
