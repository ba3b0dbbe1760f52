/**
 * 100,000 tokens by popularity, through the shipped configuration, the action and the real verifier: how many
 * requests the caches answer, and what a request costs. Cache settings and an earlier version of this
 * repository take turns.
 */
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Tokens } from '../tokens.ts'
import { frontConfig, type Ports, shippedFront } from './configs.ts'
import { loadPaced, loadTokens, pacedPerSecond } from './load.ts'
import { median, round } from './numbers.ts'
import { cpuTime, memory } from './programs.ts'
import { type Bench, readActionNumbers, withStack } from './stack.ts'
import { cpuUs } from './variants.ts'
import { startVerifier, type Verifier } from './verifier.ts'

/** In lives of a verdict, and seconds more: the caches fill, and then what filled them ends in a short time. */
const [warmUpLives, warmUpBeyond] = [2, 5]
/** For how long the action keeps a verdict: the verifier's default, here and in earlier versions. */
const [usualCacheSeconds, formerCacheSeconds] = [300, 30]
const seconds = 8
const pacedSeconds = 4

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
  const samples = new Map<string, Sample[]>(setups.map(({ name }) => [name, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const setup of setups) {
      console.error(`round ${round} of ${rounds}: ${setup.name}`)
      samples.get(setup.name)?.push(await measureSetup(bench, tokens, setup))
    }
  }
  const [first] = setups
  const ofFirst = samples.get(first?.name ?? '') ?? []
  const results = [...samples].map(([setup, all]) => ({ setup, ...medians(all) }))
  const ratios = [...samples].slice(1).map(([setup, all]) => ({
    ratio: `${setup} / ${first?.name}`,
    haproxyCpu: ratioOf(all, ofFirst, ({ haproxyCpuUs }) => haproxyCpuUs),
    p99: ratioOf(all, ofFirst, ({ p99Us }) => p99Us),
    pacedP99: ratioOf(all, ofFirst, ({ pacedP99Us }) => pacedP99Us),
  }))
  return { liveTokens: tokens.count, warmUpLives, warmUpBeyond, pacedPerSecond, results, ratios }
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

async function measureSetup(bench: Bench, { file }: Tokens, setup: Setup): Promise<Sample> {
  let verifier: ChildProcess | undefined
  const options = {
    config: setup.config,
    async startVerifier({ verifier: port }: Ports): Promise<ChildProcess> {
      verifier = (await setup.start(port)).child
      return verifier
    },
  }
  return withStack(bench, options, async ({ front, ports }) => {
    if (verifier === undefined) throw new Error('no verifier was started')
    const asked = verifier
    const look = async () => {
      const numberOf = await readActionNumbers(ports)
      return {
        haproxyUs: cpuUs(cpuTime(front)),
        verifierUs: cpuUs(cpuTime(asked)),
        requests: numberOf('requests_total'),
        hits: numberOf('cache_hits_total'),
      }
    }
    await warmUp(ports.front, file, warmUpLives * setup.cacheSeconds + warmUpBeyond)
    const before = await look()
    const full = await loadTokens(ports.front, file, 'zipf', seconds)
    const after = await look()
    const paced = await loadPaced(ports.front, file, 'zipf', pacedSeconds)
    const spent = (name: keyof typeof before) => after[name] - before[name]
    return {
      haproxyCpuUs: spent('haproxyUs') / full.requests,
      verifierCpuUs: spent('verifierUs') / full.requests,
      hitRate: spent('requests') === 0 ? 0 : spent('hits') / spent('requests'),
      perSecond: full.requests / full.seconds,
      p50Us: full.p50Us,
      p99Us: full.p99Us,
      pacedP50Us: paced.p50Us,
      pacedP99Us: paced.p99Us,
      failed: full.failed + paced.failed,
      haproxyMiB: memory(front).nowMiB,
    }
  })
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

/** Median of the ratios of each round. */
function ratioOf(
  ones: readonly Sample[],
  others: readonly Sample[],
  value: (sample: Sample) => number,
): number {
  const all = ones.flatMap((one, index) => {
    const other = others[index]
    return other === undefined ? [] : [value(one) / value(other)]
  })
  return round(median(all), 2)
}
