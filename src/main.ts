#!/usr/bin/env -S node --max-semi-space-size=4
// Why the flag: on a machine with much memory, Node collects short-lived objects only after 128
// MiB. With 4 MiB the service uses 100 MiB less under load, and is equally fast.
import { lstatSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { CommandIo } from './commands/io.ts'

const oldestNode = '22.18'
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 18)) {
  process.stderr.write(
    `Node.js ${process.versions.node} is too old: install Node.js ${oldestNode} or newer\n`,
  )
  // As for a wrong configuration: to try again is no use, and the unit does not.
  process.exit(78)
}

// This runs before anything slow is loaded. Without a handler, SIGHUP ends the process, and process
// 1 of a container does not get SIGTERM.
const reloads: (() => void)[] = []
let hangups = 0
const onHangup = () => {
  hangups++
  for (const reload of reloads) reload()
}
const stopEarly = () => process.exit(0)
const earlySignals = ['SIGTERM', 'SIGINT'] as const
if (process.argv[2] === 'serve') {
  for (const signal of earlySignals) process.on(signal, stopEarly)
  process.on('SIGHUP', onHangup)
}

// The log counts what it cannot write, and the service goes on. Any other command has failed when its
// output is lost: a full disk must not leave half a configuration behind with exit code 0.
if (process.argv[2] !== 'serve') {
  let lost: NodeJS.ErrnoException | undefined
  process.stdout.on('error', (error) => {
    lost = error
    process.exit()
  })
  process.on('exit', (code) => {
    // Whoever ends the process at once does so before the event.
    const { code: problem } = lost ?? (process.stdout.errored as NodeJS.ErrnoException | null) ?? {}
    // A reader that has enough, such as `head`, is no error.
    if (problem === undefined || problem === 'EPIPE') return
    process.stderr.write(`error: standard output cannot be written (${problem})\n`)
    if (code === 0) process.exitCode = 1
  })
  process.on('uncaughtException', reportBug)
}
// There is nowhere left to say so.
process.stderr.on('error', () => {})

/** Ends the process with one line. Node's own report would repeat what a library put into its message. */
function reportBug(error: unknown): never {
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  const isWanted = /\bhaproxy-entra-auth\b/.test(process.env.NODE_DEBUG ?? '')
  const line = message.replaceAll(/\s+/g, ' ')
  const text = isWanted
    ? stack
    : `error: ${line} (a bug; NODE_DEBUG=haproxy-entra-auth shows where, for a report)`
  io.stderr.write(`${text}\n`)
  process.exit(1)
}

const { default: closeWithGrace } = await import('close-with-grace')
const { decodeText } = await import('./commands/token-input.ts')
const { runProgram } = await import('./commands/program.ts')
const { withoutSecrets } = await import('./secrets.ts')

const { version } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
) as { version: string }

const io: CommandIo = {
  // A getter: whoever does not read it must not hold it open.
  get stdin() {
    return process.stdin
  },
  stdout: process.stdout,
  stderr: { write: (text: string) => process.stderr.write(withoutSecrets(text)) },
  env: process.env,
  now: Date.now,
  // Windows PowerShell writes UTF-16.
  readFile: (path) => decodeText(readFileSync(path)),
  listFolder: (path) => {
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return undefined
    const entries = readdirSync(path, { withFileTypes: true })
    return entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name)
  },
  writeFile: (path, text) => writeFileSync(path, text),
  // `wx` follows no link, and a file that another program makes meanwhile stays as it is.
  createFile: (path, text) => {
    try {
      writeFileSync(path, text, { flag: 'wx' })
    } catch (error) {
      // Half a file would be taken for a whole one, and be in the way of the next attempt.
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') rmSync(path, { force: true })
      throw error
    }
  },
  exists: (path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined,
  setExitCode(code) {
    process.exitCode = code
  },
  exit: (code) => process.exit(code),
  onReload(reload) {
    reloads.push(reload)
    if (hangups > 0) reload()
  },
  onStop(close) {
    // SIGHUP means reload here, and would end the process too.
    closeWithGrace({ delay: 10_000, logger: false, skip: ['SIGHUP'] }, close)
    for (const signal of earlySignals) process.off(signal, stopEarly)
  },
  onListen: ({ close }) => void closeWithGrace({ delay: 2_000, logger: false }, close),
}

try {
  await runProgram(version, io, process.argv.slice(2))
} catch (error) {
  reportBug(error)
}
