// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
/** Two verifiers as processes, with sign-in and the same sealing keys, behind the printed HAProxy. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { configOf } from '../config/fixture.ts'
import { portal } from '../dev-entra/browser.ts'
import { contoso } from '../serve/authority.ts'
import {
  type Life,
  makeFolder,
  type ServiceProcess,
  startService,
  untilReady,
} from '../serve/process.ts'
import { ask, type Reply, values } from './client.ts'

export interface SignInReplicas {
  readonly haproxy: Haproxy
  readonly first: ServiceProcess
  readonly second: ServiceProcess
  /** Of the sign-in listeners, in the same order. */
  readonly signInPorts: readonly number[]
  readonly sealingFolder: string
  /** Asks as a person's browser, at HAProxy or at a listener of its own. */
  open(path: string, cookies: readonly string[], port?: number): Promise<Reply>
}

/** Starts everything; `policy` are more members of the policy `portal`, `env` is the verifiers'. */
export async function startSignInReplicas(
  life: Life,
  options: { readonly policy?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<SignInReplicas> {
  const { policy = '', env = {} } = options
  const entra = buildDevEntra({ now: Date.now })
  life.after(() => entra.close())
  const authority = await entra.listen({ host: '127.0.0.1', port: 0 })
  const folder = makeFolder(life)
  writeFileSync(join(folder, 'secret'), 'portal-secret\n')
  const signInPorts = await freePorts(2)
  const textOf = (signInPort: number) => `
tenants: { contoso: { id: ${contoso}, authority: ${authority} } }
revocationFile: ${JSON.stringify(join(folder, 'revocations.json'))}
signIn:
  clientId: ${portal}
  tenant: contoso
  credential: { clientSecretFile: ${JSON.stringify(join(folder, 'secret'))} }
  hosts: [127.0.0.1]
  listen: { port: ${signInPort} }
  sealingKeys: ${JSON.stringify(join(folder, 'sealing'))}
policies: { portal: { ${policy} allow: [{ actor: user, session: true }] } }
`
  const services: ServiceProcess[] = []
  // One after the other: the first makes the key that both have.
  for (const port of signInPorts) {
    const file = join(folder, `config-${port}.yaml`)
    writeFileSync(file, textOf(port))
    const service = await startService(life, { ...env, ENTRA_AUTH_CONFIG: file })
    await untilReady(service)
    services.push(service)
  }
  const [first, second] = services
  assert.ok(first && second)
  const app = await startEchoApp()
  life.after(() => app.stop())
  const [signInA, signInB] = signInPorts
  const printed = printHaproxyConfig({
    config: await configOf(textOf(signInA ?? 0), { [join(folder, 'secret')]: 'portal-secret' }),
    verifier: '127.0.0.1:8080',
    metadataPaths: [],
  })
    .replace(
      'server v1 127.0.0.1:8080',
      `server v1 ${first.address}\n    server v2 ${second.address}`,
    )
    .replace(/server s1 \S+/, `server s1 127.0.0.1:${signInA}\n    server s2 127.0.0.1:${signInB}`)
    .replace(/server app \S+/, 'server app "${ENTRA_AUTH_APP_SERVER}"')
  const config = join(folder, 'haproxy.cfg')
  writeFileSync(config, printed)
  const haproxy = await startHaproxy({
    verifier: first.address,
    application: app.address,
    configs: [config],
  })
  life.after(() => haproxy.stop())
  return {
    haproxy,
    first,
    second,
    signInPorts,
    sealingFolder: join(folder, 'sealing'),
    open: (path, cookies, port = haproxy.port) =>
      ask(port, {
        path,
        host: `127.0.0.1:${haproxy.port}`,
        headers: [
          ['Sec-Fetch-Mode', 'navigate'],
          ['Sec-Fetch-Dest', 'document'],
          ...(cookies.length === 0 ? [] : [['Cookie', cookies.join('; ')] as const]),
        ],
      }),
  }
}

/** The cookies that an answer sets, as `NAME=VALUE`. */
export function cookiesOf(reply: Reply): string[] {
  return values(reply, 'set-cookie').map((line) => line.split(';', 1)[0] ?? '')
}
