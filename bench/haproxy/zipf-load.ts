/**
 * 100,000 tokens by popularity, through the shipped configuration, the action and the real verifier: how many
 * requests the caches answer, and what a request costs. An earlier version of this repository and HAProxy's own
 * headers run beside it and take turns: what slows the machine down for some minutes slows down all of them.
 */
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Tokens } from '../tokens.ts'
import { frontConfig, type Ports, shippedFront } from './configs.ts'
import { loadPaced, loadTokens, pacedPerSecond } from './load.ts'
import { median, round } from './numbers.ts'
import { memory, runTimeUs } from './programs.ts'
import { type Bench, readActionNumbers, type Stack, withStack } from './stack.ts'
import { startVerifier, type Verifier } from './verifier.ts'

/**
 * The phases. `fresh`: each token was sent once, and no verdict has ended since, as in the part `mixed`. `in long use`:
 * verdicts end and are asked for again all the time. All verdicts of a start are of the same age, so this begins so many
 * lives of a verdict after it.
 */
const [fresh, inLongUse, inLongUseLives] = ['fresh', 'in long use', 1.5] as const
/** As many as fit into the time before the first verdicts end: three quarters of their life. */
const freshRounds = 2
/** A token each ms and slower: ends earlier, when the tokens are used up. */
const eachTokenSecondsLimit = 100
/** For how long the action keeps a verdict: the verifier's default, here and in earlier versions. */
const [usualCacheSeconds, formerCacheSeconds] = [300, 30]
/**
 * What is measured of a round, in slices that take turns: the speed of the machine changes from one quarter of a minute
 * to the next.
 */
const [slices, sliceSeconds, pacedSeconds] = [6, 2, 4]
/**
 * Each slice begins with a load that is not measured: processor caches are cold, and verdicts have ended while others had
 * their turns, which under a steady load would have been asked for again one by one. In seconds; in long use, so many for
 * each second that a verdict lives.
 */
const [againSeconds, againShare] = [2, 0.06]

/** What takes turns. */
interface Setup {
  readonly name: string
  readonly cacheSeconds: number
  readonly config: (ports: Ports) => string
  readonly start: (port: number) => Promise<Verifier>
}

interface Sample {
  readonly haproxyCpuUs: number
  readonly verifierCpuUs: number
  readonly hitRate: number
  readonly perSecond: number
  readonly p50Us: number
  readonly p99Us: number
  readonly pacedP50Us: number
  readonly pacedP99Us: number
  readonly failed: number
  readonly haproxyMiB: number
}

/** Medians of each setup, and the ratios to the first one. `before` is the folder of an earlier version. */
export async function compareZipf(
  bench: Bench,
  tokens: Tokens,
  authority: string,
  rounds: number,
  before: string | undefined,
) {
  const setups = await setupsOf(bench, authority, before)
  const phases: (readonly [string, Samples])[] = []
  await withStacks(bench, setups, [], async (running) => {
    const startedMs = performance.now()
    for (const { name, ports } of running) {
      console.error(`each token once: ${name}`)
      await loadTokens(ports.front, tokens.file, 'each', eachTokenSecondsLimit)
    }
    const again = () => againSeconds
    phases.push([fresh, await measureRounds(fresh, running, tokens.file, freshRounds, again)])
    for (const { name, cacheSeconds, ports } of running) {
      console.error(`warm-up: ${name}`)
      const left = inLongUseLives * cacheSeconds - (performance.now() - startedMs) / 1000
      await warmUp(ports.front, tokens.file, Math.ceil(left))
    }
    const steadily = ({ cacheSeconds }: Setup) => Math.max(againShare * cacheSeconds, againSeconds)
    phases.push([inLongUse, await measureRounds(inLongUse, running, tokens.file, rounds, steadily)])
  })
  return {
    liveTokens: tokens.count,
    freshRounds,
    inLongUseLives,
    pacedPerSecond,
    results: phases.flatMap(([phase, samples]) =>
      [...samples].map(([setup, all]) => ({ phase, setup, ...medians(all) })),
    ),
    ratios: phases.flatMap(([phase, samples]) => ratiosToFirst(phase, samples)),
  }
}

/** By the name of the setup, one for each round. */
type Samples = ReadonlyMap<string, Sample[]>

/** `again`: for how long the load before a slice goes. */
async function measureRounds(
  phase: string,
  running: readonly Running[],
  file: string,
  rounds: number,
  again: (setup: Setup) => number,
): Promise<Samples> {
  const samples = new Map<string, Sample[]>(running.map(({ name }) => [name, []]))
  for (let round = 1; round <= rounds; round++) {
    console.error(`${phase}: round ${round} of ${rounds}`)
    // Nobody is always the first.
    const inTurn = round % 2 === 0 ? running.toReversed() : running
    for (const [name, sample] of await measureInTurn(inTurn, file, again)) {
      samples.get(name)?.push(sample)
    }
  }
  return samples
}

function ratiosToFirst(phase: string, samples: Samples) {
  const [first] = samples
  const [firstName = '', ofFirst = []] = first ?? []
  return [...samples].slice(1).map(([setup, all]) => {
    const cpu = ratiosOf(all, ofFirst, ({ haproxyCpuUs }) => haproxyCpuUs)
    return {
      phase,
      ratio: `${setup} / ${firstName}`,
      haproxyCpu: round(median(cpu), 2),
      haproxyCpuFrom: round(Math.min(...cpu), 2),
      haproxyCpuTo: round(Math.max(...cpu), 2),
      p99: round(median(ratiosOf(all, ofFirst, ({ p99Us }) => p99Us)), 2),
      pacedP99: round(median(ratiosOf(all, ofFirst, ({ pacedP99Us }) => pacedP99Us)), 2),
    }
  })
}

async function setupsOf(
  bench: Bench,
  authority: string,
  before: string | undefined,
): Promise<Setup[]> {
  const { folder } = bench.files
  return [
    ...(before === undefined ? [] : [await earlier(before, authority, folder)]),
    // No token is looked at: what the same requests cost in any case.
    {
      name: 'native headers',
      cacheSeconds: 0,
      config: (ports) =>
        frontConfig('shipped configuration, native headers and variables', ports, bench.files),
      start: (port) => startVerifier(port, authority, folder),
    },
    {
      name: 'as shipped',
      cacheSeconds: usualCacheSeconds,
      config: (ports) => shippedFront(ports),
      start: (port) => startVerifier(port, authority, folder),
    },
  ]
}

/** The configuration, the action and the verifier of another folder, by the benchmark that it has itself. */
async function earlier(before: string, authority: string, folder: string): Promise<Setup> {
  const load = (file: string) => import(pathToFileURL(join(before, 'bench/haproxy', file)).href)
  const configs: typeof import('./configs.ts') = await load('configs.ts')
  const verifier: typeof import('./verifier.ts') = await load('verifier.ts')
  return {
    name: 'earlier version',
    cacheSeconds: formerCacheSeconds,
    config: (ports) => configs.shippedFront(ports),
    start: (port) => verifier.startVerifier(port, authority, folder),
  }
}

/** In pieces, because no program of a benchmark may run for long. */
async function warmUp(port: number, file: string, seconds: number): Promise<void> {
  for (let left = seconds; left > 0; left -= 60) {
    await loadTokens(port, file, 'zipf', Math.min(left, 60))
  }
}

/** A setup that runs. */
interface Running extends Setup {
  readonly front: ChildProcess
  readonly asked: ChildProcess
  readonly ports: Ports
}

/** Starts them all, one inside of the other, and stops them after `run`. */
async function withStacks(
  bench: Bench,
  [setup, ...others]: readonly Setup[],
  running: readonly Running[],
  run: (running: readonly Running[]) => Promise<void>,
): Promise<void> {
  if (setup === undefined) return run(running)
  const options = {
    config: setup.config,
    startVerifier: async ({ verifier }: Ports) => (await setup.start(verifier)).child,
  }
  return withStack(bench, options, ({ front, verifier: asked, ports }: Stack) =>
    withStacks(bench, others, [...running, { ...setup, front, asked, ports }], run),
  )
}

/** One round of all, in turn. */
async function measureInTurn(
  running: readonly Running[],
  file: string,
  again: (setup: Setup) => number,
) {
  const full = new Map<string, Slice[]>(running.map(({ name }) => [name, []]))
  for (let slice = 0; slice < slices; slice++) {
    for (const one of slice % 2 === 0 ? running : running.toReversed()) {
      full.get(one.name)?.push(await measureSlice(one, file, again(one)))
    }
  }
  const samples = new Map<string, Sample>()
  for (const { name, front, ports } of running) {
    const paced = await loadPaced(ports.front, file, 'zipf', pacedSeconds)
    const all = full.get(name) ?? []
    const sum = (value: (slice: Slice) => number) =>
      all.reduce((total, slice) => total + value(slice), 0)
    const [requests, seen] = [sum((one) => one.requests), sum((one) => one.seen)]
    samples.set(name, {
      haproxyCpuUs: sum((one) => one.haproxyUs) / requests,
      verifierCpuUs: sum((one) => one.verifierUs) / requests,
      hitRate: seen === 0 ? 0 : sum((one) => one.hits) / seen,
      perSecond: requests / sum((one) => one.seconds),
      p50Us: median(all.map(({ p50Us }) => p50Us)),
      p99Us: median(all.map(({ p99Us }) => p99Us)),
      pacedP50Us: paced.p50Us,
      pacedP99Us: paced.p99Us,
      failed: sum((one) => one.failed) + paced.failed,
      haproxyMiB: memory(front).nowMiB,
    })
  }
  return samples
}

/** What one setup did in its turn. */
type Slice = Awaited<ReturnType<typeof measureSlice>>

async function measureSlice({ front, asked, ports }: Running, file: string, secondsBefore: number) {
  await loadTokens(ports.front, file, 'zipf', secondsBefore)
  const look = async () => {
    const numberOf = await readActionNumbers(ports)
    return {
      haproxyUs: runTimeUs(front),
      verifierUs: runTimeUs(asked),
      seen: numberOf('requests_total'),
      hits: numberOf('cache_hits_total'),
    }
  }
  const before = await look()
  const { requests, seconds, p50Us, p99Us, failed } = await loadTokens(
    ports.front,
    file,
    'zipf',
    sliceSeconds,
  )
  const after = await look()
  const spent = (name: keyof typeof before) => after[name] - before[name]
  return {
    haproxyUs: spent('haproxyUs'),
    verifierUs: spent('verifierUs'),
    seen: spent('seen'),
    hits: spent('hits'),
    requests,
    seconds,
    p50Us,
    p99Us,
    failed,
  }
}

function medians(all: readonly Sample[]) {
  const of = (value: (sample: Sample) => number, digits = 0) =>
    round(median(all.map(value)), digits)
  return {
    haproxyCpuUs: of(({ haproxyCpuUs }) => haproxyCpuUs, 1),
    verifierCpuUs: of(({ verifierCpuUs }) => verifierCpuUs, 1),
    hitRate: of(({ hitRate }) => hitRate, 3),
    perSecond: of(({ perSecond }) => perSecond),
    p50Us: of(({ p50Us }) => p50Us),
    p99Us: of(({ p99Us }) => p99Us),
    pacedP50Us: of(({ pacedP50Us }) => pacedP50Us),
    pacedP99Us: of(({ pacedP99Us }) => pacedP99Us),
    failed: of(({ failed }) => failed),
    haproxyMiB: of(({ haproxyMiB }) => haproxyMiB),
  }
}

/** Of each round. */
function ratiosOf(
  ones: readonly Sample[],
  others: readonly Sample[],
  value: (sample: Sample) => number,
): number[] {
  return ones.flatMap((one, index) => {
    const other = others[index]
    return other === undefined ? [] : [value(one) / value(other)]
  })
}
