/** Walks through the tour and prints what came of it. */
import { setTimeout as wait } from 'node:timers/promises'
import { type Answer, call, type HeaderField } from './call.ts'
import { findDifferences, type Observation } from './check.ts'
import { readIdentity } from './identity.ts'
import type { Stack } from './stack.ts'
import type { Row, Score, Table } from './table.ts'
import { describeIdentity, identityOf, type Step, type TokenOrder, tour } from './tour.ts'
import { createVisitor, type Visitor } from './visitor.ts'

export interface TourOptions {
  readonly stack: Stack
  readonly table: Table
  readonly score: Score
  readonly print: (text: string) => void
  /** Ends the tour before the next row. */
  readonly signal: AbortSignal
}

const logWaitMs = 2_000
const troubleWaitMs = 200
const logWidth = 110

/** Makes every call of the tour, one after the other, and counts each row. */
export async function runTour(options: TourOptions): Promise<void> {
  const { stack, table, print, signal } = options
  const show = (row: Row) => {
    signal.throwIfAborted()
    options.score.count(row)
    print(table.row(row))
  }
  const visitor = createVisitor(stack.portal.origin)
  print(table.header())
  for (const { title, prepare, steps } of tour) {
    signal.throwIfAborted()
    await prepare?.(stack.verifier)
    signal.throwIfAborted()
    print(table.section(title))
    for (const step of steps) show(await take(stack, step, visitor))
  }
  print(table.section('In the logs'))
  const { row, line } = await checkAccessLog(stack)
  show(row)
  if (line) print(`\n${wrap(line)}`)
  print(showIdentityHeaders(stack))
}

async function take(stack: Stack, step: Step, visitor: Visitor): Promise<Row> {
  const { who, call } = step
  try {
    const observed = await observe(stack, step, visitor)
    return {
      who,
      call,
      status: String(observed.status),
      saw: observed.seen.map(({ identity }) => describeIdentity(identity)).join(', ') || 'nothing',
      why: observed.reason ? `${observed.reason}: ${step.why}` : step.why,
      differences: findDifferences(step.expected, observed),
    }
  } catch (error) {
    // Ctrl-C or the end of a process may be the cause: both become known within moments, end the
    // tour and say more than this row.
    await wait(troubleWaitMs)
    const differences = [`no answer: ${error instanceof Error ? error.message : error}`]
    return { who, call, status: '-', saw: '?', why: step.why, differences }
  }
}

async function observe(stack: Stack, step: Step, visitor: Visitor): Promise<Observation> {
  const headers: HeaderField[] = []
  if (step.token) {
    const token = await orderToken(stack.devEntraOrigin, step.token)
    headers.push(['Authorization', `Bearer ${step.alter?.(token) ?? token}`])
  }
  const before = stack.application.requests.length
  const { status, reason } = await (step.visit?.(visitor) ??
    call(`${stack.haproxy.origin}${step.path ?? '/orders'}`, {
      headers: [...headers, ...(step.headers ?? [])],
    }))
  const reached = stack.application.requests.slice(before)
  return { status, reason, seen: reached.map((request) => readIdentity(request.headers)) }
}

async function orderToken(origin: string, order: TokenOrder): Promise<string> {
  const answer: Answer = await call(`${origin}/dev/token`, {
    method: 'POST',
    headers: [['Content-Type', 'application/json']],
    body: JSON.stringify(order),
  })
  if (answer.status !== 200) throw new Error(`dev-entra refused the token: ${answer.body}`)
  return JSON.parse(answer.body).token
}

/** HAProxy's own log has to name the user of the last request that reached the application. */
async function checkAccessLog({ haproxy, application }: Stack) {
  const last = application.requests.at(-1)?.headers ?? []
  const id = last.find(([name]) => name.toLowerCase() === 'x-request-id')?.[1]
  const written = haproxy.waitForLog((text) => id !== undefined && text.includes(id))
  const patience = wait(logWaitMs, undefined, { ref: false })
  const line = await Promise.race([written.catch(() => undefined), patience])
  const field = (name: string) => new RegExp(`\\b${name}=(\\S+)`).exec(line ?? '')?.[1] ?? 'none'
  const { user } = identityOf('alice', 'user')
  const differences = [
    ...(line ? [] : ['HAProxy wrote no line for this request']),
    ...(line && field('status') !== '200'
      ? [`status: expected 200, found ${field('status')}`]
      : []),
    ...(line && field('user') !== user ? [`user: expected ${user}, found ${field('user')}`] : []),
  ]
  const row: Row = {
    who: 'alice',
    call: "HAProxy's access log line",
    status: line ? field('status') : '-',
    saw: '-',
    why: 'names the verified user',
    differences,
  }
  return { row, line }
}

function showIdentityHeaders({ application }: Stack): string {
  const headers = application.requests.at(-1)?.headers ?? []
  const lines = headers
    .filter(([name]) => /^x-auth-request-/i.test(name))
    .map(([name, value]) => `  ${name}: ${value}`)
  return ['\nIdentity headers of that request, as the application saw them:', ...lines].join('\n')
}

/** Breaks a line at spaces, without cutting a word. */
function wrap(text: string): string {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + word.length < logWidth) {
      lines[lines.length - 1] = `${last} ${word}`
    } else lines.push(word)
  }
  return lines.map((line) => `  ${line}`).join('\n')
}
