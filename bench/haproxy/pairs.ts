/**
 * CPU time of two variants that both run and take the load in turn. What slows the machine down for some seconds
 * slows down both, so their ratio varies less than that of variants which are started one after the other.
 */
import { join } from 'node:path'
import { type Variant, variantsOf } from './configs.ts'
import { loadFull, tokenFields } from './load.ts'
import { median, round } from './numbers.ts'
import { runTimeUs } from './programs.ts'
import { type Bench, type Stack, withStack } from './stack.ts'
import { requireHits, stackOf } from './variants.ts'

/** Many and short: the speed of a machine with neighbours changes within seconds. */
const turns = 200
const requests = 4_000
const warmUpTurns = 3

const pairs: readonly (readonly [Variant, Variant])[] = [
  ['fast lane, hot cache', 'native headers'],
  ['fast lane, hot cache, stripping', 'native headers, stripping'],
  ['shipped configuration, fast lane', 'shipped configuration, native headers and variables'],
  ['action, hot cache', 'release 0.1.0, hot cache'],
]

/** Medians of each pair: CPU time a request, and the ratio with its lowest and highest quarter. */
export async function comparePairs(bench: Bench) {
  const known = variantsOf(bench.version)
  const ratios: object[] = []
  for (const [one, other] of pairs.filter(([name]) => known.includes(name))) {
    console.error(`${one} / ${other}`)
    const times = await withStack(bench, stackOf(bench, one), (first) =>
      withStack(bench, stackOf(bench, other), (second) => takeTurns(bench, first, second)),
    )
    const of = (values: readonly number[], digits: number) => round(median(values), digits)
    const all = times.map(([of1, of2]) => of1 / of2).toSorted((a, b) => a - b)
    ratios.push({
      ratio: `${one} / ${other}`,
      cpu: of(all, 2),
      lowerQuarter: round(all[Math.floor(turns / 4)] ?? Number.NaN, 2),
      upperQuarter: round(all[Math.floor((3 * turns) / 4)] ?? Number.NaN, 2),
      oneCpuUs: of(
        times.map(([of1]) => of1),
        1,
      ),
      otherCpuUs: of(
        times.map(([, of2]) => of2),
        1,
      ),
    })
  }
  return { turns, requests, ratios }
}

async function takeTurns(bench: Bench, first: Stack, second: Stack) {
  const ask = async ({ front, ports }: Stack): Promise<number> => {
    const before = runTimeUs(front)
    const log = join(bench.files.folder, 'h2load.log')
    await loadFull(ports.front, tokenFields(bench.token), requests, log)
    return (runTimeUs(front) - before) / requests
  }
  for (let turn = 0; turn < warmUpTurns; turn++) {
    await ask(first)
    await ask(second)
  }
  const times: (readonly [number, number])[] = []
  for (let turn = 0; turn < turns; turn++) {
    // Neither is always the one that comes after the other.
    const isFirst = turn % 2 === 0
    const early = await ask(isFirst ? first : second)
    const late = await ask(isFirst ? second : first)
    times.push(isFirst ? [early, late] : [late, early])
  }
  await requireHits(first)
  return times
}
