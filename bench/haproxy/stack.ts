/** A HAProxy to measure, with the application and whoever answers its questions, all on loopback. */
import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Files, originConfig, type Ports, portNames } from './configs.ts'
import { startProgram, stopProgram, untilAnswers } from './programs.ts'

/** What the stacks of one run have in common. */
export interface Bench {
  /** The command of this HAProxy. */
  readonly haproxy: readonly string[]
  /** As `3.4`. */
  readonly version: string
  readonly files: Files
  readonly token: string
}

/** A running stack. */
export interface Stack {
  readonly front: ChildProcess
  /** What the action asks: a program of its own, or the one that is the application too. */
  readonly verifier: ChildProcess
  readonly ports: Ports
}

/** What differs between stacks. */
export interface StackOptions {
  readonly config: (ports: Ports) => string
  /** In front of the command, as valgrind. */
  readonly wrapper?: readonly string[]
  /** Of the stand-in verifier's answers; 0 lets the action keep nothing. */
  readonly maxAge?: number
  /** Starts what answers on `ports.verifier`; default: the stand-in, a HAProxy. */
  readonly startVerifier?: (ports: Ports) => Promise<ChildProcess>
  /** In place of HAProxy. */
  readonly startFront?: (ports: Ports) => ChildProcess
}

/** Another program may take a port between the look for a free one and its use. */
const startAttempts = 3

let stackCount = 0

/** Starts it, waits until it admits the token, and stops it after `run`, whatever happens. */
export async function withStack<T>(
  bench: Bench,
  options: StackOptions,
  run: (stack: Stack) => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const started: ChildProcess[] = []
    const stopAll = () => Promise.all(started.map(stopProgram))
    let stack: Stack
    try {
      stack = await startStack(bench, options, started)
    } catch (error) {
      await stopAll()
      if (attempt === startAttempts) throw error
      console.error(`${(error as Error).message}; starting once more`)
      continue
    }
    try {
      return await run(stack)
    } finally {
      await stopAll()
    }
  }
}

async function startStack(
  bench: Bench,
  options: StackOptions,
  started: ChildProcess[],
): Promise<Stack> {
  const ports = await choosePorts()
  const keep = (child: ChildProcess) => {
    started.push(child)
    return child
  }
  const origin = originConfig(ports, options.startVerifier ? undefined : (options.maxAge ?? 3600))
  const standIn = keep(startHaproxy(bench, [], origin))
  await untilAnswers(`http://127.0.0.1:${ports.application}/`, standIn)
  const verifier = options.startVerifier ? keep(await options.startVerifier(ports)) : standIn
  // Last, so that the action's first question to the verifier is answered and its cache goes on.
  const front = keep(
    options.startFront?.(ports) ??
      startHaproxy(bench, options.wrapper ?? [], options.config(ports)),
  )
  const headers = { authorization: `Bearer ${bench.token}` }
  await untilAnswers(`http://127.0.0.1:${ports.front}/orders`, front, headers)
  return { front, ports, verifier }
}

async function choosePorts(): Promise<Ports> {
  const numbers = await freePorts(portNames.length)
  return Object.fromEntries(portNames.map((name, index) => [name, numbers[index] ?? 0])) as {
    [name in keyof Ports]: number
  }
}

function startHaproxy(bench: Bench, wrapper: readonly string[], config: string): ChildProcess {
  const file = join(bench.files.folder, `haproxy-${++stackCount}.cfg`)
  writeFileSync(file, config)
  return startProgram([...wrapper, ...bench.haproxy, '-db', '-f', file])
}

/** The numbers of the action, by name without its prefix. */
export async function readActionNumbers(ports: Ports): Promise<(name: string) => number> {
  const reply = await fetch(`http://127.0.0.1:${ports.metrics}/metrics`)
  const text = await reply.text()
  return (name) => {
    const value = new RegExp(`^entra_auth_action_${name} (\\S+)$`, 'm').exec(text)?.[1]
    if (value === undefined) throw new Error(`the action counts no ${name}: ${text}`)
    return Number(value)
  }
}
