/**
 * Starts a real HAProxy with the shipped configuration on free ports of 127.0.0.1. The demo and the
 * end-to-end tests run this very file, so what they show is what an operator gets.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { access, constants, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { freePorts } from './free-port.ts'

const shipped = resolve(import.meta.dirname, '../../haproxy-lua')

/** The configuration and the action that ship. */
export const shippedConfig: string = join(shipped, 'haproxy.cfg')
export const shippedLua: string = join(shipped, 'entra-auth.lua')

export interface HaproxyOptions {
  /** `127.0.0.1:PORT` of the verifier. */
  readonly verifier: string
  /** `127.0.0.1:PORT` of the application. */
  readonly application: string
  /** Default: the shipped ones. Several files are read one after the other. */
  readonly configs?: readonly string[]
  readonly lua?: string
  /** Front port; default: a free one. */
  readonly port?: number
  /** More variables for the configuration and the action. */
  readonly env?: Readonly<Record<string, string>>
  /** Default: what `findHaproxy` finds. */
  readonly binary?: { readonly command: string; readonly args: readonly string[] }
  /** Arguments before the configuration, such as `-W`. */
  readonly args?: readonly string[]
  /** Its log goes nowhere: a line for each request is too much to keep for long. */
  readonly discardLog?: boolean
}

export interface Haproxy {
  /** `http://127.0.0.1:PORT` */
  readonly origin: string
  readonly port: number
  readonly pid: number
  /** `127.0.0.1:PORT` of the section `entra-verifier`, which the action calls. */
  readonly verifierSection: string
  /** `http://127.0.0.1:PORT/metrics` of the action. */
  readonly metricsUrl: string
  /** What it wrote to its log, a line each. */
  readonly logLines: string[]
  /** What it wrote to standard error: warnings and alerts of the start. */
  readonly errorLines: string[]
  /** Resolves with the first log line that matches, also one that was written before. */
  waitForLog(matches: (line: string) => boolean): Promise<string>
  /** Whether the process lives. */
  isRunning(): boolean
  stop(): Promise<void>
}

/** The command for HAProxy: the variable HAPROXY (arguments allowed), else the one on PATH. */
export async function findHaproxy(): Promise<{ command: string; args: string[] }> {
  const named = process.env.HAPROXY
  // A path may hold spaces, and a loader with its arguments does.
  if (named && existsSync(named)) return { command: named, args: [] }
  const [command, ...args] = (named ?? '').split(/\s+/).filter(Boolean)
  if (command !== undefined) return { command, args }
  const folders = (process.env.PATH ?? '').split(delimiter)
  // Debian keeps it where the PATH of an ordinary user does not look.
  for (const folder of [...folders, '/usr/local/sbin', '/usr/sbin']) {
    const candidate = join(folder, 'haproxy')
    const found = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (found) return { command: candidate, args: [] }
  }
  throw new Error(
    'HAProxy is missing: install it (Debian and Ubuntu: apt-get install haproxy) or name its path in the variable HAPROXY',
  )
}

/**
 * Starts HAProxy and waits until it answers. Rejects with its own complaint when it refuses the
 * configuration. Ports are tried anew when another program was faster.
 */
export async function startHaproxy(options: HaproxyOptions): Promise<Haproxy> {
  const binary = options.binary ?? (await findHaproxy())
  for (let attempt = 1; ; attempt++) {
    const haproxy = await launch(binary, options)
    const problem = await untilReady(haproxy)
    if (problem === undefined) return haproxy
    await haproxy.stop()
    const taken = /cannot bind|already in use/i.test(problem)
    if (!taken || attempt === 3) throw new Error(problem)
  }
}

type Launched = Haproxy & { readonly child: ChildProcess; readonly ended: Promise<void> }

async function launch(
  binary: { readonly command: string; readonly args: readonly string[] },
  options: HaproxyOptions,
): Promise<Launched> {
  const [front, loopback, metrics] = await freePorts(3)
  const port = options.port ?? front ?? 0
  const variant = await makeVariant(options.configs ?? [shippedConfig])
  const configs = variant.files.flatMap((file) => ['-f', file])
  const args = [...binary.args, ...(options.args ?? []), '-db', ...configs]
  const child = spawn(binary.command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      ENTRA_AUTH_BIND: `127.0.0.1:${port}`,
      ENTRA_AUTH_VERIFIER: `127.0.0.1:${loopback}`,
      ENTRA_AUTH_METRICS_BIND: `127.0.0.1:${metrics}`,
      ENTRA_AUTH_VERIFIER_SERVER: options.verifier,
      ENTRA_AUTH_APP_SERVER: options.application,
      ENTRA_AUTH_LUA_FILE: options.lua ?? shippedLua,
      ...options.env,
    },
  })
  const logLines: string[] = []
  const errorLines: string[] = []
  const waiting = new Set<(line: string) => void>()
  if (options.discardLog) child.stdout.resume()
  else {
    createInterface({ input: child.stdout }).on('line', (line) => {
      logLines.push(line)
      for (const tell of waiting) tell(line)
    })
  }
  createInterface({ input: child.stderr }).on('line', (line) => errorLines.push(line))
  const ended = new Promise<void>((done) => {
    child.once('error', (error) => {
      errorLines.push(`HAProxy cannot be started: ${error.message}`)
      done()
    })
    child.once('close', () => done())
  }).then(variant.remove)
  const killAtExit = () => child.kill('SIGKILL')
  process.once('exit', killAtExit)
  const isRunning = () =>
    child.exitCode === null && child.signalCode === null && child.pid !== undefined
  return {
    child,
    ended,
    origin: `http://127.0.0.1:${port}`,
    port,
    verifierSection: `127.0.0.1:${loopback}`,
    metricsUrl: `http://127.0.0.1:${metrics}/metrics`,
    pid: child.pid ?? 0,
    logLines,
    errorLines,
    isRunning,
    waitForLog(matches) {
      const earlier = logLines.find(matches)
      if (earlier !== undefined) return Promise.resolve(earlier)
      return new Promise((done, fail) => {
        const tell = (line: string) => {
          if (!matches(line)) return
          waiting.delete(tell)
          done(line)
        }
        waiting.add(tell)
        void ended.then(() => fail(new Error('HAProxy ended before it wrote that log line')))
      })
    },
    async stop() {
      process.removeListener('exit', killAtExit)
      if (isRunning()) child.kill('SIGTERM')
      const patience = setTimeout(() => child.kill('SIGKILL'), 5000)
      await ended
      clearTimeout(patience)
    },
  }
}

/**
 * Copies of the configuration as the test matrix wants them: the way of loading the action from
 * HAPROXY_LUA_LOAD, the number of threads from HAPROXY_THREADS.
 */
async function makeVariant(
  files: readonly string[],
): Promise<{ files: readonly string[]; remove: () => Promise<void> }> {
  const load = process.env.HAPROXY_LUA_LOAD
  const threads = process.env.HAPROXY_THREADS
  if (!load && !threads) return { files, remove: async () => {} }
  const folder = await mkdtemp(join(tmpdir(), 'entra-auth-variant-'))
  const copies: string[] = []
  for (const [index, file] of files.entries()) {
    let text = await readFile(file, 'utf8')
    if (load) text = text.replace(/^( *)lua-load-per-thread\b/m, `$1${load}`)
    if (threads) text = text.replace(/^global$/m, `global\n    nbthread ${threads}`)
    const copy = join(folder, `${index}.cfg`)
    await writeFile(copy, text)
    copies.push(copy)
  }
  return { files: copies, remove: () => rm(folder, { recursive: true, force: true }) }
}

/** Undefined when it answers; otherwise its complaint. */
async function untilReady(haproxy: Launched): Promise<string | undefined> {
  let over = false
  const ended = haproxy.ended.then(() => {
    over = true
  })
  const deadline = Date.now() + 60_000
  while (!over && Date.now() < deadline) {
    if (await answersProbe(haproxy.port)) return undefined
    await Promise.race([ended, new Promise((next) => setTimeout(next, 20))])
  }
  return complaint(haproxy, over)
}

/** HAProxy answers this path by itself: neither verifier nor application notice. */
function answersProbe(port: number): Promise<boolean> {
  return new Promise((done) => {
    const request = get(
      { host: '127.0.0.1', port, path: '/haproxy-livez', agent: false, timeout: 1000 },
      (response) => {
        response.resume()
        done(response.statusCode === 200)
      },
    )
    request.on('timeout', () => request.destroy())
    request.on('error', () => done(false))
  })
}

function complaint(haproxy: Haproxy, over: boolean): string {
  const lines = [...haproxy.errorLines, ...haproxy.logLines]
  const telling = lines.filter((line) => /ALERT|WARNING|cannot/.test(line))
  const text = (telling.length > 0 ? telling : lines).join('\n')
  return text || (over ? 'HAProxy ended at once' : 'HAProxy does not answer')
}
