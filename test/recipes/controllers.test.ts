/** A policy for each host, by the lines of the pages, behind what the controllers write themselves. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { managedHeaders, spellingsOf } from '../../src/haproxy/strip.ts'
import { haproxyBlocks } from '../docs/haproxy-blocks.ts'
import { ask, askRaw, values } from '../e2e/client.ts'
import { type Authority, contoso, ordersId, startAuthority } from '../serve/authority.ts'
import { makeFolder, startService, untilReady } from '../serve/process.ts'
import { controllers } from './controllers.ts'

const limit = 60
const routes = ['orders', 'stock'].map((policy) => ({ host: `${policy}.example.com`, policy }))

/** Hosts that two expressions may read as two hosts. */
const oddHosts = [
  'STOCK.example.com',
  'stock.example.com:80',
  'stock.example.com:80:80',
  'stock.example.com:orders.example.com',
  'orders.example.com:80:stock.example.com',
  'stock.example.com.',
  'stock.example.com,orders.example.com',
  'orders.example.com,stock.example.com',
  'orders.example.com@stock.example.com',
  'stock.example.com@orders.example.com',
  'orders.example.com#stock.example.com',
  'stock.example.com#/',
  'stock.example.com/orders.example.com',
  '[stock.example.com]',
  ' stock.example.com',
  'other.example.com',
  'stock.example.com\torders.example.com',
  '.example.com',
  ':80',
  '',
]

for (const controller of controllers) {
  describe(`a policy for each host behind ${controller.name}`, () => {
    const cleanUps: (() => unknown)[] = []
    const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
    let authority: Authority
    let app: EchoApp
    let haproxy: Haproxy

    before(async () => {
      const folder = makeFolder(life)
      authority = await startAuthority(life)
      const config = join(folder, 'config.yaml')
      writeFileSync(
        config,
        `tenants: { contoso: { id: ${contoso}, authority: ${authority.origin} } }
policies:
  orders: { audiences: [api://orders, ${ordersId}], allow: [{ actor: user, scopes: any }] }
  stock: { audiences: [api://billing], allow: [{ actor: user, scopes: any }] }
`,
      )
      const service = await startService(life, { ENTRA_AUTH_CONFIG: config })
      await untilReady(service)
      app = await startEchoApp()
      life.after(() => app.stop())
      const [block] = haproxyBlocks(controller.page).filter(
        ({ place }) => place === 'frontend-action',
      )
      assert.ok(block)
      const { maps, configs } = controller.write(routes, app.address, block.lines.join('\n'))
      for (const [name, text] of Object.entries(maps)) writeFileSync(join(folder, name), text)
      haproxy = await startHaproxy({
        verifier: service.address,
        application: app.address,
        configs: configs.map((text, index) => {
          const file = join(folder, `${index}.cfg`)
          writeFileSync(
            file,
            text.replaceAll('MAPS/', `${folder}/`).replaceAll('127.0.0.1:14481', service.address),
          )
          return file
        }),
        env: { ENTRA_AUTH_BAD_TOKENS_PER_10S: String(limit) },
      })
      life.after(() => haproxy.stop())
    })
    after(async () => {
      for (const cleanUp of cleanUps.reverse()) await cleanUp()
    })

    const bearerFor = async (policy: string): Promise<[string, string]> => [
      'Authorization',
      `Bearer ${await authority.token('alice', policy === 'stock' ? { audience: 'api://billing' } : {})}`,
    ]
    const backends = () => app.requests.flatMap((request) => values(request, 'x-backend'))

    it('lets a good token to its own host, and to no other', async () => {
      for (const { host, policy } of routes) {
        for (const other of routes) {
          app.requests.length = 0
          const reply = await ask(haproxy.port, { host, headers: [await bearerFor(other.policy)] })
          assert.equal(reply.status, other.policy === policy ? 200 : 401, reply.body)
          assert.deepEqual(backends(), other.policy === policy ? [policy] : [])
        }
        app.requests.length = 0
        const none = await ask(haproxy.port, { host, headers: [] })
        assert.equal(none.status, 401)
        assert.deepEqual(values(none, 'x-entra-auth-reason'), ['no_credentials'])
        assert.deepEqual(backends(), [])
      }
    })

    it('removes each header that a client forged, in any spelling', async () => {
      const auth = await bearerFor('orders')
      const forged = managedHeaders('x-auth-request')
        .flatMap(spellingsOf)
        .map((name): [string, string] => [name, 'forged'])
      assert.ok(forged.length > 40)
      for (let start = 0; start < forged.length; start += 40) {
        app.requests.length = 0
        const headers = [auth, ...forged.slice(start, start + 40)]
        const { status } = await ask(haproxy.port, { host: 'orders.example.com', headers })
        assert.equal(status, 200)
        const [seen] = app.requests
        assert.ok(seen)
        assert.deepEqual(
          seen.headers.filter(([, value]) => value === 'forged'),
          [],
        )
      }
    })

    it('never lets a token for one host reach the application of another, however the host is written', async () => {
      const [, token] = await bearerFor('orders')
      const requests = [
        ...oddHosts.map((host) => `GET / HTTP/1.1\r\nHost: ${host}\r\n`),
        ...oddHosts.map(
          (host) => `GET http://${host.trim()}/ HTTP/1.1\r\nHost: orders.example.com\r\n`,
        ),
        'GET / HTTP/1.1\r\nHost: orders.example.com\r\nHost: stock.example.com\r\n',
        'GET / HTTP/1.1\r\nHost: stock.example.com\r\nHost: orders.example.com\r\n',
        'GET //stock.example.com/ HTTP/1.1\r\nHost: orders.example.com\r\n',
        'GET /../stock.example.com/ HTTP/1.1\r\nHost: other.example.com\r\n',
        'GET / HTTP/1.0\r\n',
      ]
      app.requests.length = 0
      for (const head of requests) {
        const reply = await askRaw(
          haproxy.port,
          `${head}Authorization: ${token}\r\nConnection: close\r\n\r\n`,
        )
        assert.match(reply, /^HTTP\/1\.[01] (200|4\d\d|503) /)
      }
      assert.deepEqual(
        backends().filter((backend) => backend !== 'orders'),
        [],
      )
    })

    it('counts the bad tokens of a source where an Ingress has a rate limit too', async () => {
      const headers: [string, string][] = [['Authorization', 'Bearer not.a.token']]
      // A source of its own: what the other tests sent counts for theirs.
      const agent = new Agent({ localAddress: '127.0.0.9' })
      const seen: string[] = []
      while (seen.length < 10 * limit && seen.at(-1) !== 'too_many_bad_tokens') {
        const reply = await ask(haproxy.port, { host: 'orders.example.com', headers, agent })
        seen.push(...values(reply, 'x-entra-auth-reason'))
      }
      assert.equal(seen[0], 'token_malformed')
      assert.equal(seen.at(-1), 'too_many_bad_tokens')
    })
  })
}
