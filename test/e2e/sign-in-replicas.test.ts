// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
/** Two verifiers behind HAProxy, with the same sealing keys: one of them goes in the middle of a sign-in. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { configOf } from '../config/fixture.ts'
import { portal } from '../dev-entra/browser.ts'
import { contoso } from '../serve/authority.ts'
import { makeFolder, type ServiceProcess, startService, untilReady } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { ask, type Reply, values } from './client.ts'

const cleanUps: (() => unknown)[] = []
const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
let haproxy: Haproxy
let first: ServiceProcess
let signInPorts: readonly number[]

before(async () => {
  const entra = buildDevEntra({ now: Date.now })
  life.after(() => entra.close())
  const authority = await entra.listen({ host: '127.0.0.1', port: 0 })
  const folder = makeFolder(life)
  writeFileSync(join(folder, 'secret'), 'portal-secret\n')
  signInPorts = await freePorts(2)
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
policies: { portal: { allow: [{ actor: user, session: true }] } }
`
  const services: ServiceProcess[] = []
  // One after the other: the first makes the key that both have.
  for (const port of signInPorts) {
    const file = join(folder, `config-${port}.yaml`)
    writeFileSync(file, textOf(port))
    const service = await startService(life, { ENTRA_AUTH_CONFIG: file })
    await untilReady(service)
    services.push(service)
  }
  const [one, other] = services
  assert.ok(one && other)
  first = one
  const app = await startEchoApp()
  life.after(() => app.stop())
  const [signInA, signInB] = signInPorts
  const printed = printHaproxyConfig({
    config: await configOf(textOf(signInA ?? 0), { [join(folder, 'secret')]: 'portal-secret' }),
    verifier: '127.0.0.1:8080',
    metadataPaths: [],
  })
    .replace('server v1 127.0.0.1:8080', `server v1 ${one.address}\n    server v2 ${other.address}`)
    .replace(/server s1 \S+/, `server s1 127.0.0.1:${signInA}\n    server s2 127.0.0.1:${signInB}`)
    .replace(/server app \S+/, 'server app "${ENTRA_AUTH_APP_SERVER}"')
  const config = join(folder, 'haproxy.cfg')
  writeFileSync(config, printed)
  haproxy = await startHaproxy({
    verifier: one.address,
    application: app.address,
    configs: [config],
  })
  life.after(() => haproxy.stop())
})
after(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

/** Asks as a person's browser, at HAProxy or at a listener of its own. */
function open(path: string, cookies: readonly string[], port = haproxy.port): Promise<Reply> {
  return ask(port, {
    path,
    host: `127.0.0.1:${haproxy.port}`,
    headers: [
      ['Sec-Fetch-Mode', 'navigate'],
      ['Sec-Fetch-Dest', 'document'],
      ...(cookies.length === 0 ? [] : [['Cookie', cookies.join('; ')] as const]),
    ],
  })
}

const cookiesOf = (reply: Reply) =>
  values(reply, 'set-cookie').map((line) => line.split(';', 1)[0] ?? '')

describe('a sign-in that begins at one verifier, which is then killed', () => {
  it('ends at the other one, and the session counts there', async () => {
    const begun = await open('/oauth2/start?rd=/deep', [], signInPorts[0])
    assert.equal(begun.status, 302, begun.body)
    const entra = await fetch(values(begun, 'location')[0] ?? '', { redirect: 'manual' })
    const callback = new URL(entra.headers.get('location') ?? '')
    first.kill('SIGKILL')
    await first.exited
    // HAProxy has not noticed yet, and sends every other one of these to the verifier that is gone.
    for (let person = 1; person <= 6; person++) {
      const start = await open('/oauth2/start?rd=/deep', [])
      assert.equal(start.status, 302, `person ${person}: ${start.body}`)
    }
    const ended = await open(callback.pathname + callback.search, cookiesOf(begun))
    assert.equal(ended.status, 302, ended.body)
    assert.deepEqual(values(ended, 'location'), ['/deep'])
    const page = await eventually(
      () => open('/deep', cookiesOf(ended)),
      ({ status }) => status !== 503,
    )
    assert.equal(page.status, 200, page.body)
  })

  it('is not asked any more, as its health check fails', async () => {
    const isDown = (line: string) => /Server entra-sign-in\/s1 is DOWN/.test(line)
    await eventually(
      () => haproxy.logLines.some(isDown),
      (isLogged) => isLogged,
    )
    assert.equal((await open('/oauth2/start?rd=/deep', [])).status, 302)
  })
})
