/** The real verifier, as an operator starts it. */
import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildService } from '../../scripts/local-stack/built-service.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { benchAudience, benchTenant } from '../tokens.ts'
import { startProgram, untilAnswers } from './programs.ts'

/** A running verifier. */
export interface Verifier {
  readonly child: ChildProcess
  /** Value of one line of its metrics, by name and labels. */
  readNumber(line: string): Promise<number>
}

let built: ReturnType<typeof buildService> | undefined

/**
 * Starts it on this port and waits until it is ready; what it logs is dropped. `more` are further members of
 * its configuration and of its policy.
 */
export async function startVerifier(
  port: number,
  authority: string,
  folder: string,
  more: { readonly config?: object; readonly policy?: object } = {},
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
        ...more.policy,
      },
    },
    ...more.config,
  }
  const file = join(folder, 'verifier.yaml')
  // Each JSON document is a YAML document.
  writeFileSync(file, JSON.stringify(config))
  // Run from TypeScript it would hold a compiler in memory.
  built ??= buildService()
  const { command, args } = built
  const child = startProgram([command, ...args, 'serve', '--config', file])
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
