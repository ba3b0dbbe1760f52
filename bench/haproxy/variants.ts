/**
 * HAProxy with and without the action: CPU time a request, and how long a client waits. CPU time
 * includes the kernel but varies on a shared machine, so variants run in turn and medians count.
 */
import { join } from 'node:path'
import { frontConfig, isHot, isOfPage, type Variant, variantsOf } from './configs.ts'
import { type Latency, loadFull, loadPaced, pacedPerSecond, tokenFields } from './load.ts'
import { median, round } from './numbers.ts'
import { type CpuTime, cpuTime } from './programs.ts'
import { type Bench, readActionNumbers, type Stack, type StackOptions, withStack } from './stack.ts'

const requests = 30_000
const warmUpRequests = 4_000
const pacedSeconds = 2

/** One measurement of one variant. */
export interface Sample extends CpuTime {
  readonly perSecond: number
  /** CPU time a request of the program that HAProxy asks, the stand-in for the verifier included. */
  readonly askedCpuUs: number
  readonly full: Latency
  readonly paced: Latency
}

/** Pairs whose ratio says something: the first does what the second does, and more. */
export const compared: readonly (readonly [Variant, Variant])[] = [
  ['action, hot cache', 'native headers'],
  ['action, hot cache, variables=none', 'native headers'],
  ['action, hot cache, stripping', 'native headers, stripping'],
  ['action, hot cache, variables=none, stripping', 'native headers, stripping'],
  ['shipped configuration, action', 'shipped configuration, native headers and variables'],
  ['fast lane, hot cache', 'native headers'],
  ['fast lane, hot cache, stripping', 'native headers, stripping'],
  ['shipped configuration, fast lane', 'shipped configuration, native headers and variables'],
  ['action, hot cache', 'release 0.1.0, hot cache'],
  ['action, miss each time', 'release 0.1.0, miss each time'],
  ['action, session, hot cache', 'action, token of a page, hot cache'],
  ['fast lane, session, hot cache', 'fast lane, token of a page, hot cache'],
  ['action, hot cache', 'jwt_verify and native headers'],
  ['action, hot cache, variables=none', 'jwt_verify and native headers'],
]

/** Measures every variant that needs nothing but HAProxy; the rounds are the outer loop. */
export async function compareVariants(bench: Bench, tokenFile: string, rounds: number) {
  // A session is compared by instructions, where a tenth shows.
  const ownVariants = variantsOf(bench.version).filter((variant) => !isOfPage(variant))
  const samples = new Map<Variant, Sample[]>(ownVariants.map((name) => [name, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const variant of ownVariants) {
      console.error(`round ${round} of ${rounds}: ${variant}`)
      samples.get(variant)?.push(await measureVariant(bench, variant, tokenFile))
    }
  }
  const results = ownVariants.map((variant) => ({
    variant,
    ...summarize(samples.get(variant) ?? []),
  }))
  const pairs = compared.filter(([one]) => ownVariants.includes(one))
  const ratios = pairs.map(([one, other]) => ({
    ratio: `${one} / ${other}`,
    cpu: ratioOf(samples.get(one) ?? [], samples.get(other) ?? [], cpuUs),
  }))
  return { pacedPerSecond, results, ratios }
}

/** Medians of the samples. */
export function summarize(samples: readonly Sample[]) {
  const of = (value: (sample: Sample) => number, digits = 0) =>
    round(median(samples.map(value)), digits)
  return {
    cpuUs: of(cpuUs, 1),
    userUs: of(({ userUs }) => userUs, 1),
    systemUs: of(({ systemUs }) => systemUs, 1),
    perSecond: of(({ perSecond }) => perSecond),
    fullP50Us: of(({ full }) => full.p50Us),
    fullP99Us: of(({ full }) => full.p99Us),
    pacedP50Us: of(({ paced }) => paced.p50Us),
    pacedP99Us: of(({ paced }) => paced.p99Us),
  }
}

/** CPU time a request. */
export function cpuUs({ userUs, systemUs }: CpuTime): number {
  return userUs + systemUs
}

/** Median of the ratios of each round, whose two runs saw the same machine. */
export function ratioOf<T extends Sample>(
  ones: readonly T[],
  others: readonly T[],
  value: (sample: T) => number,
): number {
  const all = ones.map((one, index) => {
    const other = others[index]
    return other === undefined ? Number.NaN : value(one) / value(other)
  })
  return round(median(all), 2)
}

async function measureVariant(bench: Bench, variant: Variant, tokenFile: string): Promise<Sample> {
  return withStack(bench, stackOf(bench, variant), async (stack) => {
    const sample = await measure(bench, stack, tokenFile, requests)
    if (isHot(variant)) await requireHits(stack)
    return sample
  })
}

/** CPU time of what serves the client, under full load, and latency with pauses after that. */
export async function measure(
  bench: Bench,
  { front, ports, verifier }: Stack,
  tokenFile: string,
  count: number,
): Promise<Sample> {
  const logFile = join(bench.files.folder, 'h2load.log')
  await loadFull(ports.front, tokenFields(bench.token), Math.min(warmUpRequests, count), logFile)
  const before = cpuTime(front)
  const askedBefore = cpuTime(verifier)
  const full = await loadFull(ports.front, tokenFields(bench.token), count, logFile)
  const after = cpuTime(front)
  const askedAfter = cpuTime(verifier)
  const paced = await loadPaced(ports.front, tokenFile, 'one', pacedSeconds)
  return {
    userUs: (after.userUs - before.userUs) / count,
    systemUs: (after.systemUs - before.systemUs) / count,
    perSecond: count / full.seconds,
    askedCpuUs: (cpuUs(askedAfter) - cpuUs(askedBefore)) / count,
    full,
    paced,
  }
}

/** A cache that is not in use would be measured as something else. */
export async function requireHits({ ports }: Stack): Promise<void> {
  const numberOf = await readActionNumbers(ports)
  const [hits, all] = [numberOf('cache_hits_total'), numberOf('requests_total')]
  if (hits < all * 0.99) throw new Error(`only ${hits} of ${all} requests were in the cache`)
}

/** How a variant is started. */
export function stackOf({ files }: Bench, variant: Variant): StackOptions {
  return {
    config: (ports) => frontConfig(variant, ports, files),
    maxAge: variant.endsWith('miss each time') ? 0 : 3600,
  }
}
