/** Programs that a benchmark starts and ends, and what the operating system knows of them. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(1))
}

/** CPU time in µs. */
export interface CpuTime {
  readonly userUs: number
  readonly systemUs: number
}

/** Starts a program whose end `stopProgram` or the end of this process brings; its output is dropped. */
export function startProgram(
  [command = '', ...args]: readonly string[],
  options: SpawnOptions = {},
): ChildProcess {
  return track(spawn(command, args, { stdio: 'ignore', ...options }))
}

/** Asks it to end, then ends it. */
export async function stopProgram(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const patience = setTimeout(() => child.kill('SIGKILL'), 10_000)
  await ended
  clearTimeout(patience)
}

/**
 * Runs a program to its end and returns what it wrote to standard output. `onError` sees standard
 * error and may end the program by a signal. Asynchronous, because the authority answers from this
 * process meanwhile.
 */
export async function runProgram(
  [command = '', ...args]: readonly string[],
  onError: (text: string, child: ChildProcess) => void = () => {},
): Promise<string> {
  const child = track(spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 180_000 }))
  let output = ''
  let errors = ''
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    output += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    errors += text
    onError(text, child)
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${errors.trim()} ${output}`)
  return output
}

function track(child: ChildProcess): ChildProcess {
  running.add(child)
  child.once('exit', () => running.delete(child))
  child.once('error', () => running.delete(child))
  return child
}

/** Long, for a program under valgrind on a busy machine. */
const startPatienceMs = 40_000

/** Resolves when the program answers 200 there; rejects when it ends or does not for long. */
export async function untilAnswers(
  url: string,
  child: ChildProcess,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  let status = 0
  const deadline = performance.now() + startPatienceMs
  while (performance.now() < deadline) {
    status = await fetch(url, { headers }).then(
      (reply) => reply.arrayBuffer().then(() => reply.status),
      () => 0,
    )
    if (status === 200) return
    if (!running.has(child)) break
    await new Promise((next) => setTimeout(next, 25))
  }
  const [program = ''] = child.spawnargs
  throw new Error(`${program} answers ${status || 'nothing'} at ${url}, not 200`)
}

/** CPU time of a program and its children so far; the system counts in steps of 10 ms. */
export function cpuTime(child: ChildProcess): CpuTime {
  const all = family(child.pid ?? 0).map(({ fields }) => ({
    userUs: Number(fields[11]) * 10_000,
    systemUs: Number(fields[12]) * 10_000,
  }))
  const sum = (value: (one: CpuTime) => number) => all.reduce((total, one) => total + value(one), 0)
  return { userUs: sum(({ userUs }) => userUs), systemUs: sum(({ systemUs }) => systemUs) }
}

/**
 * CPU time of all threads of a program and its children so far, in µs. Unlike `cpuTime` it is exact, and does not tell
 * the time of the system from that of the program. See proc_pid_task(5) and the kernel's sched-stats.rst.
 */
export function runTimeUs(child: ChildProcess): number {
  let nanoseconds = 0
  for (const { pid } of family(child.pid ?? 0)) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const [running] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')
      nanoseconds += Number(running)
    }
  }
  return nanoseconds / 1000
}

/** Resident memory of one process in MiB, now and at its highest. */
export function memory(child: ChildProcess): { nowMiB: number; highestMiB: number } {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
  const kibibytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? Number.NaN)
  const mebibytes = (name: string) => Math.round((kibibytes(name) / 1024) * 10) / 10
  return { nowMiB: mebibytes('VmRSS'), highestMiB: mebibytes('VmHWM') }
}

/** The fields of /proc/PID/stat behind the name, of a process and all below it. */
function family(root: number): { pid: number; fields: string[] }[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readStat(Number(name)))
  const members = new Set([root])
  for (const pid of members) {
    for (const one of all) if (Number(one.fields[1]) === pid) members.add(one.pid)
  }
  return all.filter(({ pid }) => members.has(pid))
}

function readStat(pid: number): { pid: number; fields: string[] }[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return [{ pid, fields: stat.slice(stat.lastIndexOf(')') + 2).split(' ') }]
  } catch {
    return []
  }
}
