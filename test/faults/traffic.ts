/** Good and bad tokens, mixed, at a steady rate through HAProxy, and a judge of what became of them. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Agent, request } from 'node:http'
import type { Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { type Authority, contoso } from '../serve/authority.ts'
import { eventually } from '../support/eventually.ts'
import type { Chain } from './chain.ts'

/** Requests of one sort. */
export interface Kind {
  /** Who these tokens are, as `tenant/object id`; absent: no request of this kind may ever arrive. */
  readonly identity?: string
  /** The token of the next request; undefined: none is sent. */
  readonly token: () => Promise<string | undefined> | string | undefined
}

export type Kinds = Readonly<Record<string, Kind>>

/** One request and what became of it. */
export interface Sent {
  readonly kind: string
  readonly startedMs: number
  readonly ms: number
  /** Status, or code of an error. */
  readonly result: string
}

export interface Traffic {
  readonly kinds: Kinds
  /** Everything that was answered or failed, in that order. */
  readonly sent: readonly Sent[]
  /** Resolves when so many that begin from now on have been answered or failed. */
  more(count: number): Promise<void>
  /** Sends nothing more, and resolves when nothing is under way. */
  end(): Promise<void>
}

export interface TrafficOptions {
  readonly kinds: Kinds
  readonly perSecond: number
  /** Kept connections that take turns, so that each is idle most of the time; default: few busy ones. */
  readonly connections?: number
}

const alice = `${contoso}/a1111111-1111-4111-8111-111111111111`
const gina = `${contoso}/a4444444-4444-4444-8444-444444444444`

/** Longest that a request may take: a few seconds of HAProxy's own limits, and a busy machine. */
export const limitMs = 20_000

/** Gives up long after the limit, so that a hang is seen as one and ends all the same. */
const patienceMs = 2 * limitMs

/**
 * Most that are under way at a time. A machine that answers only ten in a second would otherwise have a
 * queue so long that each waits beyond the limit, whatever the fault.
 */
const maxUnderWay = 150

/** Valid tokens, known and ever new, and each way of being none. */
export async function usualKinds(authority: Authority): Promise<Kinds> {
  const tokens = (persona: string, count: number, more?: object) =>
    Promise.all(Array.from({ length: count }, () => authority.token(persona, more)))
  const known = cycle(await tokens('alice', 4))
  const template = await authority.token('alice')
  const expired = cycle(await tokens('alice', 4, { expiresInSeconds: -3_600 }))
  const foreign = cycle(await tokens('mallory', 4))
  const revoked = cycle(await tokens('carol', 4))
  return {
    known: { identity: alice, token: known },
    new: { identity: gina, token: () => authority.token('gina') },
    forged: { token: () => forge(template) },
    expired: { token: expired },
    foreign: { token: foreign },
    revoked: { token: revoked },
    none: { token: () => undefined },
  }
}

/** The same header and claims under a signature that nobody made. */
export function forge(token: string): string {
  return `${token.slice(0, token.lastIndexOf('.'))}.${randomBytes(256).toString('base64url')}`
}

function cycle<T>(values: readonly T[]): () => T {
  let next = 0
  return () => values[next++ % values.length] as T
}

/** Half of the requests have known tokens; the other kinds share the rest. */
function mix(kinds: Kinds): () => string {
  const { known, ...rest } = kinds
  const others = Object.keys(rest)
  return cycle(known ? others.flatMap((name) => ['known', name]) : others)
}

let lastId = 0

/** Starts to send. Requests go out when they are due, whatever became of those before. */
export function startTraffic(
  chain: Chain,
  { kinds, perSecond, connections }: TrafficOptions,
): Traffic {
  const sent: Sent[] = []
  const expected = new Map<string, string | undefined>()
  const agents =
    connections === undefined
      ? [new Agent({ keepAlive: true })]
      : Array.from({ length: connections }, () => new Agent({ keepAlive: true, maxSockets: 1 }))
  const nextAgent = cycle(agents)
  const nextKind = mix(kinds)
  const startedMs = performance.now()
  let due = 0
  let underWay = 0
  let ended = false

  async function one(): Promise<void> {
    const kind = nextKind()
    const { identity, token } = kinds[kind] as Kind
    underWay++
    const credentials = await token()
    const id = String(++lastId)
    expected.set(id, identity)
    const start = performance.now()
    const result = await send(chain.haproxy.port, id, credentials, nextAgent())
    sent.push({ kind, startedMs: start, ms: performance.now() - start, result })
    underWay--
  }

  const timer = setInterval(() => {
    const target = ((performance.now() - startedMs) / 1000) * perSecond
    for (; due < target; due++) if (underWay < maxUnderWay) void one()
  }, 10)

  const traffic: Traffic = {
    kinds,
    sent,
    async more(count) {
      const [before, nowMs] = [sent.length, performance.now()]
      await eventually(
        () => sent.slice(before).filter(({ startedMs }) => startedMs >= nowMs).length,
        (since) => since >= count,
        120_000,
      )
    },
    async end() {
      if (ended) return
      ended = true
      clearInterval(timer)
      await eventually(
        () => underWay,
        (count) => count === 0,
        2 * patienceMs,
      )
      for (const agent of agents) agent.destroy()
    },
  }
  expectations.set(traffic, expected)
  chain.after(() => traffic.end())
  return traffic
}

/** What each request of a traffic may arrive as. */
const expectations = new WeakMap<Traffic, ReadonlyMap<string, string | undefined>>()

/** Sampled, so that a verifier that traces makes a span of each request. */
const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

/** When a kept connection was used last, and after how long it may be closed (ms): a pause of the machine. */
const lastUsedMs = new WeakMap<Socket, number>()
const staleMs = 5_000

function send(
  port: number,
  id: string,
  token: string | undefined,
  agent: Agent | false,
): Promise<string> {
  return new Promise((resolve) => {
    const failed = (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message)
    let idleMs = 0
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const headers = { 'x-sent-id': id, traceparent, ...authorization }
    const outgoing = request(
      { host: '127.0.0.1', port, path: '/orders', agent, headers, timeout: patienceMs },
      (response) => {
        response.on('error', failed)
        response.on('end', () => resolve(String(response.statusCode)))
        response.resume()
      },
    )
    outgoing.on('socket', (socket) => {
      idleMs = performance.now() - (lastUsedMs.get(socket) ?? performance.now())
      outgoing.on('close', () => lastUsedMs.set(socket, performance.now()))
    })
    outgoing.on('timeout', () => outgoing.destroy(new Error('hang')))
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      // HAProxy closes a connection that was idle for so long, at whatever moment.
      const isStale = outgoing.reusedSocket && idleMs > staleMs && error.code === 'ECONNRESET'
      if (isStale) resolve(send(port, id, token, agent))
      else failed(error)
    })
    outgoing.end()
  })
}

/** One request over a connection of its own. */
export function sendOne(chain: Chain, token: string | undefined): Promise<string> {
  return send(chain.haproxy.port, 'single', token, false)
}

/** Resolves when a valid token that was never seen before is admitted: nobody helped. */
export async function untilAdmitted(chain: Chain, more: object = {}, withinMs = 60_000) {
  await eventually(
    async () => sendOne(chain, await chain.authority.token('alice', more)),
    (result) => result === '200',
    withinMs,
  )
}

/**
 * Resolves when a service has recovered: of `count` further requests each valid token is admitted and each
 * other one refused. On a busy machine an answer may come too late now and then, so up to three rows of
 * requests are sent.
 */
export async function untilRecovered(chain: Chain, traffic: Traffic, count: number): Promise<void> {
  const rows: (readonly string[])[] = []
  for (let row = 1; row <= 3; row++) {
    await untilAdmitted(chain)
    const fromMs = performance.now()
    await traffic.more(count)
    const results = [countValid(traffic, fromMs), countInvalid(traffic, fromMs)]
    assert.equal(results[1]?.['200'], undefined)
    const seen = results.map((counts) => Object.keys(counts).join(' '))
    if (seen.join(', ') === '200, 401') return
    rows.push(seen)
  }
  assert.fail(`valid and other tokens got ${JSON.stringify(rows)}`)
}

/** Revokes the user of the kind `new`, and returns the status of that. */
export async function revokeGina(chain: Chain): Promise<number> {
  const reply = await fetch(`${chain.verifier.adminOrigin}/revocations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ kind: 'user', id: gina }),
  })
  await reply.arrayBuffer()
  return reply.status
}

/** Results of the valid tokens among the requests that began within these times. */
export function countValid(traffic: Traffic, fromMs = 0, toMs = Number.POSITIVE_INFINITY): Counts {
  const { kinds } = traffic
  const valid = Object.keys(kinds).filter((name) => kinds[name]?.identity !== undefined)
  return countResults(between(traffic, fromMs, toMs), ...valid)
}

/** Results of the tokens that are none, among the requests that began within these times. */
export function countInvalid(
  traffic: Traffic,
  fromMs = 0,
  toMs = Number.POSITIVE_INFINITY,
): Counts {
  const { kinds } = traffic
  const invalid = Object.keys(kinds).filter((name) => kinds[name]?.identity === undefined)
  return countResults(between(traffic, fromMs, toMs), ...invalid)
}

/** The requests that began within these times. */
export function between(traffic: Traffic, fromMs: number, toMs = Number.POSITIVE_INFINITY) {
  return traffic.sent.filter(({ startedMs }) => startedMs >= fromMs && startedMs < toMs)
}

export type Counts = Readonly<Record<string, number>>

/** How often each result came for these kinds. */
export function countResults(sent: readonly Sent[], ...kinds: readonly string[]): Counts {
  const counts: Record<string, number> = {}
  for (const { kind, result } of sent) {
    if (kinds.length === 0 || kinds.includes(kind)) counts[result] = (counts[result] ?? 0) + 1
  }
  return counts
}

/**
 * Holds in each fault: whatever arrived had a valid token and its identity, and nobody waited longer
 * than the limit. Also writes the row of the table.
 */
export function judge(t: TestContext, chain: Chain, ...traffics: readonly Traffic[]): void {
  const sent = traffics.flatMap((traffic) => traffic.sent)
  const expected = new Map(traffics.flatMap((traffic) => [...(expectations.get(traffic) ?? [])]))
  assert.ok(sent.length > 0, 'nothing was sent')
  for (const [id, identity] of chain.witness.arrivals) {
    if (expected.has(id)) assert.equal(identity, expected.get(id), `request ${id} arrived`)
  }
  const longest = sent.reduce((most, { ms }) => Math.max(most, ms), 0)
  t.diagnostic(
    `fault ${JSON.stringify({ fault: t.fullName.replace(' > ', ' '), ...summarize(sent), longestMs: Math.round(longest) })}`,
  )
  assert.ok(longest < limitMs, `a request took ${longest} ms`)
  assert.equal(countResults(sent).hang ?? 0, 0)
}

function summarize(sent: readonly Sent[]) {
  const of = (matches: (result: string) => boolean) =>
    sent.filter(({ result }) => matches(result)).length
  const refused = /^4/
  return {
    sent: sent.length,
    admitted: of((result) => result === '200'),
    refused: of((result) => refused.test(result)),
    unavailable: of((result) => result === '503'),
    failed: of((result) => !/^(200|4..|503)$/.test(result)),
  }
}
