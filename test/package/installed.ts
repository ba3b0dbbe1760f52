/** The service as it runs from an installation: any command, free ports, its output and its end. */
import { spawn } from 'node:child_process'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import type { Exit, Life } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'

export interface Installed {
  /** `http://127.0.0.1:PORT` of the verify listener. */
  readonly origin: string
  readonly pid: number
  readonly stdout: string
  readonly stderr: string
  /** Milliseconds from the start to the first green readiness. */
  untilReady(): Promise<number>
  kill(signal: NodeJS.Signals): void
  readonly exited: Promise<Exit>
}

export interface InstalledOptions {
  readonly command: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
}

/** Starts it on free ports; it is killed with the test. */
export async function startInstalled(
  t: Life,
  { command, cwd, env }: InstalledOptions,
): Promise<Installed> {
  const [port = 0, metrics = 0, admin = 0] = await freePorts(3)
  const [file = '', ...args] = command
  const startedMs = performance.now()
  const child = spawn(file, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, so that whatever npx puts in between ends with it.
    detached: true,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      // Stand-ins for the usual ports, which others on this machine may have.
      ENTRA_AUTH_PORT: String(port),
      ENTRA_AUTH_METRICS_PORT: String(metrics),
      ENTRA_AUTH_ADMIN_PORT: String(admin),
      ...env,
    },
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const exited = new Promise<Exit>((done) => {
    child.once('close', (code, signal) => done({ code, signal }))
  })
  const killGroup = (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null || !child.pid) return
    process.kill(-child.pid, signal)
  }
  t.after(() => {
    killGroup('SIGKILL')
    return exited
  })
  const origin = `http://127.0.0.1:${port}`
  return {
    origin,
    pid: child.pid ?? 0,
    get stdout() {
      return stdout
    },
    get stderr() {
      return stderr
    },
    async untilReady() {
      await eventually(
        async () => (await fetch(`${origin}/readyz`).catch(() => undefined))?.status,
        (status) => status === 200,
      ).catch((error) => {
        throw new Error(`${error.message}\n${stdout}${stderr}`)
      })
      return performance.now() - startedMs
    },
    kill: killGroup,
    exited,
  }
}
