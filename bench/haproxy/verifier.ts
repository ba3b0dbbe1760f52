/** The real verifier, as an operator starts it. */
import { type ChildProcess, execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { startProgram, untilAnswers } from './programs.ts'
import { benchAudience, benchTenant } from './tokens.ts'

/** A running verifier. */
export interface Verifier {
  readonly child: ChildProcess
  /** Value of one line of its metrics, by name and labels. */
  readNumber(line: string): Promise<number>
}

/** Starts it on this port and waits until it is ready; what it logs is dropped. */
export async function startVerifier(
  port: number,
  authority: string,
  folder: string,
): Promise<Verifier> {
  const [metrics, admin] = await freePorts(2)
  const host = '127.0.0.1'
  const config = {
    listen: { host, port },
    metrics: { host, port: metrics },
    admin: { host, port: admin },
    tenants: { bench: { id: benchTenant, authority } },
    policies: {
      orders: {
        tenants: ['bench'],
        audiences: [benchAudience],
        allow: [{ actor: 'user', scopes: ['Orders.Read'] }],
      },
    },
  }
  const file = join(folder, 'verifier.yaml')
  // Each JSON document is a YAML document.
  writeFileSync(file, JSON.stringify(config))
  const child = startProgram([
    process.execPath,
    // As the first line of the program has it.
    '--max-semi-space-size=4',
    buildProgram(),
    'serve',
    '--config',
    file,
  ])
  await untilAnswers(`http://${host}:${port}/readyz`, child)
  return {
    child,
    async readNumber(line) {
      const reply = await fetch(`http://${host}:${metrics}/metrics`)
      const lines = (await reply.text()).split('\n')
      const found = lines.find((one) => one.startsWith(`${line} `))
      if (found === undefined) throw new Error(`the verifier counts no ${line}`)
      return Number(found.slice(line.length + 1))
    },
  }
}

/** Compiles the service: run from TypeScript it would hold a compiler in memory. */
function buildProgram(): string {
  const root = resolve(import.meta.dirname, '../..')
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  execFileSync(process.execPath, [compiler, '-p', join(root, 'tsconfig.build.json')])
  return join(root, 'dist/main.js')
}
