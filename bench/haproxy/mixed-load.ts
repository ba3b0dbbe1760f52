/**
 * The shipped configuration with the action and the real verifier, and more users than either cache
 * of a default size takes in comfort: first every token once, so that each request is new to both,
 * then the same tokens by popularity. What is asked besides time: do both stay inside their memory?
 */
import type { ChildProcess } from 'node:child_process'
import type { Tokens } from '../tokens.ts'
import { shippedFront } from './configs.ts'
import { type LoadResult, loadPaced, loadTokens, pacedPerSecond } from './load.ts'
import { median, round } from './numbers.ts'
import { cpuTime, memory } from './programs.ts'
import { type Bench, readActionNumbers, type Stack, withStack } from './stack.ts'
import { cpuUs } from './variants.ts'
import { startVerifier, type Verifier } from './verifier.ts'

const zipfSeconds = 8
const pacedSeconds = 5
/** A token each 0.2 ms and slower: ends earlier, when the tokens are used up. */
const newTokensSecondsLimit = 120

const tokensInVerifier = 'entra_auth_token_cache_entries'

interface Phase {
  readonly perSecond: number
  readonly p50Us: number
  readonly p99Us: number
  /** Requests that were refused, for example because the verifier took longer than HAProxy waits. */
  readonly failed: number
  readonly haproxyCpuUs: number
  readonly verifierCpuUs: number
  /** Share of the requests that the action's cache answered. */
  readonly actionHitRate: number
  /** Share of the verifier's answers that came from its token cache. */
  readonly verifierHitRate: number
}

interface Round {
  readonly newTokens: Phase
  readonly zipf: Phase
  readonly zipfPaced: Phase
  readonly memory: Memory
}

interface Memory {
  readonly verifierIdleMiB: number
  readonly verifierMiB: number
  readonly verifierHighestMiB: number
  readonly verifierTokens: number
  readonly haproxyIdleMiB: number
  readonly haproxyMiB: number
  readonly haproxyHighestMiB: number
  readonly actionCacheEntries: number
  readonly actionCacheMiB: number
  readonly actionEvictions: number
}

/** Runs the mixed load some times and takes medians; of memory the highest. */
export async function measureMixedLoad(
  bench: Bench,
  tokens: Tokens,
  authority: string,
  rounds: number,
) {
  const all: Round[] = []
  for (let round = 1; round <= rounds; round++) {
    console.error(`round ${round} of ${rounds}: mixed load`)
    all.push(await measureRound(bench, tokens, authority))
  }
  const over = <T extends Phase | Memory>(
    part: (round: Round) => T,
    choose: (values: number[]) => number,
  ) => combine(all.map(part), choose)
  return {
    liveTokens: tokens.count,
    pacedPerSecond,
    phases: [
      { phase: 'every request a new token', ...over(({ newTokens }) => newTokens, median) },
      { phase: 'Zipf', ...over(({ zipf }) => zipf, median) },
      { phase: 'Zipf, paced', ...over(({ zipfPaced }) => zipfPaced, median) },
    ],
    memory: over(
      ({ memory }) => memory,
      (values) => Math.max(...values),
    ),
  }
}

function combine<T extends object>(all: readonly T[], choose: (values: number[]) => number): T {
  const names = Object.keys(all[0] ?? {}) as (keyof T)[]
  return Object.fromEntries(
    names.map((name) => [name, choose(all.map((one) => Number(one[name])))]),
  ) as T
}

async function measureRound(bench: Bench, tokens: Tokens, authority: string): Promise<Round> {
  let verifier: Verifier | undefined
  const options = {
    config: shippedFront,
    async startVerifier({ verifier: port }: Stack['ports']): Promise<ChildProcess> {
      verifier = await startVerifier(port, authority, bench.files.folder)
      return verifier.child
    },
  }
  return withStack(bench, options, async (stack) => {
    if (verifier === undefined) throw new Error('no verifier was started')
    const idle = [memory(verifier.child).nowMiB, memory(stack.front).nowMiB] as const
    const { file } = tokens
    const port = stack.ports.front
    const phase = phaseOf(stack, verifier)
    const newTokens = await phase(() => loadTokens(port, file, 'each', newTokensSecondsLimit))
    warnUnlessAll(await verifier.readNumber(tokensInVerifier), tokens.count)
    const zipf = await phase(() => loadTokens(port, file, 'zipf', zipfSeconds))
    const zipfPaced = await phase(() => loadPaced(port, file, 'zipf', pacedSeconds))
    return { newTokens, zipf, zipfPaced, memory: await readMemory(stack, verifier, idle) }
  })
}

/** Memory of fewer tokens is not what was asked for; the report names the number. */
function warnUnlessAll(held: number, count: number): void {
  if (held >= count * 0.98) return
  console.error(
    `the verifier holds ${held} of ${count} tokens: this machine is too busy for the rest`,
  )
}

function phaseOf({ front, ports }: Stack, verifier: Verifier) {
  const look = async () => {
    const numberOf = await readActionNumbers(ports)
    const lookups = 'entra_auth_token_cache_lookups_total'
    return {
      haproxyUs: cpuUs(cpuTime(front)),
      verifierUs: cpuUs(cpuTime(verifier.child)),
      requests: numberOf('requests_total'),
      hits: numberOf('cache_hits_total'),
      verifierHits: await verifier.readNumber(`${lookups}{result="hit"}`),
      verifierMisses: await verifier.readNumber(`${lookups}{result="miss"}`),
    }
  }
  return async (load: () => Promise<LoadResult>): Promise<Phase> => {
    const before = await look()
    const result = await load()
    const after = await look()
    const spent = (name: keyof typeof before) => after[name] - before[name]
    const requests = spent('requests')
    const asked = spent('verifierHits') + spent('verifierMisses')
    return {
      perSecond: Math.round(result.requests / result.seconds),
      p50Us: result.p50Us,
      p99Us: result.p99Us,
      failed: result.failed,
      haproxyCpuUs: round(spent('haproxyUs') / requests, 1),
      verifierCpuUs: round(spent('verifierUs') / requests, 1),
      actionHitRate: round(spent('hits') / requests, 3),
      verifierHitRate: round(spent('verifierHits') / asked, 3),
    }
  }
}

async function readMemory(
  { front, ports }: Stack,
  verifier: Verifier,
  [verifierIdleMiB, haproxyIdleMiB]: readonly [number, number],
): Promise<Memory> {
  const numberOf = await readActionNumbers(ports)
  const ofVerifier = memory(verifier.child)
  const ofHaproxy = memory(front)
  return {
    verifierIdleMiB,
    verifierMiB: ofVerifier.nowMiB,
    verifierHighestMiB: ofVerifier.highestMiB,
    verifierTokens: await verifier.readNumber(tokensInVerifier),
    haproxyIdleMiB,
    haproxyMiB: ofHaproxy.nowMiB,
    haproxyHighestMiB: ofHaproxy.highestMiB,
    actionCacheEntries: numberOf('cache_entries'),
    actionCacheMiB: round(numberOf('cache_bytes') / 1024 / 1024, 1),
    actionEvictions: numberOf('cache_evictions_total'),
  }
}
