/**
 * HAProxy with and without the action: CPU time a request, and user-space instructions a request
 * counted by callgrind. CPU time includes the kernel but varies on a shared machine, so variants run
 * in turn and medians count; instructions are the same each time, so they show a regression of a
 * percent. Both are differences: of two moments, and of two run lengths.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { haproxyCommand } from '../../scripts/haproxy-versions.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { ensureTokens, publicKeyPem } from '../service/fixture.ts'
import { requireTools } from '../tools.ts'
import { frontConfig, originConfig, type Ports, type Variant, variantNames } from './configs.ts'

const rounds = Number(process.env.BENCH_ROUNDS ?? 5)
const requests = Number(process.env.BENCH_REQUESTS ?? 40_000)
const versions = (process.env.BENCH_HAPROXY ?? '2.6,3.2').split(',')
const connections = 32
/** Polls come once a second, and the cache starts with the first. */
const warmUpMs = 1500

interface Result {
  readonly variant: Variant
  readonly cpuUs: number
  readonly userUs: number
  readonly systemUs: number
  readonly perSecond: number
  readonly instructions: number
}

interface Sample {
  readonly userUs: number
  readonly systemUs: number
  readonly perSecond: number
}

requireTools(['h2load', 'valgrind'])
const token = readFileSync(ensureTokens(1), 'utf8').split('\n')[0] ?? ''
const folder = mkdtempSync(join(tmpdir(), 'entra-auth-bench-'))
try {
  const reports = []
  for (const version of versions) reports.push(await benchVersion(version))
  const directory = join(import.meta.dirname, '../results')
  mkdirSync(directory, { recursive: true })
  const report = {
    date: new Date().toISOString().slice(0, 10),
    processor: cpus()[0]?.model,
    cores: cpus().length,
    rounds,
    requests,
    connections,
    tokenBytes: token.length,
    versions: reports,
  }
  writeFileSync(join(directory, 'haproxy.json'), `${JSON.stringify(report, null, 2)}\n`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}

async function benchVersion(version: string) {
  const { command, args } = await haproxyCommand(version)
  const haproxy = [command, ...args]
  const samples = new Map<Variant, Sample[]>(variantNames.map((name) => [name, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const variant of variantNames) {
      console.error(`HAProxy ${version}, round ${round} of ${rounds}: ${variant}`)
      samples.get(variant)?.push(await measureCpu(haproxy, variant))
    }
  }
  const results: Result[] = []
  for (const variant of variantNames) {
    console.error(`HAProxy ${version}, instructions: ${variant}`)
    const all = samples.get(variant) ?? []
    const of = (value: (sample: Sample) => number) => round1(median(all.map(value)))
    results.push({
      variant,
      cpuUs: of(({ userUs, systemUs }) => userUs + systemUs),
      userUs: of(({ userUs }) => userUs),
      systemUs: of(({ systemUs }) => systemUs),
      perSecond: Math.round(of(({ perSecond }) => perSecond)),
      instructions: await countInstructions(haproxy, variant),
    })
  }
  const [line = ''] = execFileSync(command, [...args, '-v'], { encoding: 'utf8' }).split('\n')
  const ratios = {
    ...ratio(samples, 'action, hot cache', 'native headers'),
    ...ratio(samples, 'action, hot cache, variables=none', 'native headers'),
    ...ratio(samples, 'action, hot cache', 'jwt_verify and native headers'),
  }
  console.log(line)
  console.table(results)
  console.table(ratios)
  return { haproxy: line, results, cpuRatios: ratios }
}

/** Median of the ratios of each round, whose two runs saw the same machine. */
function ratio(samples: Map<Variant, Sample[]>, one: Variant, other: Variant) {
  const cpu = (name: Variant) =>
    (samples.get(name) ?? []).map(({ userUs, systemUs }) => userUs + systemUs)
  const others = cpu(other)
  const all = cpu(one).map((value, index) => value / (others[index] ?? Number.NaN))
  return { [`${one} / ${other}`]: Math.round(median(all) * 100) / 100 }
}

async function measureCpu(haproxy: readonly string[], variant: Variant): Promise<Sample> {
  return withStack(haproxy, [], variant, async (front, port) => {
    load(port, 5_000)
    const before = cpuTime(front)
    const start = performance.now()
    load(port, requests)
    const seconds = (performance.now() - start) / 1000
    const spent = cpuTime(front)
    return {
      userUs: (spent.userUs - before.userUs) / requests,
      systemUs: (spent.systemUs - before.systemUs) / requests,
      perSecond: requests / seconds,
    }
  })
}

/** The difference of two run lengths: start, warm-up and the end of the process cancel out. */
async function countInstructions(haproxy: readonly string[], variant: Variant): Promise<number> {
  const [short, long] = [500, 3_000]
  const first = await instructionsOf(haproxy, variant, short)
  const second = await instructionsOf(haproxy, variant, long)
  return Math.round((second - first) / (long - short))
}

async function instructionsOf(
  haproxy: readonly string[],
  variant: Variant,
  count: number,
): Promise<number> {
  const prefix = `callgrind-${count}-${variantNames.indexOf(variant)}`
  const valgrind = ['valgrind', '--tool=callgrind', `--callgrind-out-file=${folder}/${prefix}.%p`]
  await withStack(haproxy, valgrind, variant, async (_, port) => load(port, count))
  let total = 0
  for (const name of readdirSync(folder).filter((one) => one.startsWith(`${prefix}.`))) {
    const text = readFileSync(join(folder, name), 'utf8')
    total += Number(/^(?:summary|totals): (\d+)/m.exec(text)?.[1] ?? 0)
    rmSync(join(folder, name))
  }
  if (total === 0) throw new Error(`callgrind counted nothing for: ${variant}`)
  return total
}

async function withStack<T>(
  haproxy: readonly string[],
  wrapper: readonly string[],
  variant: Variant,
  run: (front: ChildProcess, port: number) => Promise<T>,
): Promise<T> {
  const [front = 0, loopback = 0, verifier = 0, application = 0] = await freePorts(4)
  const ports: Ports = { front, loopback, verifier, application }
  const publicKey = join(folder, 'key.pem')
  writeFileSync(publicKey, publicKeyPem())
  const lua = resolve(import.meta.dirname, '../../haproxy-lua/entra-auth.lua')
  const maxAge = variant === 'action, miss each time' ? 0 : 3600
  const origin = start(haproxy, [], 'origin', originConfig(ports, maxAge))
  const child = start(haproxy, wrapper, 'front', frontConfig(variant, ports, { lua, publicKey }))
  try {
    await untilAnswers(front)
    await new Promise((next) => setTimeout(next, wrapper.length > 0 ? 2 * warmUpMs : warmUpMs))
    return await run(child, front)
  } finally {
    await Promise.all([stop(origin), stop(child)])
  }
}

function start(
  haproxy: readonly string[],
  wrapper: readonly string[],
  name: string,
  config: string,
): ChildProcess {
  const file = join(folder, `${name}.cfg`)
  writeFileSync(file, config)
  const [command = '', ...args] = [...wrapper, ...haproxy, '-db', '-f', file]
  return spawn(command, args, { stdio: 'ignore' })
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await ended
}

async function untilAnswers(port: number): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt++) {
    const status = await fetch(`http://127.0.0.1:${port}/`, { headers: authorization() }).then(
      (reply) => reply.status,
      () => 0,
    )
    if (status === 200) return
    await new Promise((next) => setTimeout(next, 25))
  }
  throw new Error('HAProxy does not answer with 200')
}

function authorization(): Record<string, string> {
  return { authorization: `Bearer ${token}` }
}

function load(port: number, count: number): void {
  const header = `authorization: Bearer ${token}`
  const url = `http://127.0.0.1:${port}/orders`
  const args = ['--h1', '-t1', `-c${connections}`, `-n${count}`, '-H', header, url]
  const output = execFileSync('h2load', args, { encoding: 'utf8' })
  if (!output.includes(`status codes: ${count} 2xx`))
    throw new Error(`not all went well: ${output}`)
}

/** CPU time of a process in µs, from the operating system. */
function cpuTime(child: ChildProcess): { userUs: number; systemUs: number } {
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { userUs: Number(fields[11]) * 10_000, systemUs: Number(fields[12]) * 10_000 }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

function round1(value: number): number {
  return Math.round(value * 10) / 10
}
