/**
 * User-space instructions a request, counted by callgrind: the same each time, however busy the
 * machine is, so they show a regression of a percent.
 */
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { hasSession, isOfPage, type Variant, variantsOf } from './configs.ts'
import { loadFull, pageFields, sessionFields, tokenFields } from './load.ts'
import { round } from './numbers.ts'
import { type Bench, withStack } from './stack.ts'
import { compared, stackOf } from './variants.ts'

/** No neighbour disturbs them, so as many at a time as a small machine has cores. */
const variantsAtATime = 2

/** Counts every variant that needs nothing but HAProxy. */
export async function countInstructions(bench: Bench) {
  const ownVariants = variantsOf(bench.version)
  const counts = new Map<Variant, number>()
  const left = [...ownVariants]
  const work = async () => {
    for (let variant = left.shift(); variant !== undefined; variant = left.shift()) {
      console.error(`instructions: ${variant}`)
      counts.set(variant, await countOf(bench, variant))
    }
  }
  await Promise.all(Array.from({ length: variantsAtATime }, work))
  const pairs = compared.filter(([one]) => ownVariants.includes(one))
  return {
    results: ownVariants.map((variant) => ({ variant, instructions: counts.get(variant) })),
    ratios: pairs.map(([one, other]) => ({
      ratio: `${one} / ${other}`,
      instructions: round((counts.get(one) ?? 0) / (counts.get(other) ?? 0), 2),
    })),
  }
}

/**
 * The difference of two run lengths: start, warm-up and the end of the process cancel out. Long enough for
 * several collections of Lua's garbage.
 */
export async function countOf(bench: Bench, variant: Variant): Promise<number> {
  const [short, long] = [500, 4_500]
  const first = await instructionsOf(bench, variant, short)
  const second = await instructionsOf(bench, variant, long)
  return Math.round((second - first) / (long - short))
}

async function instructionsOf(bench: Bench, variant: Variant, count: number): Promise<number> {
  const { folder } = bench.files
  const prefix = `callgrind-${count}-${variantsOf(bench.version).indexOf(variant)}`
  const wrapper = ['valgrind', '--tool=callgrind', `--callgrind-out-file=${folder}/${prefix}.%p`]
  const fieldsOf = hasSession(variant)
    ? sessionFields
    : isOfPage(variant)
      ? pageFields
      : tokenFields
  const fields = fieldsOf(bench.token)
  await withStack(bench, { ...stackOf(bench, variant), wrapper }, async ({ ports }) =>
    loadFull(ports.front, fields, count, join(folder, `${prefix}.log`)),
  )
  let total = 0
  for (const name of readdirSync(folder).filter((one) => one.startsWith(`${prefix}.`))) {
    const text = readFileSync(join(folder, name), 'utf8')
    total += Number(/^(?:summary|totals): (\d+)/m.exec(text)?.[1] ?? 0)
    rmSync(join(folder, name))
  }
  if (total === 0) throw new Error(`callgrind counted nothing for: ${variant}`)
  return total
}
