/** The service as a process of its own, as an operator runs it. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { eventually } from '../support/eventually.ts'

const main = resolve(import.meta.dirname, '../../src/main.ts')

/**
 * Time that a start or a line of the log may take where several programs share each processor. Less than a
 * test has: its failure says what the service did instead.
 */
const startMs = 45_000

/** What something is tied to and ends with: a test, or a suite. */
export interface Life {
  after(cleanUp: () => unknown): void
}

/** A line of the log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string }

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface ServiceProcess {
  /** `http://127.0.0.1:PORT` of the verify listener. */
  readonly origin: string
  /** `127.0.0.1:PORT` */
  readonly address: string
  readonly pid: number
  readonly log: LogLine[]
  readonly stderr: string
  /** Resolves with the first line that matches from `from` (an index of `log`) on; fails after 45 s. */
  waitForLog(matches: (line: LogLine) => boolean, from?: number): Promise<LogLine>
  kill(signal: NodeJS.Signals): void
  readonly exited: Promise<Exit>
}

/** A folder that goes with the test. */
export function makeFolder(t: Life): string {
  const folder = mkdtempSync(join(tmpdir(), 'entra-auth-serve-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Where the log goes: a descriptor, or a pipe that nobody reads; by default it is read. */
export type Stdout = number | 'unread'

/**
 * Starts `haproxy-entra-auth serve` on a free port, or on `port`, with nothing but `env` in its
 * environment. It is ended with the test, by its process id.
 */
export async function startService(
  t: Life,
  env: Readonly<Record<string, string>>,
  options: { port?: number; args?: readonly string[]; stdout?: Stdout } = {},
): Promise<ServiceProcess> {
  const port = options.port ?? (await freePorts(1))[0] ?? 0
  const child = spawn(process.execPath, [main, 'serve', ...(options.args ?? [])], {
    stdio: ['ignore', typeof options.stdout === 'number' ? options.stdout : 'pipe', 'pipe'],
    env: {
      ENTRA_AUTH_PORT: String(port),
      ENTRA_AUTH_METRICS_PORT: '0',
      ENTRA_AUTH_ADMIN_PORT: '0',
      ...env,
    },
  })
  const log: LogLine[] = []
  const waiting = new Set<() => void>()
  let stderr = ''
  let ended = false
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  if (child.stdout && options.stdout === undefined) readLog(child.stdout)
  function readLog(input: Readable): void {
    createInterface({ input }).on('line', (line) => {
      log.push(JSON.parse(line))
      for (const tell of waiting) tell()
    })
  }
  const exited = new Promise<Exit>((done) => {
    child.once('close', (code, signal) => {
      ended = true
      for (const tell of waiting) tell()
      done({ code, signal })
    })
  })
  t.after(() => {
    child.kill('SIGKILL')
    return exited
  })
  return {
    origin: `http://127.0.0.1:${port}`,
    address: `127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    log,
    get stderr() {
      return stderr
    },
    waitForLog(matches, from = 0) {
      return new Promise((done, fail) => {
        const patience = setTimeout(() => {
          waiting.delete(look)
          fail(new Error(`not logged within 45 s: ${JSON.stringify(log, null, 1)}`))
        }, startMs)
        const look = () => {
          const found = log.slice(from).find(matches)
          if (!found && !ended) return
          clearTimeout(patience)
          waiting.delete(look)
          if (found) done(found)
          else fail(new Error(`the service ended before it logged that: ${stderr}`))
        }
        waiting.add(look)
        look()
      })
    },
    kill: (signal) => void child.kill(signal),
    exited,
  }
}

/** Resolves once readiness is green; fails with the log when it does not become so. */
export async function untilReady(service: ServiceProcess): Promise<void> {
  await eventually(
    async () => (await fetch(`${service.origin}/readyz`).catch(() => undefined))?.status,
    (status) => status === 200,
    startMs,
  ).catch((error) => {
    throw new Error(`${error.message}\n${service.stderr}${JSON.stringify(service.log, null, 1)}`)
  })
}

/** Status and headers of `GET /verify/{policy}` with a token. */
export async function verify(
  service: { readonly origin: string },
  token: string | undefined,
  policy = 'default',
): Promise<{ status: number; reason: string | null; headers: Headers }> {
  const reply = await fetch(`${service.origin}/verify/${policy}`, {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(30_000),
  })
  await reply.arrayBuffer()
  return {
    status: reply.status,
    reason: reply.headers.get('x-entra-auth-reason'),
    headers: reply.headers,
  }
}
