/**
 * Ways in which HAProxy stops reading requests. Behind each of them, whatever a client sends reaches
 * the application with no rule in between; so the application here is one that plays along.
 */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, beforeEach, describe, it } from 'node:test'
import { refuseAmbiguousPaths } from '../../src/haproxy/plain-path.ts'
import { eventually } from '../support/eventually.ts'
import { askRaw } from './client.ts'
import { type RawApp, startRawApp } from './raw-app.ts'
import { askRawHttp2, requestFields } from './raw-http2.ts'
import { replacing, type Stack, startStack } from './stack.ts'

const head = 'Host: app.example\r\nAuthorization: Bearer t\r\n'
const smuggled = 'GET /admin HTTP/1.1\r\nHost: app.example\r\nX-Auth-Request-User: admin\r\n\r\n'
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const webSocket = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
const switching = (to: string) =>
  `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${to}\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n`
const asks = (what: string, more = '') =>
  `${what}\r\n${head}Connection: Upgrade\r\nUpgrade: websocket\r\n${webSocket}${more}\r\n`

let app: RawApp
let stack: Stack
before(async () => {
  app = await startRawApp()
  stack = await startStack({ env: { ENTRA_AUTH_APP_SERVER: app.address } })
})
after(async () => {
  await stack.stop()
  await app.stop()
})
beforeEach(() => {
  stack.reset()
  app.reset()
})

/** Sends the first request, then the smuggled one on the same connection; the statuses of both. */
async function sendBoth(first: string): Promise<number[]> {
  const socket = connect(stack.haproxy.port, '127.0.0.1')
  let text = ''
  let isClosed = false
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1')
  })
  socket.on('error', () => socket.destroy())
  socket.on('close', () => {
    isClosed = true
  })
  const statuses = () => [...text.matchAll(/HTTP\/1\.[01] (\d+)/g)].map(([, one]) => Number(one))
  socket.write(first)
  await eventually(
    async () => isClosed || statuses().length > 0,
    (done) => done,
  )
  if (!isClosed) socket.write(smuggled)
  await eventually(
    async () => isClosed || statuses().length > 1,
    (done) => done,
  )
  socket.destroy()
  return statuses()
}

describe('an application that opens a tunnel', () => {
  for (const [what, first, answer, status] of [
    [
      'by 200 to CONNECT',
      `CONNECT app.example:443 HTTP/1.1\r\n${head}\r\n`,
      'HTTP/1.1 200 OK\r\n\r\n',
      405,
    ],
    ['by 200 to CONNECT of HTTP/1.0', `CONNECT app.example:443 HTTP/1.0\r\n${head}\r\n`, ok, 405],
    ['by 101 without being asked', `GET / HTTP/1.1\r\n${head}\r\n`, switching('websocket'), 502],
    [
      'by 101 to an upgrade that was taken out',
      `GET / HTTP/1.1\r\n${head}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
      switching('h2c'),
      502,
    ],
    [
      'by 101 with websocket to an upgrade that was taken out',
      `GET / HTTP/1.1\r\n${head}Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n`,
      switching('websocket'),
      502,
    ],
    ['by 101 to another protocol than WebSocket', asks('GET / HTTP/1.1'), switching('h2c'), 502],
    [
      'by 101 that names no protocol',
      asks('GET / HTTP/1.1'),
      'HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n',
      502,
    ],
    ['by 101 to HEAD', `HEAD / HTTP/1.1\r\n${head}\r\n`, switching('websocket'), 502],
    [
      'by 200 with Upgrade',
      asks('GET / HTTP/1.1'),
      'HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok',
      200,
    ],
  ] as const) {
    it(`gets no request past the rules: ${what}`, async () => {
      app.answer = answer
      assert.equal((await sendBoth(first))[0], status)
      assert.doesNotMatch(app.received(), /x-auth-request-user: admin/i)
    })
  }

  it('gets no request past the rules: by 200 to CONNECT of HTTP/2', async () => {
    app.answer = 'HTTP/1.1 200 OK\r\n\r\n'
    const fields = requestFields([
      [':method', 'CONNECT'],
      ['authorization', 'Bearer t'],
    ])
    // HTTP/2 has no scheme and no path in a CONNECT.
    const plain = fields.filter(([name]) => name !== ':path' && name !== ':scheme')
    assert.equal(await askRawHttp2(stack.haproxy.port, plain), 405)
    assert.equal(app.received(), '')
  })

  it('opens a WebSocket that was asked for', async () => {
    app.answer = switching('websocket')
    assert.equal((await sendBoth(asks('GET / HTTP/1.1')))[0], 101)
  })
})

describe('a connection that two programs might read differently', () => {
  const length = smuggled.length
  for (const [what, first] of Object.entries({
    'Content-Length and Transfer-Encoding': `POST / HTTP/1.1\r\n${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'two lengths': `POST / HTTP/1.1\r\n${head}Content-Length: 0\r\nContent-Length: ${length}\r\n\r\n`,
    'an unknown transfer coding': `POST / HTTP/1.1\r\n${head}Transfer-Encoding: xchunked\r\n\r\n`,
    'chunked, then another coding': `POST / HTTP/1.1\r\n${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    'a length with a sign': `POST / HTTP/1.1\r\n${head}Content-Length: +0\r\n\r\n`,
    'a bare line feed in a chunk size': `POST / HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\n\r\n0\n\n`,
    'a body with HEAD': `HEAD / HTTP/1.1\r\n${head}Content-Length: 0\r\n\r\n`,
  })) {
    it(`hands no request on without its rules: ${what}`, async () => {
      app.answer = ok
      await sendBoth(first)
      assert.doesNotMatch(app.received(), /x-auth-request-user: admin/i)
    })
  }
})

describe('the rule against ambiguous paths', () => {
  let strict: Stack
  before(async () => {
    strict = await startStack({
      editConfig: replacing(`    # ${refuseAmbiguousPaths}`, `    ${refuseAmbiguousPaths}`),
    })
  })
  after(() => strict.stop())

  const statusOf = async (path: string) => {
    const reply = await askRaw(strict.haproxy.port, `GET ${path} HTTP/1.1\r\n${head}\r\n`)
    return Number(/^HTTP\/1\.\d (\d+)/.exec(reply)?.[1])
  }

  it('lets plain paths through, with any query', async () => {
    for (const path of ['/', '/a/b.c', '/.well-known/x?y=%2e%2e/..\\;', `/${'a/'.repeat(200)}`])
      assert.equal(await statusOf(path), 200, path.slice(0, 40))
  })

  it('refuses every other, before anybody is asked', async () => {
    strict.reset()
    for (const path of [
      '//admin',
      '/pub/../admin',
      '/pub\\..\\admin',
      '/.\\admin',
      '/pub/..;/admin',
      '/%61dmin',
      '/%c0%ae%c0%ae/admin',
      '/admin;x',
      '/admin#x',
      '/admin\x01',
      '/admin\x7f',
      '/admin\xe0',
      'http://app.example//admin',
      '*',
    ])
      assert.equal(await statusOf(path), 400, path)
    assert.equal(strict.verifier.calls.length + strict.app.requests.length, 0)
  })
})
