import assert from 'node:assert/strict'
import { connect as connectHttp2 } from 'node:http2'
import { after, before, beforeEach, describe, it } from 'node:test'
import { askRaw, bearer, values } from './client.ts'
import { allowHeaders, answer, type Call, deny } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

const head = 'Host: app.example\r\nAuthorization: Bearer t\r\n'

describe('a request of any kind', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']) {
    it(`is verified whatever its method: ${method}`, async () => {
      const reply = await stack.ask({ method, path: '/any' })
      assert.equal(reply.status, 200)
      const [seen] = stack.app.requests
      assert.ok(seen)
      assert.equal(seen.method, method)
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      assert.deepEqual(values(stack.verifier.calls[0] ?? seen, 'x-forwarded-method'), [method])
      stack.reset()
      stack.verifier.script = () => deny(401, 'token_expired', ['Bearer realm="x"'])
      const refused = await stack.ask({ method, path: '/any' })
      assert.equal(refused.status, 401)
      assert.deepEqual(values(refused, 'www-authenticate'), ['Bearer realm="x"'])
      assert.equal(refused.body === '', method === 'HEAD')
      assert.equal(stack.app.requests.length, 0)
    })
  }

  for (const size of [0, 1, 1_000, 30_000, 400_000]) {
    it(`keeps its body of ${size} bytes`, async () => {
      const body = Array.from({ length: size }, (_, index) => (index % 10).toString()).join('')
      const reply = await stack.ask({ method: 'POST', body })
      assert.equal(reply.status, 200)
      const [seen] = stack.app.requests
      assert.ok(seen)
      assert.equal(seen.body, body)
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
    })
  }

  it('keeps a chunked body', async () => {
    const text = await askRaw(
      stack.haproxy.port,
      `POST / HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n`,
    )
    assert.match(text, /^HTTP\/1.1 200 /)
    assert.equal(stack.app.requests[0]?.body, 'hello world')
  })

  it('is refused with its body unread', async () => {
    stack.verifier.script = () => deny(403, 'role_missing')
    const text = await askRaw(
      stack.haproxy.port,
      `POST / HTTP/1.1\r\n${head}Content-Length: 1000000\r\n\r\nstart`,
    )
    assert.match(text, /^HTTP\/1.1 403 /)
    assert.equal(stack.app.requests.length, 0)
  })

  it('is verified over HTTP/1.0', async () => {
    const request = 'GET /old HTTP/1.0\r\nAuthorization: Bearer t\r\n\r\n'
    assert.match(await askRaw(stack.haproxy.port, request, () => false), / 200 .*alice-oid/s)
    stack.reset()
    stack.verifier.script = () => deny(403, 'role_missing')
    assert.match(await askRaw(stack.haproxy.port, request, () => false), / 403 /)
    assert.equal(stack.app.requests.length, 0)
  })

  it('is refused as CONNECT, with a good token too: the answer 200 would open a tunnel', async () => {
    const request = `CONNECT app.example:443 HTTP/1.1\r\n${head}\r\n`
    assert.match(await askRaw(stack.haproxy.port, request), /^HTTP\/1.1 405 /)
    assert.equal(stack.app.requests.length, 0)
  })

  it('is verified as a preflight of a browser, too', async () => {
    stack.verifier.script = () => deny(401, 'no_credentials', ['Bearer realm="x"'])
    const reply = await stack.ask({
      method: 'OPTIONS',
      headers: [
        ['Origin', 'https://web.example'],
        ['Access-Control-Request-Method', 'POST'],
      ],
    })
    assert.equal(reply.status, 401)
    assert.equal(stack.app.requests.length, 0)
  })

  const upgrade = (protocol: string, more = '') =>
    `GET /ws HTTP/1.1\r\n${head}Connection: Upgrade\r\nUpgrade: ${protocol}\r\n${more}\r\n`
  const webSocket = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'

  it('opens a WebSocket when allowed', async () => {
    const request = `${upgrade('websocket', webSocket)}ping over the tunnel`
    const text = await askRaw(stack.haproxy.port, request, (all) => all.includes('over the tunnel'))
    assert.match(text, /^HTTP\/1.1 101 /)
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
  })

  it('opens no WebSocket when refused', async () => {
    stack.verifier.script = () => deny(403, 'role_missing')
    const text = await askRaw(stack.haproxy.port, upgrade('websocket', webSocket))
    assert.match(text, /^HTTP\/1.1 403 /)
    assert.equal(stack.app.requests.length, 0)
  })

  it('cannot take away an identity header while it opens a WebSocket', async () => {
    const request = upgrade('websocket', webSocket).replace(
      'Connection: Upgrade',
      'Connection: Upgrade, X-Auth-Request-User',
    )
    assert.match(await askRaw(stack.haproxy.port, request), /^HTTP\/1.1 101 /)
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.deepEqual(
      values(seen, 'connection').map((one) => one.toLowerCase()),
      ['upgrade'],
    )
  })

  it('is verified over HTTP/2', async () => {
    const session = connectHttp2(`http://127.0.0.1:${stack.haproxy.port}`)
    const request = (headers: Record<string, string | string[]>) =>
      new Promise<{ status: number; body: string; challenges: unknown }>((done, fail) => {
        const stream = session.request({ ':path': '/h2', ':authority': 'app.example', ...headers })
        let status = 0
        let challenges: unknown
        let body = ''
        stream.on('response', (answered) => {
          status = Number(answered[':status'])
          challenges = answered['www-authenticate']
        })
        stream.on('data', (chunk) => {
          body += chunk
        })
        stream.on('end', () => done({ status, body, challenges }))
        stream.on('error', fail)
        stream.end()
      })
    try {
      const fine = await request({
        authorization: 'Bearer t',
        'x-auth-request-user': 'eve',
        x_auth_request_user: 'eve',
      })
      assert.equal(fine.status, 200)
      const seen = JSON.parse(fine.body)
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      assert.deepEqual(values(seen, 'x_auth_request_user'), [])
      const [call] = stack.verifier.calls
      assert.ok(call)
      assert.deepEqual(values(call, 'x-forwarded-host'), ['app.example'])
      assert.deepEqual(values(call, 'x-forwarded-uri'), ['/h2'])
      stack.reset()
      stack.verifier.script = () => deny(401, 'token_expired', ['Bearer realm="x"'])
      const refused = await request({ authorization: 'Bearer t' })
      assert.equal(refused.status, 401)
      assert.equal(refused.challenges, 'Bearer realm="x"')
      assert.equal(stack.app.requests.length, 0)
    } finally {
      session.destroy()
    }
  })
})

describe('an upgrade that is no WebSocket', () => {
  let stack: Stack
  before(async () => {
    // An application that accepts whatever it is offered.
    stack = await startStack({ acceptUpgrade: /./ })
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  const settings = 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n'
  for (const lines of [
    `Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n${settings}`,
    `Connection: Upgrade\r\nUpgrade: H2C\r\n${settings}`,
    `Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n${settings}`,
    `Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n${settings}`,
    `Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n${settings}`,
    `Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n${settings}`,
    `Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n`,
  ]) {
    it(`opens no tunnel: ${lines.split('\r\n').slice(0, 3).join(' | ')}`, async () => {
      const text = await askRaw(stack.haproxy.port, `GET / HTTP/1.1\r\n${head}${lines}\r\n`)
      // From 3.0 on, HAProxy may itself take h2c out of several lines; what is left is a WebSocket.
      assert.doesNotMatch(text, /^upgrade: (?!websocket\r)/im)
      for (const seen of stack.app.requests) {
        assert.match(values(seen, 'upgrade').join(), /^(websocket)?$/i)
        assert.deepEqual(values(seen, 'http2-settings'), [])
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      }
    })
  }
})

describe('a preflight with cors-preflight=pass', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack({ env: { ENTRA_AUTH_CORS_PREFLIGHT: 'pass' } })
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  const preflight = [
    ['Origin', 'https://web.example'],
    ['Access-Control-Request-Method', 'POST'],
  ] as const

  it('reaches the application without a call and as nobody', async () => {
    const reply = await stack.ask({
      method: 'OPTIONS',
      path: '/preflight',
      headers: [...preflight, ['X-Auth-Request-User', 'eve']],
    })
    assert.equal(reply.status, 200)
    assert.equal(stack.verifier.calls.length, 0)
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.equal(seen.headers.filter(([name]) => /^x-auth/i.test(name)).length, 0)
    await stack.haproxy.waitForLog((line) =>
      /path=\/preflight .* reason=cors_preflight /.test(line),
    )
  })

  /** What the application sees of a preflight that gets past the configuration as the client sent it. */
  async function seenOf(own: Stack, headers: readonly (readonly [string, string])[]) {
    const reply = await own.ask({ method: 'OPTIONS', headers: [...preflight, ...headers] })
    assert.equal(reply.status, 200)
    const seen = own.app.requests.at(-1)
    assert.ok(seen)
    assert.deepEqual(values(seen, 'origin'), ['https://web.example'])
    assert.deepEqual(values(seen, 'access-control-request-method'), ['POST'])
    return seen
  }
  const spellings = ['X-User', 'x-user', 'X_User', 'X.User', 'X_USER', 'X-Team']
  const forged = spellings.map((name) => [name, 'eve'] as const)
  const identityOf = (seen: Pick<Call, 'headers'>) =>
    seen.headers.filter(([name]) => /^x.(user|team)$/i.test(name))
  /** The lines that strip are gone, so the action is on its own. */
  const withoutStripping = (text: string) =>
    text
      .replace(/^ *option http-restrict-req-hdr-names .*$/m, '')
      .replace(/^ *http-request del-header x-.*$/gm, '')

  it('has no identity header before a verdict has said which ones there are', async (t) => {
    const own = await startStack({
      env: { ENTRA_AUTH_CORS_PREFLIGHT: 'pass' },
      editConfig: withoutStripping,
    })
    t.after(() => own.stop())
    const seen = await seenOf(own, [...forged, ['X-Forwarded-User', 'eve'], ['Remote-User', 'eve']])
    assert.deepEqual(identityOf(seen), [])
    assert.deepEqual(values(seen, 'x-forwarded-user'), [])
    assert.deepEqual(values(seen, 'remote-user'), [])
  })

  it('has no identity header in any spelling after it, and keeps all others', async (t) => {
    const own = await startStack({
      // One thread, which knows what it was told.
      editConfig: (text) => withoutStripping(text).replace(/^global$/m, 'global\n    nbthread 1'),
      env: { ENTRA_AUTH_CORS_PREFLIGHT: 'pass' },
    })
    t.after(() => own.stop())
    own.verifier.script = () => answer(200, allowHeaders({ 'X-User': 'alice', 'X-Team': '' }))
    assert.equal((await own.ask({ headers: [bearer] })).status, 200)
    const seen = await seenOf(own, [...forged, ['X-Colour', 'blue']])
    assert.deepEqual(identityOf(seen), [])
    assert.deepEqual(values(seen, 'x-colour'), ['blue'])
  })

  for (const [what, ask] of Object.entries({
    'another method': { method: 'GET', headers: preflight },
    'no Origin': { method: 'OPTIONS', headers: preflight.slice(1) },
    'no Access-Control-Request-Method': { method: 'OPTIONS', headers: preflight.slice(0, 1) },
    credentials: { method: 'OPTIONS', headers: [...preflight, bearer] },
  })) {
    it(`does not include a request with ${what}`, async () => {
      stack.verifier.script = () => deny(401, 'token_expired')
      assert.equal((await stack.ask(ask)).status, 401)
      assert.equal(stack.app.requests.length, 0)
    })
  }
})
