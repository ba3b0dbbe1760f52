/** The two load generators: h2load for an exact number of requests, wrk for many tokens and pauses. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runProgram } from './programs.ts'

/** Connections of every load, kept alive. */
export const connections = 32
/** Below saturation of the slowest variant, and the same for all. */
export const pacedPerSecond = 1000
const pacedConnections = 50

/** Time of an answer at two quantiles. */
export interface Latency {
  readonly p50Us: number
  readonly p99Us: number
}

/** More than this is no measurement; less is reported: a busy machine lets a call time out. */
const failedShareLimit = 0.02

/** What a load saw. */
export interface LoadResult extends Latency {
  readonly requests: number
  readonly seconds: number
  /** Without an answer, or with another than 2xx. */
  readonly failed: number
}

/** Which tokens wrk sends; load.lua explains them. */
export type Order = 'one' | 'each' | 'zipf'

/** Whether a client keeps its connection, or opens one for each request. */
export type Connections = 'kept' | 'new'

/** Header fields of a request with a token. */
export function tokenFields(token: string): readonly string[] {
  return [`authorization: Bearer ${token}`]
}

/** What a browser's page sends with each request. */
const ofPage = ['sec-fetch-site: same-origin']

/** Header fields of a request of a page with a session: the cookie is as long as the token. */
export function sessionFields(token: string): readonly string[] {
  const value = token.replaceAll('.', '-')
  return [`cookie: theme=dark; __Host-entra-session=${value}`, ...ofPage]
}

/** The same with a token. */
export function pageFields(token: string): readonly string[] {
  return [`authorization: Bearer ${token}`, 'cookie: theme=dark', ...ofPage]
}

/** As fast as they are answered: `count` requests with one identity. Rejects unless each got a 2xx. */
export async function loadFull(
  port: number,
  fields: readonly string[],
  count: number,
  logFile: string,
): Promise<LoadResult> {
  const clients = Math.min(connections, count)
  // h2load would write behind what is there.
  rmSync(logFile, { force: true })
  const output = await runProgram([
    'h2load',
    '--h1',
    '-t1',
    `-c${clients}`,
    `-n${count}`,
    `--log-file=${logFile}`,
    ...fields.flatMap((field) => ['-H', field]),
    `http://127.0.0.1:${port}/orders`,
  ])
  if (!output.includes(`status codes: ${count} 2xx`)) throw new Error(`not all 2xx: ${output}`)
  const perSecond = Number(/^finished in .*, ([\d.]+) req\/s/m.exec(output)?.[1])
  return { requests: count, failed: 0, seconds: count / perSecond, ...readLog(logFile) }
}

/** Of the columns of h2load's log, the third is the time that the answer took, in µs. */
function readLog(file: string): Latency {
  const rows = readFileSync(file, 'utf8').trim().split('\n')
  const times = rows.map((row) => Number(row.split('\t')[2])).sort((a, b) => a - b)
  const quantile = (share: number) => times[Math.floor(times.length * share)] ?? Number.NaN
  return { p50Us: quantile(0.5), p99Us: quantile(0.99) }
}

/** With pauses, so that about `pacedPerSecond` come in: what a client waits when nothing is full. */
export function loadPaced(
  port: number,
  file: string,
  order: Order,
  seconds: number,
  kind: Connections = 'kept',
) {
  const pauseMs = (pacedConnections / pacedPerSecond) * 1000
  return runWrk(port, file, order, { seconds, clients: pacedConnections, pauseMs, kind })
}

/** As fast as they are answered, with the tokens of the file; `each` ends when they are used up. */
export function loadTokens(port: number, file: string, order: Order, seconds: number) {
  return runWrk(port, file, order, { seconds, clients: connections, pauseMs: 0, kind: 'kept' })
}

/** Another for each load, the same in each run. */
let seed = 0

interface WrkLoad {
  readonly seconds: number
  readonly clients: number
  readonly pauseMs: number
  readonly kind: Connections
}

async function runWrk(
  port: number,
  file: string,
  order: Order,
  { seconds, clients, pauseMs, kind }: WrkLoad,
): Promise<LoadResult> {
  const script = join(import.meta.dirname, 'load.lua')
  const wrk = ['wrk', '-t1', '--timeout=10s', `-c${clients}`, `-d${seconds}s`, '-s', script]
  const about = [file, order, String(pauseMs), String(++seed), kind]
  const output = await runProgram(
    [...wrk, `http://127.0.0.1:${port}/orders`, '--', ...about],
    (text, child) => {
      if (text.includes('EXHAUSTED')) child.kill('SIGINT')
    },
  )
  const json = /^RESULT (.*)$/m.exec(output)?.[1]
  if (!json) throw new Error(`wrk printed no result: ${output}`)
  const result = JSON.parse(json)
  if (result.failed > result.requests * failedShareLimit) throw new Error(`failed: ${output}`)
  return result
}
