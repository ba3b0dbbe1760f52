/**
 * Class of advisory: a request that the authentication server cannot read, or takes for a health
 * check or a preflight, is answered with success, and the gateway takes that for an allow
 * (CWE-703, CWE-288); request smuggling between gateway and verifier (CWE-444).
 */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { assertAllowed, assertRefused } from '../support/expect.ts'
import { exchange, open, rawRequest } from '../support/raw.ts'
import { ask, startService } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const service = await startService()
after(() => service.close())
const bearer = `Authorization: Bearer ${v2User()}`
const target = '/verify/default'

/** Refused although the token is good. */
function refuses(what: string, bytes: string): void {
  it(`refuses ${what}`, async () => {
    const reply = await exchange(service, Buffer.from(bytes, 'latin1'))
    assert.match(reply, /^HTTP\/1\.1 4\d\d /)
    assert.doesNotMatch(reply, /verdict: allow/i)
    assert.doesNotMatch(reply, /x-auth-request/i)
  })
}

const withLines = (...lines: string[]) => rawRequest(target, [bearer, ...lines])
const withTarget = (path: string) => rawRequest(path, [bearer])

describe('a request that cannot be read', () => {
  refuses('no host', `GET ${target} HTTP/1.1\r\nConnection: close\r\n${bearer}\r\n\r\n`)
  refuses('a method in lower case', withLines().replace('GET', 'get'))
  refuses('an unknown HTTP version', withLines().replace('HTTP/1.1', 'HTTP/9.9'))
  refuses('the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  refuses('a TLS greeting', '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1')
  refuses('lines that end in LF only', withLines().replaceAll('\r\n', '\n'))
  refuses('a header without a colon', withLines('nonsense'))
  refuses('a header without a name', withLines(': x'))
  refuses('a control character in a header', withLines('X: a\x01b'))
  refuses('2,500 headers', withLines(...Array.from({ length: 2_500 }, (_, i) => `X-${i}: ${i}`)))
  refuses('an expectation that nobody knows', withLines('Expect: a-miracle'))
})

describe('a request with a body', () => {
  refuses('Content-Length', `${withLines('Content-Length: 5')}hello`)
  refuses('chunked coding', `${withLines('Transfer-Encoding: chunked')}5\r\nhello\r\n0\r\n\r\n`)
  refuses('an empty chunked body', `${withLines('Transfer-Encoding: chunked')}0\r\n\r\n`)
  refuses(
    'both at once',
    `${withLines('Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
  )
  refuses('two lengths', withLines('Content-Length: 0', 'Content-Length: 0'))
  refuses('a negative length', withLines('Content-Length: -1'))
  refuses('an unknown coding', withLines('Transfer-Encoding: xchunked'))
  refuses('identity coding', withLines('Transfer-Encoding: identity'))
  it('is refused unread, and what follows is not taken for another request', async () => {
    const smuggled = rawRequest(target, [bearer])
    const reply = await exchange(
      service,
      `GET ${target} HTTP/1.1\r\nHost: verifier\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
    )
    assert.match(reply, /^HTTP\/1\.1 400 /)
    assert.match(reply, /x-entra-auth-reason: body_not_allowed/i)
    assert.equal(reply.match(/HTTP\/1\.1/g)?.length, 1)
  })
  it('may say that its length is 0', async () => {
    const reply = await exchange(service, withLines('Content-Length: 0'))
    assert.match(reply, /^HTTP\/1\.1 200 /)
  })
})

describe('a path that is not that of a policy', () => {
  for (const path of [
    '/verify/default/',
    '//verify/default',
    '/x/../verify/default',
    '/verify//default',
    '/verify/../verify/default',
    '/verify/default/../default',
    '/VERIFY/default',
    '/Verify',
    '/verify/',
    '/verify/default%2f',
    '/verify/default%00',
    '/verify/default;x=1',
    '/verify/%zz',
    '/verify/%',
    '/verify/default%20',
    '/verify%2fdefault',
    '/verify/*',
    '/',
    '*',
    `/verify/${'a'.repeat(300)}`,
    `/verify/${'a'.repeat(20_000)}`,
  ]) {
    refuses(`${path.slice(0, 40)}`, withTarget(path))
  }
})

describe('another method', () => {
  for (const method of [
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
    'TRACE',
    'PROPFIND',
    'QUERY',
    'PURGE',
  ]) {
    it(`is refused with a good token: ${method}`, async () => {
      const reply = await ask(service, target, {
        method,
        headers: { Authorization: bearer.slice(15) },
      })
      assertRefused(reply, 405, undefined, 'method_not_allowed')
      assert.equal(reply.headers.allow, 'GET, HEAD')
    })
  }
  for (const [what, type, body] of [
    ['bad JSON', 'application/json', '{{{'],
    ['no JSON', 'application/json', ''],
    ['JSON with a prototype', 'application/json', '{"__proto__":{"allow":true}}'],
    ['an unknown type', 'text/weird', 'x'],
    ['a megabyte', 'application/json', ' '.repeat(1024 * 1024)],
  ] as const) {
    it(`is no internal error with a body of ${what}`, async () => {
      const before = service.log.length
      const reply = await ask(service, target, {
        method: 'POST',
        headers: { Authorization: bearer.slice(15), 'Content-Type': type, Connection: 'close' },
        body,
      })
      assertRefused(reply, 405, undefined, 'method_not_allowed')
      assert.deepEqual(
        service.log.slice(before).filter((line) => JSON.parse(line).level >= 40),
        [],
      )
    })
  }
  it('CONNECT is not answered at all', async () =>
    assert.equal(
      await exchange(
        service,
        `CONNECT verifier:443 HTTP/1.1\r\nHost: verifier\r\n${bearer}\r\n\r\n`,
      ),
      '',
    ))
  it('HEAD is answered as GET is', async () =>
    assertAllowed(
      await ask(service, target, { method: 'HEAD', headers: { Authorization: bearer.slice(15) } }),
    ))
})

describe('a health check', () => {
  for (const path of ['/livez', '/readyz', '/livez?x', '/readyz?policy=default']) {
    it(`is no verdict: ${path}`, async () => {
      const { status, headers } = await ask(service, path)
      assert.equal(status, 200)
      assert.deepEqual(
        Object.keys(headers).filter((name) => name.startsWith('x-')),
        [],
      )
    })
  }
  for (const path of [
    '/verify/livez',
    '/verify/readyz',
    '/ping',
    '/ready',
    '/healthz',
    '/metrics',
    '/oauth2/auth',
  ]) {
    it(`has no shortcut at ${path}`, async () => {
      const reply = await ask(service, path, { headers: { 'User-Agent': 'kube-probe/1.33' } })
      assert.equal(reply.status, 404)
      assert.equal(reply.headers['x-entra-auth-verdict'], 'deny')
    })
  }
})

describe('pipelined requests', () => {
  it('are answered each with its own verdict, in order', async () => {
    const good = `GET ${target} HTTP/1.1\r\nHost: v\r\n${bearer}\r\n\r\n`
    const bad = `GET ${target} HTTP/1.1\r\nHost: v\r\n\r\n`
    const reply = await exchange(service, good + bad + good + rawRequest(target))
    assert.deepEqual(
      [...reply.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => status),
      ['200', '401', '200', '401'],
    )
  })
  it('do not lend a token to the next request of the connection', async () => {
    const socket = await open(service)
    socket.end(`GET ${target} HTTP/1.1\r\nHost: v\r\n${bearer}\r\n\r\n${rawRequest(target)}`)
    let text = ''
    for await (const chunk of socket) text += chunk
    assert.match(text, /x-entra-auth-reason: no_credentials/i)
  })
})
