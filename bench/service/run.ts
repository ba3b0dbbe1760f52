/**
 * The service alone: a bare Fastify route, a hit, a miss, and a bare route that verifies one
 * signature as the limit of a miss. In turn, several rounds, medians; only ratios inside one run
 * mean anything on a shared machine.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { requireTools } from '../tools.ts'
import { ensureTokens } from './fixture.ts'

const rounds = Number(process.env.BENCH_ROUNDS ?? 5)
const seconds = Number(process.env.BENCH_SECONDS ?? 3)
/** A miss needs a new token each time, so its time is bounded by the tokens that there are. */
const tokenCount = Number(process.env.BENCH_TOKENS ?? 30_000)

const variants = [
  { name: 'bare route', target: 'bare', tokens: 'one' },
  { name: 'hit', target: 'service', tokens: 'one' },
  { name: 'bare route + crypto.verify', target: 'crypto-verify', tokens: 'one' },
  { name: 'miss', target: 'service', tokens: 'each' },
] as const

interface Sample {
  readonly perSecond: number
  readonly cpuUs: number
  readonly p50Us: number
  readonly p99Us: number
}

requireTools(['wrk'])
console.error(`signing ${tokenCount} tokens, unless they are there from the last run …`)
const tokenFile = ensureTokens(tokenCount)
const samples = new Map<string, Sample[]>(variants.map(({ name }) => [name, []]))
let port = 18_400
for (let round = 1; round <= rounds; round++) {
  for (const variant of variants) {
    console.error(`round ${round} of ${rounds}: ${variant.name}`)
    samples.get(variant.name)?.push(await measure(variant.target, variant.tokens, port++))
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
const rate = (name: string) => results.find((result) => result.name === name)?.perSecond ?? 0
const report = {
  date: new Date().toISOString().slice(0, 10),
  node: process.version,
  processor: cpus()[0]?.model,
  cores: cpus().length,
  rounds,
  seconds,
  results,
  ratios: {
    'hit / bare route': round2(rate('hit') / rate('bare route')),
    'miss / bare route + crypto.verify': round2(rate('miss') / rate('bare route + crypto.verify')),
  },
}
const directory = join(import.meta.dirname, '../results')
mkdirSync(directory, { recursive: true })
writeFileSync(join(directory, 'service.json'), `${JSON.stringify(report, null, 2)}\n`)
console.table(results)
console.table(report.ratios)

async function measure(target: string, tokens: string, port: number): Promise<Sample> {
  const server = spawn(
    process.execPath,
    [join(import.meta.dirname, 'targets.ts'), target, String(port)],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  )
  try {
    await answers(port)
    // The first requests compile the code; the cache of the miss target stays empty of its tokens.
    load(port, 'one', 1)
    const before = cpuUs(server)
    const result = load(port, tokens, tokens === 'each' ? Math.min(seconds, 2) : seconds)
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

function load(port: number, tokens: string, seconds: number) {
  const script = join(import.meta.dirname, 'wrk.lua')
  const url = `http://127.0.0.1:${port}`
  const args = ['-t1', '-c32', `-d${seconds}s`, '-s', script, url, '--', tokenFile, tokens]
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
