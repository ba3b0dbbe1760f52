import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { askRaw, bearer, values } from './client.ts'
import { allow, allowPrepared, type Call } from './fake-verifier.ts'
import { replacing, type Stack, startStack } from './stack.ts'

describe('the call of the verifier', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack({ env: { ENTRA_AUTH_CALLER_KEY: 'caller-key-of-this-test' } })
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  function onlyCall(): Call {
    assert.equal(stack.verifier.calls.length, 1)
    const [call] = stack.verifier.calls
    assert.ok(call)
    return call
  }

  it('is a GET of the policy with a fixed handful of headers, and no body', async () => {
    await stack.ask({
      method: 'POST',
      path: '/a/b?token=secret',
      body: 'body=1',
      headers: [
        bearer,
        ['Cookie', 'session=1'],
        ['Accept-Encoding', 'gzip'],
        ['TE', 'trailers'],
        ['Expect', 'nothing'],
        ['X-Forwarded-For', '192.0.2.1'],
        ['X-Forwarded-Uri', '/other'],
        ['Connection', 'keep-alive, x-custom'],
        ['Proxy-Authorization', 'Basic x'],
        ['X-Entra-Auth-Contract', '0'],
        ['X-Custom', 'x'],
        ['traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
      ],
    })
    const call = onlyCall()
    assert.equal(call.method, 'GET')
    assert.equal(call.url, '/verify/orders')
    const sent = Object.fromEntries(
      call.headers.map(([name, value]) => [name.toLowerCase(), value]),
    )
    const id = sent['x-request-id']
    assert.match(id ?? '', /^[\w-]{10,}$/)
    assert.equal(sent.host, stack.haproxy.verifierSection)
    // What HAProxy's client adds by itself.
    for (const own of ['user-agent', 'accept', 'host']) delete sent[own]
    assert.deepEqual(sent, {
      authorization: bearer[1],
      'x-entra-auth-contract': '1',
      'x-entra-auth-prepared': '2',
      'x-entra-auth-key': 'caller-key-of-this-test',
      'x-forwarded-method': 'POST',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'app.example',
      'x-forwarded-uri': '/a/b',
      'x-forwarded-for': '127.0.0.1',
      'x-request-id': id,
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    })
    assert.equal(call.headers.length, new Set(call.headers.map(([name]) => name)).size)
  })

  it('has the request id that the application and the log get', async () => {
    await stack.ask({ path: '/id', headers: [bearer, ['X-Request-Id', 'of-the-client']] })
    const [seen] = stack.app.requests
    assert.ok(seen)
    const [id = ''] = values(onlyCall(), 'x-request-id')
    assert.notEqual(id, 'of-the-client')
    assert.deepEqual(values(seen, 'x-request-id'), [id])
    const line = await stack.haproxy.waitForLog((one) => one.includes('path=/id '))
    assert.ok(line.startsWith(`request_id=${id} `), line)
  })

  it('leaves out a traceparent that is not one', async () => {
    for (const bad of ['garbage', '00-xyz-1-01', `00-${'a'.repeat(200)}-b-01`, '00-a b-c-01']) {
      stack.reset()
      await stack.ask({ headers: [bearer, ['traceparent', bad]] })
      assert.deepEqual(values(onlyCall(), 'traceparent'), [])
    }
  })

  it('cuts what is only for the log', async () => {
    await stack.ask({ path: `/${'p'.repeat(5000)}` })
    assert.equal(values(onlyCall(), 'x-forwarded-uri')[0]?.length, 1024)
  })

  it('keeps its connections', async () => {
    for (let index = 0; index < 50; index++) await stack.ask()
    assert.equal(stack.verifier.calls.length, 50)
    const connections = new Set(stack.verifier.calls.map((call) => call.connection))
    assert.ok(connections.size <= 8, `${connections.size} connections for 50 calls`)
  })

  it('survives a client with 98 headers', async () => {
    const many = Array.from({ length: 96 }, (_, index) => `X-Many-${index}: v\r\n`).join('')
    const text = await askRaw(
      stack.haproxy.port,
      `GET / HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer t\r\n${many}\r\n`,
    )
    assert.match(text, /^HTTP\/1.1 200 /)
    assert.ok(stack.haproxy.isRunning())
    assert.equal(onlyCall().headers.filter(([name]) => /^x-many/i.test(name)).length, 0)
  })
})

describe('the call of the verifier in other set-ups', () => {
  it('leaves out a request id that is not one', async () => {
    const keepsClientId = replacing('http-request set-header x-request-id %[unique-id]', '')
    const stack = await startStack({ editConfig: keepsClientId })
    try {
      for (const bad of ['a b', '"quoted"', 'a'.repeat(129), '<script>']) {
        await stack.ask({ headers: [bearer, ['X-Request-Id', bad]] })
      }
      await stack.ask({ headers: [bearer, ['X-Request-Id', 'good-1']] })
      const ids = stack.verifier.calls.map((call) => values(call, 'x-request-id')[0])
      assert.deepEqual(ids, [undefined, undefined, undefined, undefined, 'good-1'])
    } finally {
      await stack.stop()
    }
  })

  it('says the same in one header to a verifier that prepares its answers', async (t) => {
    const stack = await startStack({
      // Each thread learns it for itself.
      editConfig: replacing('zero-warning', 'zero-warning\n    nbthread 1'),
    })
    t.after(() => stack.stop())
    const said = async (answer: string) => {
      stack.reset()
      stack.verifier.script = () => answer
      await stack.ask({ method: 'PUT', path: '/a/b?token=secret' })
      const call = stack.verifier.calls[0]
      assert.ok(call)
      const usual = ['method', 'proto', 'host', 'uri', 'for'].flatMap((name) =>
        values(call, `x-forwarded-${name}`),
      )
      return { usual, prepared: values(call, 'x-entra-auth-prepared') }
    }
    const inMany = { usual: ['PUT', 'http', 'app.example', '/a/b', '127.0.0.1'], prepared: ['2'] }
    const inOne = { usual: [], prepared: ['2\tPUT\tapp.example\t/a/b\t127.0.0.1'] }
    assert.deepEqual(await said(allowPrepared()), inMany)
    assert.deepEqual(await said(allowPrepared()), inOne)
    // As after a change of the verifier to a version before.
    assert.deepEqual(await said(allow()), inOne)
    assert.deepEqual(await said(allow()), inMany)
  })

  it('takes the name of the backend as the policy with entra-auth-backend', async () => {
    const stack = await startStack({
      editConfig: replacing(
        'http-request lua.entra-auth orders',
        'http-request lua.entra-auth-backend',
      ),
    })
    try {
      const reply = await stack.ask()
      assert.equal(reply.status, 200)
      assert.deepEqual(
        stack.verifier.calls.map((call) => call.url),
        ['/verify/orders'],
      )
    } finally {
      await stack.stop()
    }
  })

  it('encodes what is no plain character of a path in a policy', async () => {
    const stack = await startStack({
      editConfig: replacing('lua.entra-auth orders', 'lua.entra-auth "../a b?c#d%2e"'),
    })
    try {
      await stack.ask()
      assert.deepEqual(
        stack.verifier.calls.map((call) => call.url),
        ['/verify/..%2Fa%20b%3Fc%23d%252e'],
      )
    } finally {
      await stack.stop()
    }
  })
})
