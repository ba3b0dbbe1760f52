/** The benchmarks of the HAProxy side; `npm run bench -- --help` lists the options. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { haproxyCommand } from '../../scripts/haproxy-versions.ts'
import { type BenchOptions, parseOptions } from '../options.ts'
import { ensureTokens, liveTokens, startAuthority } from '../tokens.ts'
import { requireTools } from '../tools.ts'
import { countInstructions } from './instructions.ts'
import { connections } from './load.ts'
import { measureMixedLoad } from './mixed-load.ts'
import { comparePairs } from './pairs.ts'
import { comparePeers } from './peers.ts'
import type { Bench } from './stack.ts'
import { measureStalls } from './stalls.ts'
import { compareThreads } from './threads.ts'
import { compareVariants } from './variants.ts'
import { compareZipf } from './zipf-load.ts'

/** Names of the files with results. */
const names = {
  variants: 'haproxy',
  pairs: 'pairs',
  instructions: 'instructions',
  mixed: 'mixed-load',
  zipf: 'zipf',
  threads: 'threads',
  stalls: 'stalls',
  peers: 'peers',
} as const
/** A benchmark of this side. */
type EdgePart = keyof typeof names
/** Nothing is paired there, and each round sends every token. */
const mixedRounds = 2

/** What others did on this machine just before: the less, the more the times mean. */
const [loadBefore = 0] = loadavg()

const options = parseOptions(process.argv.slice(2))
requireTools([
  ...['h2load', 'wrk'],
  ...(options.only.includes('instructions') ? ['valgrind'] : []),
  ...(options.only.includes('stalls') ? ['cc', 'chrt'] : []),
])
const folder = mkdtempSync(join(tmpdir(), 'entra-auth-bench-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
await runAll(options)
// The authority's connections would keep the process alive for a while.
process.exit(0)

async function runAll({ only, versions, rounds, before, peers }: BenchOptions): Promise<void> {
  const tokens = await ensureTokens(liveTokens)
  const authority = await startAuthority(tokens)
  const publicKey = join(folder, 'key.pem')
  writeFileSync(publicKey, tokens.publicKeyPem)
  const { authRequest } = peers
  const files = { folder, publicKey, ...(authRequest !== undefined && { authRequest }) }

  const parts = {
    variants: (bench: Bench) => compareVariants(bench, tokens.file, rounds),
    pairs: comparePairs,
    instructions: countInstructions,
    mixed: (bench: Bench) =>
      measureMixedLoad(bench, tokens, authority, Math.min(rounds, mixedRounds)),
    zipf: (bench: Bench) => compareZipf(bench, tokens, authority, rounds, before),
    threads: (bench: Bench) => compareThreads(bench, tokens, authority, rounds),
    stalls: (bench: Bench) => measureStalls(bench, authority),
    peers: (bench: Bench) => comparePeers(bench, tokens, authority, rounds, peers),
  }
  for (const part of Object.keys(names) as EdgePart[]) {
    if (!only.includes(part)) continue
    const reports: object[] = []
    for (const version of versions) {
      const { command, args } = await haproxyCommand(version)
      const haproxy = [command, ...args]
      const [line = ''] = execFileSync(command, [...args, '-v'], { encoding: 'utf8' }).split('\n')
      console.error(`${part}: ${line}`)
      const report = await parts[part]({ haproxy, version, files, token: tokens.first })
      if (report === undefined) {
        console.error('no peer was named, see npm run bench -- --help')
        break
      }
      show(`${part}: ${line}`, report)
      reports.push({ haproxy: line, ...report })
    }
    if (reports.length > 0) write(part, tokens.first.length, rounds, reports)
  }
}

function show(title: string, report: object): void {
  console.log(title)
  for (const table of Object.values(report)) if (typeof table === 'object') console.table(table)
}

function write(
  part: EdgePart,
  tokenBytes: number,
  rounds: number,
  versions: readonly object[],
): void {
  const directory = join(import.meta.dirname, '../results')
  mkdirSync(directory, { recursive: true })
  const report = {
    date: new Date().toISOString().slice(0, 10),
    processor: cpus()[0]?.model,
    cores: cpus().length,
    node: process.version,
    loadAverageBefore: loadBefore,
    ...roundsOf(part, rounds),
    connections,
    tokenBytes,
    versions,
  }
  writeFileSync(join(directory, `${names[part]}.json`), `${JSON.stringify(report, null, 2)}\n`)
}

function roundsOf(part: EdgePart, rounds: number): object {
  if (['pairs', 'instructions', 'stalls'].includes(part)) return {}
  return { rounds: part === 'mixed' ? Math.min(rounds, mixedRounds) : rounds }
}
