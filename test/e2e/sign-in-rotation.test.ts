// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
/** Two verifiers behind HAProxy, with the same sealing keys, which are rotated. */
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
let second: ServiceProcess
let sealingFolder: string

/**
 * What takes minutes takes less here: the folder of sealing keys is read five times a second, and the
 * signal makes a key six minutes older.
 */
const inHaste = `
const now = performance.now.bind(performance)
let aheadMs = 0
performance.now = () => now() + aheadMs
process.on('SIGWINCH', () => { aheadMs += 360_000 })
const every = globalThis.setInterval
globalThis.setInterval = (call, ms, ...more) => every(call, ms === 10_000 ? 200 : ms, ...more)
`
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
policies: { portal: { cacheSeconds: 0, allow: [{ actor: user, session: true }] } }
`
  const services: ServiceProcess[] = []
  // One after the other: the first makes the key that both have.
  for (const port of signInPorts) {
    const file = join(folder, `config-${port}.yaml`)
    writeFileSync(file, textOf(port))
    const service = await startService(life, {
      ENTRA_AUTH_CONFIG: file,
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(inHaste)}`,
    })
    await untilReady(service)
    services.push(service)
  }
  const [one, other] = services
  assert.ok(one && other)
  first = one
  second = other
  sealingFolder = join(folder, 'sealing')
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

/** Signs a person in through HAProxy and returns the cookies. */
async function signIn(): Promise<readonly string[]> {
  const begun = await open('/oauth2/start?rd=/page', [])
  assert.equal(begun.status, 302, begun.body)
  const entra = await fetch(values(begun, 'location')[0] ?? '', { redirect: 'manual' })
  const callback = new URL(entra.headers.get('location') ?? '')
  const ended = await open(callback.pathname + callback.search, cookiesOf(begun))
  assert.equal(ended.status, 302, ended.body)
  return cookiesOf(ended)
}

/** The id of the key that sealed a session: the first six bytes of its cookie. */
const keyOf = (cookies: readonly string[]) =>
  /__Host-entra-session=(.{8})/.exec(cookies.join('; '))?.[1] ?? ''

describe('sealing keys that are rotated under load', () => {
  it('cost no session, no sign-in and no answer', async () => {
    const sessions = [await signIn(), await signIn()]
    const oldKey = keyOf(sessions[0] ?? [])
    const answers: string[] = []
    let isOver = false
    const load = async () => {
      while (!isOver) {
        for (const cookies of sessions) {
          for (const path of ['/page', '/oauth2/userinfo']) {
            answers.push(`${path} ${(await open(path, cookies)).status}`)
          }
        }
      }
    }
    const loads = [load(), load()]
    const hasBoth = ({ msg, keys }: { msg: string; keys?: unknown }) =>
      msg === 'sealing keys read' && Array.isArray(keys) && keys.includes('zz-next.key')
    writeFileSync(join(sealingFolder, 'zz-next.key'), 'n'.repeat(43))
    await Promise.all([first.waitForLog(hasBoth), second.waitForLog(hasBoth)])
    // One seals with the new key before the other does.
    for (const service of [first, second]) {
      service.kill('SIGWINCH')
      const fresh = await eventually(signIn, (cookies) => keyOf(cookies) !== oldKey)
      sessions.push(fresh, await signIn())
    }
    const seen = answers.length
    await eventually(
      () => answers.length,
      (count) => count >= seen + 2 * sessions.length,
    )
    isOver = true
    await Promise.all(loads)
    assert.ok(sessions.length >= 6)
    assert.deepEqual(
      answers.filter((answer) => !answer.endsWith(' 200')),
      [],
    )
    // From now on both seal with the new key.
    for (const cookies of [await signIn(), await signIn(), await signIn()]) {
      assert.notEqual(keyOf(cookies), oldKey)
    }
  })
})
