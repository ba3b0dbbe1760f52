/** A policy for each host, by the lines of the pages, behind what the controllers write themselves. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { managedHeaders, spellingsOf } from '../../src/haproxy/strip.ts'
import { haproxyBlocks } from '../docs/haproxy-blocks.ts'
import { ask, askRaw, values } from '../e2e/client.ts'
import { type Authority, contoso, ordersId, startAuthority } from '../serve/authority.ts'
import { makeFolder, startService, untilReady } from '../serve/process.ts'
import { readPolicies, refusalsOf } from './admission-policies.ts'
import { controllers, httpRouteOf } from './controllers.ts'
import { recipeFile } from './recipe-files.ts'

const limit = 60
const routes = ['orders', 'stock'].map((policy) => ({ host: `${policy}.example.com`, policy }))
/** A team that gives its own application the host of another one. */
const moved = { host: 'moved.example.com', policy: 'moved', setHost: 'stock.example.com' }

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
    let tlsPort = 0

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
      const { maps, configs } = controller.write(
        [...routes, moved],
        app.address,
        block.lines.join('\n'),
      )
      for (const [name, text] of Object.entries(maps)) writeFileSync(join(folder, name), text)
      const { cert, key } = await createTlsIdentity(Date.now, randomBytes)
      writeFileSync(join(folder, 'tls.pem'), cert + key)
      const [port = 0] = await freePorts(1)
      tlsPort = port
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
        env: {
          ENTRA_AUTH_BAD_TOKENS_PER_10S: String(limit),
          TEST_TLS_BIND: `127.0.0.1:${tlsPort}`,
        },
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

    it('takes the policy of the host that was asked, where an Ingress or a route sets another host', async () => {
      for (const { policy } of routes) {
        app.requests.length = 0
        const { host } = moved
        const reply = await ask(haproxy.port, { host, headers: [await bearerFor(policy)] })
        assert.equal(reply.status, 503)
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

    if (!controller.name.endsWith('Gateway API')) return

    it('has routes that the admission policies admit', () => {
      const policies = readPolicies(recipeFile('kubernetes/admission-policy.yaml'))
      for (const route of [...routes, moved]) {
        const creation = {
          group: 'gateway.networking.k8s.io',
          resource: 'httproutes',
          namespace: 'default',
          object: httpRouteOf(route),
        }
        assert.deepEqual(refusalsOf(policies, creation), [])
      }
    })

    it('protects the listener for HTTPS too, and filters run behind the action', async () => {
      const [name, token] = await bearerFor('orders')
      const over = (headers: Record<string, string>) =>
        new Promise<number>((done, fail) => {
          const request = httpsRequest(
            {
              host: '127.0.0.1',
              port: tlsPort,
              headers: { host: 'orders.example.com', ...headers },
              rejectUnauthorized: false,
              agent: false,
            },
            (response) => {
              response.resume()
              response.on('end', () => done(response.statusCode ?? 0))
            },
          )
          request.on('error', fail)
          request.end()
        })
      app.requests.length = 0
      assert.equal(await over({}), 401)
      assert.equal(await over({ [name]: token, host: 'stock.example.com' }), 401)
      assert.deepEqual(app.requests, [])
      assert.equal(
        await over({ [name]: token, X_Auth_Request_User: 'admin', 'X-Team': 'forged' }),
        200,
      )
      const [seen] = app.requests
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-auth-request-user'), [
        'a1111111-1111-4111-8111-111111111111',
      ])
      assert.deepEqual(values(seen, 'x_auth_request_user'), [])
      assert.deepEqual(values(seen, 'x-team'), ['shop'])
      assert.deepEqual(values(seen, 'x-way'), ['gateway'])
      assert.deepEqual(values(seen, 'authorization'), [])
    })
  })
}
