/**
 * The recipe for Traefik, with the requests that its ForwardAuth sends and what it does with the
 * answer, written down here from its source (3.7). Traefik itself does not run in this test.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { parse } from 'yaml'
import { managedHeaders } from '../../src/haproxy/strip.ts'
import { askRaw } from '../e2e/client.ts'
import { type Authority, environmentFor, startAuthority } from '../serve/authority.ts'
import { type ServiceProcess, startService, untilReady } from '../serve/process.ts'
import { recipeFile } from './recipe-files.ts'

interface ForwardAuth {
  readonly address: string
  readonly trustForwardHeader: boolean
  readonly authRequestHeaders: readonly string[]
  readonly authResponseHeaders: readonly string[]
}

const dynamic = parse(recipeFile('traefik/dynamic.yaml')).http
const forwardAuth: ForwardAuth = dynamic.middlewares['entra-auth'].forwardAuth

type Header = readonly [string, string]

const canonical = (name: string) =>
  name.toLowerCase().replace(/(^|-)[a-z]/g, (c) => c.toUpperCase())

/** Header fields of a client as Go keeps them: by canonical name, in no order that matters. */
function goHeader(headers: readonly Header[]): Map<string, string[]> {
  const map = new Map<string, string[]>()
  for (const [name, value] of headers) {
    map.set(canonical(name), [...(map.get(canonical(name)) ?? []), value])
  }
  return map
}

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

  /** The request to the verifier, for a client's request with these header fields. */
  async function replay(client: readonly Header[], policy = 'default'): Promise<Answer> {
    const { pathname } = new URL(forwardAuth.address)
    const path = pathname.replace(/[^/]*$/, policy)
    const header = goHeader(client)
    const chosen = forwardAuth.authRequestHeaders.flatMap((name) =>
      (header.get(canonical(name)) ?? []).map((value) => `${canonical(name)}: ${value}`),
    )
    // Go writes Host first, adds Accept-Encoding, and keeps no User-Agent that the list leaves out.
    const lines = [
      `GET ${path} HTTP/1.1`,
      `Host: ${service.address}`,
      ...chosen,
      'X-Forwarded-For: 192.0.2.7',
      'X-Forwarded-Host: orders.example.com',
      'X-Forwarded-Method: POST',
      'X-Forwarded-Port: 443',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Uri: /orders/1?sort=up',
      'Accept-Encoding: gzip',
      'Connection: close',
    ]
    const text = await askRaw(
      Number(service.address.split(':')[1]),
      `${lines.join('\r\n')}\r\n\r\n`,
      () => false,
    )
    return readAnswer(text)
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
    const application = forwarded(client, answer)
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

interface Answer {
  readonly status: number
  readonly header: Map<string, string[]>
  readonly body: string
}

function readAnswer(text: string): Answer {
  const [head = '', ...rest] = text.split('\r\n\r\n')
  const [first = '', ...lines] = head.split('\r\n')
  const pairs = lines.map((line): Header => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1).trim()]
  })
  return {
    status: Number(first.split(' ')[1]),
    header: goHeader(pairs),
    body: rest.join('\r\n\r\n'),
  }
}

/** What the application gets after an allow: each listed name deleted, then copied if it is there. */
function forwarded(client: readonly Header[], { header }: Answer): Map<string, string[]> {
  const request = goHeader(client)
  for (const name of forwardAuth.authResponseHeaders.map(canonical)) {
    request.delete(name)
    const values = header.get(name)
    if (values) request.set(name, values)
  }
  return request
}
