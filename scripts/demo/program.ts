import { type ChildProcess, spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'

const root = resolve(import.meta.dirname, '../..')
const shownLines = 15
const keptLines = 200

/** The command line that runs `haproxy-entra-auth` from this checkout. */
export const mainCommand: readonly string[] = [
  process.execPath,
  // Early releases of a Node line print a warning for each .ts file.
  '--disable-warning=ExperimentalWarning',
  join(root, 'src', 'main.ts'),
]

/** A process of the demo that failed, with its last lines in the message. */
export class ProgramFailure extends Error {
  readonly exitCode: number | null
  constructor(message: string, lines: readonly string[], exitCode: number | null = null) {
    super([`${message}; its last lines:`, ...lastLines(lines)].join('\n'))
    this.exitCode = exitCode
  }
}

/** A running `haproxy-entra-auth` with what it printed. */
export interface Program {
  readonly name: string
  readonly pid: number
  isRunning(): boolean
  /** Resolves with the first line that matches; rejects when the process ends before. */
  waitForLine(pattern: RegExp): Promise<RegExpMatchArray>
  /** Resolves as soon as it ended, with the failure to report if nobody asked for that. */
  readonly ended: Promise<ProgramFailure>
  /** Sends a signal without waiting for anything. */
  signal(signal: NodeJS.Signals): void
  /** Ends it and waits until it is gone; SIGKILL when it takes longer than 8 s. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>
  /** Whether its end was asked for. */
  isStopping(): boolean
}

/** Starts `haproxy-entra-auth` with these arguments. */
export function startProgram(name: string, args: readonly string[]): Program {
  const [command = '', ...front] = mainCommand
  const child = spawn(command, [...front, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const lines: string[] = []
  const watchers = new Set<(line: string) => void>()
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line)
      if (lines.length > keptLines) lines.shift()
      for (const tell of watchers) tell(line)
    })
  }
  let stopping = false
  const killAtExit = () => void child.kill('SIGKILL')
  process.once('exit', killAtExit)
  const ended = untilEnded(child, (how) => {
    process.off('exit', killAtExit)
    return new ProgramFailure(`${name} ${how}`, lines, child.exitCode)
  })
  return {
    name,
    pid: child.pid ?? 0,
    ended,
    isRunning: () => child.pid !== undefined && child.exitCode === null && !child.signalCode,
    isStopping: () => stopping,
    waitForLine: (pattern) =>
      new Promise((done, fail) => {
        const tell = (line: string) => {
          const match = line.match(pattern)
          if (!match) return
          watchers.delete(tell)
          done(match)
        }
        watchers.add(tell)
        lines.forEach(tell)
        void ended.then(fail)
      }),
    signal: (signal) => void child.kill(signal),
    async stop(signal = 'SIGTERM') {
      stopping = true
      child.kill(signal)
      // A frozen process hears SIGTERM only when it goes on.
      child.kill('SIGCONT')
      const patience = setTimeout(() => child.kill('SIGKILL'), 8_000)
      await ended
      clearTimeout(patience)
    },
  }
}

function untilEnded(
  child: ChildProcess,
  describe: (how: string) => ProgramFailure,
): Promise<ProgramFailure> {
  return new Promise((done) => {
    child.once('error', (error) => done(describe(`cannot be started: ${error.message}`)))
    // Not `exit`: the last lines arrive between the two.
    child.once('close', (code, signal) =>
      done(describe(signal ? `was ended by ${signal}` : `ended with exit code ${code}`)),
    )
  })
}

function lastLines(lines: readonly string[]): string[] {
  if (lines.length === 0) return ['    (it printed nothing)']
  return lines.slice(-shownLines).map((line) => `    ${line}`)
}
