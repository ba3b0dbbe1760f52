/** The recipe for Traefik. Traefik itself does not run in this test: see `traefik.ts`. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { parse } from 'yaml'
import { managedHeaders } from '../../src/haproxy/strip.ts'
import { type Authority, environmentFor, startAuthority } from '../serve/authority.ts'
import { type ServiceProcess, startService, untilReady } from '../serve/process.ts'
import { recipeFile } from './recipe-files.ts'
import { type Answer, askAsTraefik, type ForwardAuth, forwarded, type Header } from './traefik.ts'

const dynamic = parse(recipeFile('traefik/dynamic.yaml')).http
const forwardAuth: ForwardAuth = dynamic.middlewares['entra-auth'].forwardAuth

describe('the recipe traefik', () => {
  it('has every managed header overwritten or deleted', () => {
    assert.deepEqual(
      forwardAuth.authResponseHeaders.toSorted(),
      managedHeaders('x-auth-request').toSorted(),
    )
  })

  it('trusts no forwarded header of the client, and sends a fixed list', () => {
    assert.equal(forwardAuth.trustForwardHeader, false)
    assert.deepEqual(forwardAuth.authRequestHeaders, [
      'Authorization',
      'X-Request-Id',
      'Traceparent',
    ])
  })

  it('has the entry point of its router delete what is spelled otherwise', () => {
    const { entryPoints } = parse(recipeFile('traefik/traefik.yaml'))
    const router = dynamic.routers.orders
    assert.deepEqual(router.middlewares, ['entra-auth'])
    for (const name of router.entryPoints) {
      assert.equal(entryPoints[name].http.aliasHeadersStrategy, 'delete')
    }
  })
})

describe('the recipe traefik against the service', () => {
  const cleanUps: (() => unknown)[] = []
  const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  let authority: Authority
  let service: ServiceProcess

  before(async () => {
    authority = await startAuthority(life)
    service = await startService(life, environmentFor(authority))
    await untilReady(service)
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  /** What the verifier answers for a client's request with these header fields. */
  function replay(client: readonly Header[], policy = 'default'): Promise<Answer> {
    const address = new URL(forwardAuth.address)
    address.host = service.address
    address.pathname = address.pathname.replace(/[^/]*$/, policy)
    return askAsTraefik({ ...forwardAuth, address: address.href }, client, {
      host: 'orders.example.com',
      method: 'POST',
      uri: '/orders/1?sort=up',
    })
  }

  it('lets a user through, with every header of the list from the token', async () => {
    const token = await authority.token('alice')
    const client: Header[] = [
      ['Authorization', `Bearer ${token}`],
      ['X-Auth-Request-User', 'forged'],
      ['x-auth-request-roles', 'Orders.Admin'],
      ['X-Entra-Auth-Verdict', 'forged'],
      ['Accept', 'text/html'],
    ]
    const answer = await replay(client)
    assert.equal(answer.status, 200)
    const application = forwarded(forwardAuth, client, answer)
    assert.deepEqual(application.get('X-Auth-Request-User'), [
      'a1111111-1111-4111-8111-111111111111',
    ])
    assert.deepEqual(application.get('X-Auth-Request-Scopes'), ['Orders.Read'])
    // Empty, not absent: the verifier sends every name, and Traefik copies it.
    assert.deepEqual(application.get('X-Auth-Request-Roles'), [''])
    assert.equal([...application.values()].flat().includes('forged'), false)
  })

  it('hands the refusal on with its status, its challenge and its body', async () => {
    const nobody = await replay([])
    assert.equal(nobody.status, 401)
    assert.match(nobody.header.get('Www-Authenticate')?.[0] ?? '', /^Bearer realm="entra-id"/)
    assert.equal(JSON.parse(nobody.body).reason, 'no_credentials')
    const idle = await replay([['Authorization', `Bearer ${await authority.token('idle')}`]])
    assert.equal(idle.status, 403)
    const token = `Bearer ${await authority.token('alice')}`
    const two = await replay([
      ['Authorization', token],
      ['authorization', 'Bearer something.else.entirely'],
    ])
    assert.equal(two.status, 400)
    assert.equal((await replay([['Authorization', token]], 'missing')).status, 404)
  })

  it('logs the path that Traefik names, without its query', async () => {
    await replay([])
    const line = await service.waitForLog(({ forwarded }) => forwarded !== undefined)
    const { method, host, uri } = line.forwarded as Record<string, string>
    assert.deepEqual([method, host, uri], ['POST', 'orders.example.com', '/orders/1'])
  })

  it('sends no more than Traefik was told to read', async () => {
    const { maxResponseBodySize } = dynamic.middlewares['entra-auth'].forwardAuth
    assert.ok((await replay([])).body.length < maxResponseBodySize)
  })
})
