// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
/**
 * Sign-in as it is put together: dev-entra, the service as a process, the lines that `haproxy-config`
 * prints on a real HAProxy, the action, and an application.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { configOf } from '../config/fixture.ts'
import { contoso, ordersId } from '../serve/authority.ts'
import { makeFolder, startService, untilReady } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { type Ask, ask, type Reply, values } from './client.ts'

const cleanUps: (() => unknown)[] = []
const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
const entra = buildDevEntra({ now: Date.now })
let app: EchoApp
let haproxy: Haproxy
let admin: string

before(async () => {
  life.after(() => entra.close())
  const authority = await entra.listen({ host: '127.0.0.1', port: 0 })
  const folder = makeFolder(life)
  const file = join(folder, 'config.yaml')
  const [adminPort = 0, signInPort = 0] = await freePorts(2)
  admin = `http://127.0.0.1:${adminPort}`
  const text = `
admin: { port: ${adminPort} }
revocationFile: ${JSON.stringify(join(folder, 'revocations.json'))}
tenants: { contoso: { id: ${contoso}, authority: ${authority} } }
signIn:
  clientId: ${ordersId}
  tenant: contoso
  credential: { clientSecretFile: ${JSON.stringify(join(folder, 'secret'))} }
  hosts: [127.0.0.1]
  listen: { port: ${signInPort} }
  sealingKeys: ${JSON.stringify(join(folder, 'sealing'))}
policies:
  orders:
    audiences: [${ordersId}]
    allow: [{ actor: user, session: true }, { actor: user, scopes: [Orders.Read] }]
`
  writeFileSync(join(folder, 'secret'), 'portal-secret\n')
  writeFileSync(file, text)
  const service = await startService(life, {
    ENTRA_AUTH_CONFIG: file,
    ENTRA_AUTH_ADMIN_PORT: '',
  })
  await untilReady(service)
  app = await startEchoApp()
  life.after(() => app.stop())
  const printed = printHaproxyConfig({
    config: await configOf(text, { [join(folder, 'secret')]: 'portal-secret' }),
    verifier: '127.0.0.1:8080',
    metadataPaths: [],
  })
    .replaceAll('server v1 127.0.0.1:8080', 'server v1 "${ENTRA_AUTH_VERIFIER_SERVER}"')
    .replace(/server app \S+/, 'server app "${ENTRA_AUTH_APP_SERVER}"')
  const config = join(folder, 'haproxy.cfg')
  writeFileSync(config, printed)
  haproxy = await startHaproxy({
    verifier: service.address,
    application: app.address,
    configs: [config],
  })
  life.after(() => haproxy.stop())
})
after(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})
beforeEach(() => {
  app.requests.length = 0
})

const page: readonly [string, string][] = [
  ['Sec-Fetch-Mode', 'navigate'],
  ['Sec-Fetch-Dest', 'document'],
]
const asJson: readonly [string, string][] = [['Accept', 'application/json']]

type Init = Pick<Ask, 'method' | 'headers' | 'body'>

/** A browser as far as cookies and redirects go: one jar for HAProxy and one for Entra. */
function openBrowser() {
  const jars = { haproxy: new Map<string, string>(), entra: new Map<string, string>() }

  function keep(jar: Map<string, string>, lines: readonly string[]): void {
    for (const line of lines) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/max-age=0|expires=thu, 01 jan 1970/i.test(line)) jar.delete(name)
      else jar.set(name, value)
    }
  }
  const cookiesOf = (jar: Map<string, string>) => [...jar].map((pair) => pair.join('=')).join('; ')

  /** Over node:http: `fetch` sends a Sec-Fetch-Mode of its own. */
  async function visit(path: string, { headers = [], ...init }: Init = {}): Promise<Reply> {
    const cookie = cookiesOf(jars.haproxy)
    const reply = await ask(haproxy.port, {
      path,
      host: `127.0.0.1:${haproxy.port}`,
      ...init,
      headers: [...headers, ...(cookie ? [['Cookie', cookie] as const] : [])],
    })
    keep(jars.haproxy, values(reply, 'set-cookie'))
    return reply
  }

  /** Entra shows its pages to whoever asks for HTML; without, it signs in its first person. */
  async function passEntra(url: URL): Promise<string> {
    const reply = await fetch(url, {
      redirect: 'manual',
      headers: { cookie: cookiesOf(jars.entra) },
    })
    keep(jars.entra, reply.headers.getSetCookie())
    return reply.headers.get('location') ?? assert.fail(`Entra shows a page: ${reply.status}`)
  }

  return {
    cookies: () => cookiesOf(jars.haproxy),
    ask: visit,
    /** Goes to a page, and wherever it leads; the paths on the way. */
    async open(path: string) {
      const way: string[] = [path]
      let reply = await visit(path, { headers: page })
      while ([302, 303].includes(reply.status)) {
        const origin = `http://127.0.0.1:${haproxy.port}`
        let url = new URL(values(reply, 'location')[0] ?? '', origin)
        if (url.origin !== origin) url = new URL(await passEntra(url), origin)
        way.push(url.pathname + url.search)
        assert.ok(way.length < 10, way.join(' '))
        reply = await visit(url.pathname + url.search, { headers: page })
      }
      return { reply, way }
    },
  }
}

describe('a program', () => {
  it('uses its token at the same application', async () => {
    const token = await entra.inject({
      method: 'POST',
      url: '/dev/token',
      payload: { persona: 'alice' },
    })
    const authorization = ['Authorization', `Bearer ${token.json().token}`] as const
    const reply = await ask(haproxy.port, { path: '/api', headers: [authorization] })
    assert.equal(reply.status, 200, reply.body)
  })

  it('gets 401 with the way to sign in, and no redirect', async () => {
    const reply = await ask(haproxy.port, { path: '/api', headers: asJson })
    assert.equal(reply.status, 401)
    assert.deepEqual(values(reply, 'x-entra-auth-sign-in'), ['/oauth2/start'])
  })
})

describe('a person who opens a page', () => {
  it('signs in at Entra and comes back to that page as herself', async () => {
    const browser = openBrowser()
    const { reply, way } = await browser.open('/reports/7?tab=a%20b')
    assert.equal(reply.status, 200, `${way.join(' ')}: ${reply.body}`)
    assert.equal(way.at(-1), '/reports/7?tab=a%20b')
    assert.deepEqual(
      way.map((one) => one.split('?')[0]),
      ['/reports/7', '/oauth2/start', '/oauth2/callback', '/reports/7'],
    )
    const [seen] = app.requests
    assert.ok(seen)
    assert.match(values(seen, 'x-auth-request-user').join(), /^[0-9a-f-]{36}$/)
    assert.deepEqual(values(seen, 'x-auth-request-actor'), ['user'])
    // The application sees neither the session nor the sign-in.
    assert.deepEqual(values(seen, 'cookie'), [])
    assert.equal(app.requests.length, 1)
  })

  it('stays signed in, out of the cache too, and a page of another site gets nothing done', async () => {
    const browser = openBrowser()
    await browser.open('/')
    const metrics = async () => (await fetch(haproxy.metricsUrl)).text()
    await eventually(
      async () => {
        const again = await browser.ask('/again', { headers: page })
        assert.equal(again.status, 200)
        return /^entra_auth_action_cache_hits_total ([1-9]\d*)$/m.test(await metrics())
      },
      (isHit) => isHit,
    )
    app.requests.length = 0
    const save = (headers: readonly [string, string][]) =>
      browser.ask('/save', { method: 'POST', body: 'x=1', headers })
    const foreign = await save([
      ['Sec-Fetch-Site', 'cross-site'],
      ['Origin', 'https://evil.example'],
    ])
    assert.equal(foreign.status, 403)
    assert.deepEqual(values(foreign, 'x-entra-auth-reason'), ['cross_site_request'])
    assert.equal(app.requests.length, 0)
    assert.equal((await save([['Sec-Fetch-Site', 'same-origin']])).status, 200)
  })

  it('is signed out, and a copy of the cookie is rejected', async () => {
    const browser = openBrowser()
    await browser.open('/')
    const copy = ['Cookie', browser.cookies()] as const
    const asCopy = () =>
      ask(haproxy.port, { host: `127.0.0.1:${haproxy.port}`, headers: [copy, ...asJson] })
    assert.equal((await asCopy()).status, 200)
    const out = await browser.ask('/oauth2/sign_out', {
      method: 'POST',
      headers: [['Sec-Fetch-Site', 'same-origin']],
    })
    assert.match(`${out.status}`, /^30[23]$/)
    const reply = await eventually(asCopy, ({ status }) => status !== 200)
    assert.equal(reply.status, 401)
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['session_revoked'])
    assert.equal((await browser.ask('/', { headers: asJson })).status, 401)
  })

  it('is out of each page when she is revoked', async () => {
    const browser = openBrowser()
    await browser.open('/')
    const [seen] = app.requests
    const user = (seen && values(seen, 'x-auth-request-user')[0]) ?? ''
    const created = await fetch(`${admin}/revocations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        kind: 'user',
        id: `${contoso}/${user}`,
        before: Math.floor(Date.now() / 1000) + 1,
      }),
    })
    assert.equal(created.status, 201, await created.text())
    const reply = await eventually(
      () => browser.ask('/', { headers: asJson }),
      ({ status }) => status !== 200,
    )
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['session_revoked'])
  })
})
