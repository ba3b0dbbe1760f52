/** The recipe for nginx on a real nginx, with a real verifier behind. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { managedHeaders } from '../../src/haproxy/strip.ts'
import { ask, values } from '../e2e/client.ts'
import { type Authority, contoso, ordersId, startAuthority } from '../serve/authority.ts'
import { makeFolder, type ServiceProcess, startService, untilReady } from '../serve/process.ts'
import { cases } from './cases.ts'
import { type Nginx, startNginx } from './nginx.ts'
import { recipeFile } from './recipe-files.ts'

describe('the recipe nginx', () => {
  it('sets every managed header, so that none of the client is left', () => {
    const [, location = ''] = recipeFile('nginx/entra-auth.conf').split('location / {')
    const own = location.split('location = /_entra_auth')[0] ?? ''
    const set = [...own.matchAll(/^ +proxy_set_header (X-(?:Auth-Request|Entra-Auth)-\S+)/gm)]
    assert.deepEqual(
      set.map(([, name = '']) => name).toSorted(),
      managedHeaders('x-auth-request').toSorted(),
    )
  })
})

describe('the recipe nginx on nginx', () => {
  const cleanUps: (() => unknown)[] = []
  const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  let authority: Authority
  let service: ServiceProcess
  let app: EchoApp
  let nginx: Nginx

  before(async () => {
    authority = await startAuthority(life)
    const config = join(makeFolder(life), 'config.yaml')
    writeFileSync(
      config,
      `
tenants: { contoso: { id: ${contoso}, authority: ${authority.origin} } }
policies:
  orders:
    audiences: [${ordersId}]
    allow:
      - { actor: user, scopes: [Orders.Read] }
      - { actor: app, roles: [Orders.Process] }
`,
    )
    service = await startService(life, { ENTRA_AUTH_CONFIG: config })
    await untilReady(service)
    app = await startEchoApp()
    life.after(() => app.stop())
    nginx = await startNginx(life, { verifier: service.address, application: app.address })
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  for (const [title, check] of cases) {
    it(title, async () => {
      app.requests.length = 0
      await check({ port: nginx.port, app, authority })
    })
  }

  it('tells the verifier the path without its query', async () => {
    await ask(nginx.port, { path: '/orders/1?token=secret', headers: [] })
    const line = await service.waitForLog(
      ({ forwarded }) => (forwarded as { uri?: string } | undefined)?.uri === '/orders/1',
    )
    assert.equal(JSON.stringify(line).includes('secret'), false)
  })

  it('asks for another try only where one may help', async () => {
    assert.deepEqual(values(await ask(nginx.port, { headers: [] }), 'retry-after'), [])
    const headers: [string, string][] = [
      ['Authorization', `Bearer ${await authority.token('bob')}`],
    ]
    assert.deepEqual(values(await ask(nginx.port, { headers }), 'retry-after'), [])
  })

  it('does not let a client call the verifier through its inner location', async () => {
    const token = await authority.token('alice')
    const headers: [string, string][] = [['Authorization', `Bearer ${token}`]]
    assert.equal((await ask(nginx.port, { path: '/_entra_auth', headers })).status, 404)
  })

  it('passes an error of the application on as it is', async (t) => {
    const broken = createServer((_, response) => response.writeHead(500).end('of the application'))
    await new Promise<void>((done) => void broken.listen(0, '127.0.0.1', () => done()))
    t.after(() => broken.close())
    const { port } = broken.address() as AddressInfo
    const other = await startNginx(t, {
      verifier: service.address,
      application: `127.0.0.1:${port}`,
    })
    const token = await authority.token('alice')
    const reply = await ask(other.port, { headers: [['Authorization', `Bearer ${token}`]] })
    assert.deepEqual([reply.status, reply.body], [500, 'of the application'])
  })

  it('refuses with 503 where the policy is not known to the verifier', async (t) => {
    const other = await startNginx(t, {
      verifier: service.address,
      application: app.address,
      edit: (config) => config.replace('/verify/orders', '/verify/Orders'),
    })
    app.requests.length = 0
    const token = await authority.token('alice')
    const reply = await ask(other.port, { headers: [['Authorization', `Bearer ${token}`]] })
    assert.equal(reply.status, 503)
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['unknown_policy'])
    assert.deepEqual(app.requests, [])
  })

  it('refuses everything with 503 when the verifier is gone', async () => {
    app.requests.length = 0
    service.kill('SIGKILL')
    await service.exited
    const token = await authority.token('alice')
    const reply = await ask(nginx.port, { headers: [['Authorization', `Bearer ${token}`]] })
    assert.equal(reply.status, 503)
    assert.deepEqual(values(reply, 'retry-after'), ['2'])
    assert.deepEqual(app.requests, [])
  })
})
