/**
 * The service alone: a bare Fastify route, a hit, a miss, and a bare route that verifies one
 * signature as the limit of a miss. In turn, several rounds, medians; only ratios inside one run
 * mean anything on a shared machine.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { ensureTokens, liveTokens } from '../tokens.ts'
import { requireTools } from '../tools.ts'

const connections = 32
const warmUpRequests = 12_000
const rounds = Number(process.env.BENCH_ROUNDS ?? 5)
const seconds = Number(process.env.BENCH_SECONDS ?? 3)
/** A miss needs a new token each time, so its time is bounded by the tokens that there are. */
const tokenCount = Number(process.env.BENCH_TOKENS ?? liveTokens)

/**
 * All get the same requests; those that verify get a new token with each. `bare route` is Fastify
 * as it comes; `bare route of the service` answers beside `/verify`, in the same process.
 */
const variants = [
  { name: 'bare route', target: 'bare', tokens: 'one', path: '/verify/orders' },
  { name: 'bare route of the service', target: 'service', tokens: 'one', path: '/bare' },
  { name: 'hit', target: 'service', tokens: 'one', path: '/verify/orders' },
  {
    name: 'bare route + crypto.verify',
    target: 'crypto-verify',
    tokens: 'each',
    path: '/verify/orders',
  },
  { name: 'miss', target: 'service', tokens: 'each', path: '/verify/orders' },
] as const
type Variant = (typeof variants)[number]

interface Sample {
  readonly perSecond: number
  readonly cpuUs: number
  readonly p50Us: number
  readonly p99Us: number
}

requireTools(['wrk'])
const { file: tokenFile } = await ensureTokens(tokenCount)
const samples = new Map<string, Sample[]>(variants.map(({ name }) => [name, []]))
let port = 18_400
for (let round = 1; round <= rounds; round++) {
  for (const variant of variants) {
    console.error(`round ${round} of ${rounds}: ${variant.name}`)
    samples.get(variant.name)?.push(await measure(variant, port++))
  }
}

const results = variants.map(({ name }) => {
  const all = samples.get(name) ?? []
  const of = (key: keyof Sample) => median(all.map((sample) => sample[key]))
  return {
    name,
    perSecond: of('perSecond'),
    cpuUs: of('cpuUs'),
    p50Us: of('p50Us'),
    p99Us: of('p99Us'),
  }
})
/** The median of the ratios inside each round: what else the machine does is nearly the same. */
const ratio = (name: string, base: string, key: 'perSecond' | 'cpuUs') =>
  round2(
    median(
      (samples.get(name) ?? []).map(
        (sample, round) => sample[key] / (samples.get(base)?.[round]?.[key] ?? Number.NaN),
      ),
    ),
  )
const pairs = [
  ['hit', 'bare route'],
  ['hit', 'bare route of the service'],
  ['miss', 'bare route + crypto.verify'],
] as const
const report = {
  date: new Date().toISOString().slice(0, 10),
  node: process.version,
  processor: cpus()[0]?.model,
  cores: cpus().length,
  rounds,
  seconds,
  results,
  /** Load of the machine at the end: above 2 for each core, rates say little and CPU times more. */
  loadAverage: round2(loadavg()[0] ?? 0),
  ratios: Object.fromEntries(
    pairs.map(([name, base]) => [
      `${name} / ${base}`,
      // By CPU time the base comes first: what takes twice the time has half the rate.
      { rate: ratio(name, base, 'perSecond'), cpu: ratio(base, name, 'cpuUs') },
    ]),
  ),
}
const directory = join(import.meta.dirname, '../results')
mkdirSync(directory, { recursive: true })
writeFileSync(join(directory, 'service.json'), `${JSON.stringify(report, null, 2)}\n`)
console.table(results)
console.table(report.ratios)

async function measure(variant: Variant, port: number): Promise<Sample> {
  const { target } = variant
  const server = spawn(
    process.execPath,
    [join(import.meta.dirname, 'targets.ts'), target, String(port)],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  )
  try {
    await answers(port)
    const nextToken = warmUp(port, variant)
    const before = cpuUs(server)
    const result = load(port, variant, nextToken, seconds)
    if (result.errors > 0) throw new Error(`${target}: ${result.errors} errors`)
    return {
      perSecond: Math.round(result.requests / result.seconds),
      cpuUs: round2((cpuUs(server) - before) / result.requests),
      p50Us: result.p50Us,
      p99Us: result.p99Us,
    }
  } finally {
    const ended = new Promise((resolve) => server.once('exit', resolve))
    server.kill()
    await ended
  }
}

/**
 * The first requests compile the code that is measured, so they are of the same kind, and many
 * enough: code that ran two thousand times still takes twice its time. Returns the next new token.
 */
function warmUp(port: number, variant: Variant): number {
  let nextToken = 1
  while (nextToken < warmUpRequests) {
    nextToken += load(port, variant, nextToken, 1).requests + connections
  }
  return nextToken
}

function load(port: number, { tokens, path }: Variant, firstToken: number, seconds: number) {
  const script = join(import.meta.dirname, 'wrk.lua')
  const url = `http://127.0.0.1:${port}`
  const scriptArgs = [tokenFile, tokens, tokens === 'each' ? String(firstToken) : '1', path]
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', script, url, '--', ...scriptArgs]
  const output = execFileSync('wrk', args, { encoding: 'utf8' })
  const json = /^RESULT (.*)$/m.exec(output)?.[1]
  if (!json) throw new Error(`wrk printed no result: ${output}`)
  return JSON.parse(json)
}

async function answers(port: number): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const answered = await fetch(`http://127.0.0.1:${port}/verify/orders`).then(
      () => true,
      () => false,
    )
    if (answered) return
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error(`nothing answers on port ${port}`)
}

/** CPU time of a process in µs, user and system, from the operating system. */
function cpuUs(process: ChildProcess): number {
  const stat = readFileSync(`/proc/${process.pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

function round2(value: number): number {
  return Math.round(value * 100) / 100
}
