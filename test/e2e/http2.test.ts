import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2'
import { after, before, beforeEach, describe, it } from 'node:test'
import { values } from './client.ts'
import { deny } from './fake-verifier.ts'
import { askRawHttp2, type Fields, requestFields } from './raw-http2.ts'
import { type Stack, startStack } from './stack.ts'

let stack: Stack
before(async () => {
  // An application that accepts whatever it is offered.
  stack = await startStack({ acceptUpgrade: /./ })
})
after(() => stack.stop())
beforeEach(() => stack.reset())

const token = ['authorization', 'Bearer t'] as const

describe('a request over HTTP/2', () => {
  it('is allowed, so that a refusal of the others says something', async () => {
    assert.equal(await askRawHttp2(stack.haproxy.port, requestFields([token])), 200)
    assert.equal(stack.app.requests.length, 1)
  })

  it('is refused with two Authorization headers, without a call', async () => {
    for (const other of ['Bearer t', 'Bearer other']) {
      const fields = requestFields([token, ['authorization', other]])
      assert.equal(await askRawHttp2(stack.haproxy.port, fields), 400)
    }
    assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
  })

  for (const [what, fields] of Object.entries<Fields>({
    'in capitals': [['X-Auth-Request-User', 'eve']],
    'with underscores': [['x_auth_request_user', 'eve']],
    'with dots': [['x.auth.request.user', 'eve']],
    'with a colon in its name': [['x-auth-request-user:', 'eve']],
    'with a blank in its name': [['x-auth-request-user ', 'eve']],
    'with a null byte in its name': [['x-auth-request-user\0', 'eve']],
    'behind a line end in a value': [['x-other', 'a\r\nx-auth-request-user: eve']],
    'behind a line feed in a value': [['x-other', 'a\nx-auth-request-user: eve']],
    'behind a line end in a name': [['x-other: a\r\nx-auth-request-user', 'eve']],
    'behind a line end in the path': [
      [':path', '/h2 HTTP/1.1\r\nx-auth-request-user: eve\r\nx-other: '],
    ],
    'behind a line end in the method': [[':method', 'GET / HTTP/1.1\r\nx-auth-request-user: eve']],
    'behind a line end in the authority': [[':authority', 'a\r\nx-auth-request-user: eve']],
    'as a pseudo-header': [[':x-auth-request-user', 'eve']],
  })) {
    it(`brings no identity header of its own: ${what}`, async () => {
      await askRawHttp2(stack.haproxy.port, requestFields([token, ...fields]))
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
        assert.doesNotMatch(JSON.stringify(seen.headers), /eve/)
      }
      assert.equal((await stack.ask()).status, 200)
    })
  }

  for (const [what, fields] of Object.entries<Fields>({
    'Connection: X-Auth-Request-User': [['connection', 'x-auth-request-user']],
    'Transfer-Encoding': [['transfer-encoding', 'chunked']],
    'Upgrade: h2c': [['upgrade', 'h2c']],
    'HTTP2-Settings': [['http2-settings', 'AAMAAABkAAQAoAAAAAIAAAAA']],
    'Keep-Alive': [['keep-alive', 'x-auth-request-user']],
    'Proxy-Connection': [['proxy-connection', 'x-auth-request-user']],
  })) {
    it(`does not hand on what steers a connection: ${what}`, async () => {
      await askRawHttp2(stack.haproxy.port, requestFields([token, ...fields]))
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
        const names = ['upgrade', 'http2-settings', 'keep-alive', 'proxy-connection']
        const left = [...names, 'transfer-encoding'].flatMap((name) => values(seen, name))
        assert.deepEqual(left, [])
        assert.doesNotMatch(values(seen, 'connection').join(), /x-auth/i)
      }
    })
  }
})

describe('an extended CONNECT (RFC 8441)', () => {
  /** Opens a tunnel, or what was asked for; the session ends with the test. */
  async function open(
    t: { after(cleanUp: () => void): void },
    protocol: string,
    headers: OutgoingHttpHeaders,
  ): Promise<{ stream: ClientHttp2Stream; status: number }> {
    const session = connect(`http://127.0.0.1:${stack.haproxy.port}`)
    t.after(() => session.destroy())
    const [settings] = await once(session, 'remoteSettings')
    assert.equal(settings.enableConnectProtocol, true)
    const stream = session.request(
      {
        ':method': 'CONNECT',
        ':protocol': protocol,
        ':scheme': 'http',
        ':authority': 'app.example',
        ':path': '/ws',
        'sec-websocket-version': '13',
        ...headers,
      },
      { endStream: false },
    )
    const [response] = await once(stream, 'response')
    return { stream, status: Number(response[':status']) }
  }
  const withToken = { authorization: 'Bearer t' }

  it('opens a WebSocket when allowed, with the identity', async (t) => {
    const { stream, status } = await open(t, 'websocket', {
      ...withToken,
      'x-auth-request-user': 'eve',
    })
    assert.equal(status, 200)
    stream.write('over the tunnel')
    const [echoed] = await once(stream, 'data')
    assert.equal(String(echoed), 'over the tunnel')
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.equal(seen.url, '/ws')
    assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
    assert.deepEqual(
      stack.verifier.calls.map((call) => call.url),
      ['/verify/orders'],
    )
  })

  for (const [what, headers, said] of [
    ['without a token', {}, deny(401, 'no_credentials', ['Bearer realm="x"'])],
    ['when refused', withToken, deny(403, 'role_missing')],
    ['without a verdict', withToken, 'close'],
  ] as const) {
    it(`opens nothing ${what}`, async (t) => {
      stack.verifier.script = () => said
      const { status } = await open(t, 'websocket', headers)
      assert.ok([401, 403, 503].includes(status), `status ${status}`)
      assert.equal(stack.app.requests.length, 0)
    })
  }

  for (const protocol of ['h2c', 'connect-udp', 'WebSocket, h2c', 'websocket\r\nx-evil: 1', 'x']) {
    it(`opens no tunnel of another protocol: ${JSON.stringify(protocol)}`, async () => {
      const fields = requestFields([[':method', 'CONNECT'], [':protocol', protocol], token])
      await askRawHttp2(stack.haproxy.port, fields)
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'upgrade'), [])
        assert.deepEqual(values(seen, 'x-evil'), [])
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      }
    })
  }
})
