/** A real Redis or Valkey of its own, on loopback, which a test stops and starts again. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import type { Life } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'

export interface StoreServer {
  readonly port: number
  readonly url: string
  /** Starts it, with what it had on disk. */
  start(): Promise<void>
  kill(signal: NodeJS.Signals): Promise<void>
  /** Lets no file of it grow beyond so many bytes, as a full disk does. */
  limitFiles(bytes: number | 'unlimited'): void
  /** Forgets what is on disk; it must be stopped. */
  empty(): void
  /** One command in the words of redis-cli; returns the answer as it came. */
  ask(...words: string[]): Promise<string>
}

/** The command of the server that this run is about; scripts/store.ts sets it. */
export const serverCommand = process.env.STORE_SERVER ?? ''

/** Makes a server, started; `settings` are words of its command line, such as `--maxmemory 3mb`. */
export async function startStoreServer(
  t: Life,
  settings: readonly string[] = [],
): Promise<StoreServer> {
  if (serverCommand === '') throw new Error('set STORE_SERVER: npm run test:store does it')
  const [port = 0] = await freePorts(1)
  const folder = mkdtempSync(join(tmpdir(), 'entra-auth-store-'))
  let child: ChildProcess | undefined
  const tls = settings.includes('--tls-port')
  const isSentinel = settings.includes('--sentinel')
  const file = join(folder, 'server.conf')
  writeFileSync(file, '')
  // A Sentinel writes to its file, and keeps no data.
  const kept = isSentinel ? [] : ['--appendonly', 'yes', '--save', '']
  const fixed = ['--bind', '127.0.0.1', '--dir', folder, ...kept]
  async function kill(signal: NodeJS.Signals): Promise<void> {
    const running = child
    if (!running || running.exitCode !== null || running.signalCode !== null) return
    const ended = new Promise((done) => running.once('close', done))
    running.kill(signal)
    if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') await ended
  }
  t.after(async () => {
    await kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })
  const server: StoreServer = {
    port,
    url: `${tls ? 'rediss' : 'redis'}://127.0.0.1:${port}`,
    async start() {
      const [command = '', ...args] = serverCommand.split(' ')
      const listen = tls
        ? ['--port', '0', ...settings.map((word) => word.replace('PORT', `${port}`))]
        : ['--port', `${port}`, ...settings]
      // A file that may not grow is an error like any other, and not a signal that ends the server.
      const shell = ['-c', 'trap "" XFSZ; exec "$@"', 'sh', command]
      child = spawn('sh', [...shell, ...args, file, ...fixed, ...listen], { stdio: 'ignore' })
      await eventually(
        () => canConnect(port),
        (isOpen) => isOpen,
      )
      if (!tls) {
        await eventually(
          () => server.ask('PING').catch(() => ''),
          (answer) => /PONG|NOAUTH/.test(answer),
        )
      }
    },
    kill,
    limitFiles: (bytes) =>
      void execFileSync('prlimit', ['--pid', `${child?.pid}`, `--fsize=${bytes}:`]),
    empty: () => rmSync(join(folder, 'appendonlydir'), { recursive: true, force: true }),
    ask: (...words) => ask(port, words),
  }
  await server.start()
  return server
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = createConnection({ port, host: '127.0.0.1' })
    socket.once('connect', () => done(true)).once('error', () => done(false))
    socket.once('connect', () => socket.destroy())
  })
}

function ask(port: number, words: readonly string[]): Promise<string> {
  return new Promise((done, fail) => {
    const socket = createConnection({ port, host: '127.0.0.1' })
    socket.setTimeout(30_000, () => socket.destroy(new Error('no answer')))
    socket.once('error', fail)
    socket.once('data', (data) => {
      done(data.toString())
      socket.destroy()
    })
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
    socket.write(`*${words.length}\r\n${parts.join('')}`)
  })
}
