import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { after, describe, it } from 'node:test'
import type { Dispatcher } from 'undici'
import { createHttp, defaultLimits, HttpStatusError } from '../../src/keys/http.ts'
import { createKeySource } from '../../src/keys/key-source.ts'
import { type Fault, startAuthority, tenantKey } from '../support/authority.ts'
import { ids } from '../support/ids.ts'

const authority = await startAuthority()
const http = createHttp({ connectTimeoutMs: 10_000, deadlineMs: 20_000, maxReplyBytes: 64 * 1024 })
const hasty = createHttp({ connectTimeoutMs: 10_000, deadlineMs: 100, maxReplyBytes: 64 * 1024 })
after(async () => {
  await http.close()
  await hasty.close()
  await authority.close()
})
const keysUrl = `${authority.url}/${ids.contoso}/discovery/v2.0/keys`
const keyId = tenantKey(ids.contoso).id

describe('a call to an authority', () => {
  it('returns the JSON document', async () => {
    authority.contoso.v2.keysFault = undefined
    assert.deepEqual(await http.fetchJson(keysUrl), { keys: authority.contoso.v2.keys })
  })
  for (const [fault, client, message] of [
    ['error', http, /answered 500/],
    ['not found', http, /answered 404/],
    ['no content', http, /answered 204/],
    ['html', http, /JSON/],
    ['redirect', http, /fetch failed/],
    ['huge', http, /terminated/],
    ['endless', http, /terminated/],
    ['zip bomb', http, /fetch failed/],
    ['half', http, /terminated/],
    ['hang', hasty, /timeout/],
    ['drip', hasty, /timeout/],
  ] as const satisfies readonly (readonly [Fault, unknown, RegExp])[]) {
    it(`rejects a whole set: ${fault}`, async () => {
      authority.contoso.v2.keysFault = fault
      await assert.rejects(createKeySource(client, keysUrl).fetchSet(), message)
    })
    it(`rejects a single look-up: ${fault}`, async () => {
      authority.contoso.v2.keysFault = fault
      await assert.rejects(createKeySource(client, keysUrl).fetchKey(keyId))
    })
  }
  it('does not follow a redirect', async () => {
    authority.contoso.v2.keysFault = 'redirect'
    await assert.rejects(http.fetchJson(keysUrl))
    assert.deepEqual(
      authority.requests.filter((path) => path.startsWith('/redirected')),
      [],
    )
  })
  it('tells the status apart from other errors', async () => {
    authority.contoso.v2.keysFault = 'not found'
    await assert.rejects(http.fetchJson(keysUrl), (error: unknown) => {
      assert.ok(error instanceof HttpStatusError)
      assert.equal(error.status, 404)
      return true
    })
  })
  it('says why it ends a compressed reply', async () => {
    authority.contoso.v2.keysFault = 'zip bomb'
    await assert.rejects(http.fetchJson(keysUrl), (error: Error) => {
      assert.match(String(error.cause), /the reply is compressed/)
      return true
    })
  })
  it('goes past each proxy where it must, within the same limits', async (t) => {
    const proxied: string[] = []
    const proxy = createServer((request, response) => {
      proxied.push(request.url ?? '')
      response.writeHead(502).end()
    })
    proxy.on('connect', (request, socket) => {
      proxied.push(request.url ?? '')
      socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n')
    })
    await once(proxy.listen(0, '127.0.0.1'), 'listening')
    t.after(() => proxy.close())
    const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    const client = createHttp({ ...defaultLimits, maxReplyBytes: 64 * 1024 }, undefined, {
      HTTP_PROXY: url,
      HTTPS_PROXY: url,
    })
    t.after(() => client.close())
    const read = async () => (await fetch(keysUrl, client.fetchOptions({ direct: true }))).text()
    authority.contoso.v2.keysFault = undefined
    assert.match(await read(), /"keys"/)
    for (const fault of ['huge', 'zip bomb', 'redirect'] as const) {
      authority.contoso.v2.keysFault = fault
      await assert.rejects(read(), fault)
    }
    assert.deepEqual(proxied, [])
    await assert.rejects(client.fetchJson(keysUrl))
    assert.ok(proxied.length > 0)
  })
  it('tells of each reply, before its body is read', async () => {
    const replies: [number, string | null][] = []
    const client = createHttp(undefined, ({ status, headers }) =>
      replies.push([status, headers.get('content-type')]),
    )
    for (const fault of [undefined, 'error', 'html'] as const) {
      authority.contoso.v2.keysFault = fault
      await client.fetchJson(keysUrl).catch(() => {})
    }
    await client.close()
    assert.deepEqual(replies, [
      [200, 'application/json'],
      [500, 'application/json'],
      [200, 'text/html'],
    ])
  })
  it('ends with the client', async () => {
    authority.contoso.v2.keysFault = 'hang'
    const client = createHttp()
    const reply = assert.rejects(client.fetchJson(keysUrl), /fetch failed/)
    await client.close()
    await reply
  })
  it('is not left open behind a reply that takes too long', { timeout: 30_000 }, async (t) => {
    const closed = Promise.withResolvers<void>()
    const slow = createServer((_request, response) => {
      // A byte now and then, so that no time-out between bytes is reached.
      const timer = setInterval(() => response.write(' '), 10)
      response.on('close', () => {
        clearInterval(timer)
        closed.resolve()
      })
    })
    t.after(() => {
      slow.closeAllConnections()
      slow.close()
    })
    await once(slow.listen(0, '127.0.0.1'), 'listening')
    const { port } = slow.address() as AddressInfo
    await assert.rejects(hasty.fetchJson(`http://127.0.0.1:${port}/`), /timeout/)
    await closed.promise
  })
  it('ends soon where a connection is not made, long before the deadline of the reply', async (t) => {
    // It takes the connection, but does not answer the TLS handshake, as a firewall may do.
    const silent = createTcpServer((socket) => {
      t.after(() => socket.destroy())
      socket.on('error', () => {})
    })
    t.after(() => silent.close())
    await once(silent.listen(0, '127.0.0.1'), 'listening')
    const { port } = silent.address() as AddressInfo
    // Below the 10 s that undici waits by itself.
    const client = createHttp({ ...defaultLimits, connectTimeoutMs: 50, deadlineMs: 9_000 })
    t.after(() => client.close())
    await assert.rejects(client.fetchJson(`https://127.0.0.1:${port}/`), (error: Error) => {
      assert.equal((error.cause as { code?: unknown }).code, 'UND_ERR_CONNECT_TIMEOUT')
      return true
    })
  })
  const steps = ['onRequestStart', 'onResponseStart', 'onResponseData', 'onResponseEnd'] as const
  for (const unneeded of steps.slice(1)) {
    it(`serves a handler without ${unneeded}, which undici lets a fetch leave out`, async () => {
      authority.contoso.v2.keysFault = undefined
      const told = new Set<string>()
      const handler = Object.fromEntries(
        [...steps, 'onResponseError'].map((step) => [step, () => void told.add(step)]),
      )
      delete handler[unneeded]
      const dispatcher = createHttp().fetchOptions().dispatcher as unknown as Dispatcher
      const { origin, pathname } = new URL(keysUrl)
      dispatcher.dispatch({ origin, path: pathname, method: 'GET' }, handler)
      // Waits until the reply has ended.
      await dispatcher.close()
      assert.deepEqual(
        [...told],
        steps.filter((step) => step !== unneeded),
      )
    })
  }
  it('asks for JSON that is not compressed', () => {
    const { headers, redirect, signal } = http.fetchOptions()
    assert.deepEqual(headers, { accept: 'application/json', 'accept-encoding': 'identity' })
    assert.equal(redirect, 'error')
    assert.equal(signal?.aborted, false)
  })
  it('takes at most 3 s to connect, 5 s in all and a mebibyte by default', () =>
    assert.deepEqual(defaultLimits, {
      connectTimeoutMs: 3_000,
      deadlineMs: 5_000,
      maxReplyBytes: 1_048_576,
    }))
  it('has limits of its own where none are given', async () => {
    authority.contoso.v2.keysFault = undefined
    const defaults = createHttp()
    assert.deepEqual(await defaults.fetchJson(keysUrl), { keys: authority.contoso.v2.keys })
    await defaults.close()
  })
})

describe('a key address', () => {
  it('gives one key by its id', async () => {
    authority.contoso.v2.keysFault = undefined
    const [key] = authority.contoso.v2.keys
    assert.deepEqual(await createKeySource(http, keysUrl).fetchKey(keyId), key)
  })
  it('gives one that names its algorithm', async () => {
    authority.contoso.v2.keysFault = undefined
    const [key] = authority.contoso.v2.keys
    const named = { ...key, kid: 'named', alg: 'RS256' }
    authority.contoso.v2.keys.push(named)
    assert.deepEqual(await createKeySource(http, keysUrl).fetchKey('named'), named)
    authority.contoso.v2.keys.pop()
  })
  it('gives undefined for an id that is not published', async () => {
    authority.contoso.v2.keysFault = undefined
    assert.equal(await createKeySource(http, keysUrl).fetchKey('nowhere'), undefined)
  })
  for (const fault of ['null', 'not a set', 'no keys'] as const) {
    it(`rejects what is no key set: ${fault}`, async () => {
      authority.contoso.v2.keysFault = fault
      const source = createKeySource(http, keysUrl)
      if (fault !== 'no keys') await assert.rejects(source.fetchSet(), /no key set/)
      await assert.rejects(source.fetchKey(keyId))
    })
  }
})
