import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { ask, askRaw, bearer, values } from './client.ts'
import { alice, allow, allowHeaders, answer, deny } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

describe('the verdict', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  it('lets an allowed request through with the identity of the verifier', async () => {
    const reply = await stack.ask({ path: '/orders?id=1' })
    assert.equal(reply.status, 200)
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.equal(seen.url, '/orders?id=1')
    assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
    assert.deepEqual(values(seen, 'x-auth-request-tenant'), ['contoso-tid'])
  })

  it('does not set an identity header that is empty in the answer', async () => {
    await stack.ask()
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.deepEqual(values(seen, 'x-auth-request-roles'), [])
  })

  it('sets no header of the answer but the listed ones', async () => {
    stack.verifier.script = () =>
      answer(200, [...allowHeaders(), ['X-Other', 'x'], ['Set-Cookie', 'a=b']])
    const reply = await stack.ask()
    assert.equal(reply.status, 200)
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.deepEqual(values(seen, 'x-other'), [])
    assert.deepEqual(values(seen, 'set-cookie'), [])
    assert.equal(seen.headers.filter(([name]) => /^x-entra-auth/i.test(name)).length, 0)
    assert.deepEqual(values(reply, 'x-other'), [])
  })

  it('sets the names that the verifier manages, whatever they are', async () => {
    stack.verifier.script = () =>
      answer(200, [
        ['X-Entra-Auth-Verdict', 'allow'],
        ['X-Entra-Auth-Contract', '1'],
        ['X-Entra-Auth-Headers', ' Remote-User ,Remote-Name,'],
        ['Remote-User', 'alice'],
        ['Remote-Name', ''],
      ])
    const reply = await stack.ask({
      headers: [bearer, ['Remote-User', 'eve'], ['Remote-Name', 'eve']],
    })
    assert.equal(reply.status, 200)
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.deepEqual(values(seen, 'remote-user'), ['alice'])
    assert.deepEqual(values(seen, 'remote-name'), [])
  })

  for (const [status, reason] of [
    [400, 'malformed_credentials'],
    [401, 'token_expired'],
    [403, 'role_missing'],
  ] as const) {
    it(`repeats a refusal with ${status} word for word`, async () => {
      const challenge = `Bearer realm="orders", error="x", resource_metadata="https://app.example/.well-known/x"`
      stack.verifier.script = () => deny(status, reason, [challenge])
      const reply = await stack.ask()
      assert.equal(reply.status, status)
      assert.deepEqual(values(reply, 'www-authenticate'), [challenge])
      assert.deepEqual(values(reply, 'x-entra-auth-reason'), [reason])
      assert.deepEqual(values(reply, 'cache-control'), ['no-store'])
      assert.match(values(reply, 'content-type')[0] ?? '', /^application\/json/)
      assert.equal(JSON.parse(reply.body).from, 'verifier')
      assert.equal(stack.app.requests.length, 0)
    })
  }

  it('keeps two challenges two lines', async () => {
    const challenges = [
      'Bearer realm="a", error="invalid_token"',
      'Bearer realm="b", claims="e30="',
    ]
    stack.verifier.script = () => deny(401, 'step_up_possible', challenges)
    const reply = await stack.ask()
    assert.deepEqual(values(reply, 'www-authenticate'), challenges)
  })

  it('repeats nothing of a refusal but what a client needs', async () => {
    const more = ['Set-Cookie', 'Location', 'Content-Encoding', 'X-Entra-Auth-Version', 'Server']
    stack.verifier.script = () =>
      deny(
        401,
        'token_expired',
        ['Bearer realm="x"'],
        more.flatMap((name) => [[name, 'a=1'] as const, [name, 'b=2'] as const]),
      )
    const reply = await stack.ask()
    const names = reply.headers.map(([name]) => name).filter((name) => name !== 'connection')
    assert.deepEqual(names.sort(), [
      ...['cache-control', 'content-length', 'content-type', 'www-authenticate'],
      'x-entra-auth-reason',
    ])
  })

  it('writes a body of its own when the one of the verifier is too large or no JSON', async () => {
    const headers = [
      ['X-Entra-Auth-Reason', 'token_expired'],
      ['Content-Type', 'application/json'],
    ] as const
    const html = [
      ['X-Entra-Auth-Reason', 'token_expired'],
      ['Content-Type', 'text/html'],
    ] as const
    for (const said of [
      answer(401, headers, `"${'x'.repeat(9000)}"`),
      answer(401, html, '<html>'),
    ]) {
      stack.verifier.script = () => said
      const reply = await stack.ask()
      assert.equal(reply.status, 401)
      const body = JSON.parse(reply.body)
      assert.equal(body.reason, 'token_expired')
      assert.equal(body.policy, 'orders')
      assert.match(body.request_id, /^[\w-]+$/)
    }
  })

  it('asks the verifier for the challenge when there are no credentials', async () => {
    stack.verifier.script = () => deny(401, 'no_credentials', ['Bearer realm="orders"'])
    const reply = await stack.ask({ headers: [] })
    assert.equal(reply.status, 401)
    assert.deepEqual(values(reply, 'www-authenticate'), ['Bearer realm="orders"'])
    assert.equal(stack.verifier.calls.length, 1)
    const [call] = stack.verifier.calls
    assert.ok(call)
    assert.deepEqual(values(call, 'authorization'), [])
  })

  it('refuses two Authorization headers without a call', async () => {
    const two = [bearer, ['authorization', 'Bearer other.token']] as const
    const reply = await stack.ask({ headers: two })
    assert.equal(reply.status, 400)
    assert.equal(JSON.parse(reply.body).reason, 'ambiguous_credentials')
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['ambiguous_credentials'])
    assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
  })

  it('refuses an empty Authorization header without a call', async () => {
    const reply = await stack.ask({ headers: [['Authorization', '']] })
    assert.equal(reply.status, 400)
    assert.equal(JSON.parse(reply.body).reason, 'malformed_credentials')
    assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
  })

  it('refuses an Authorization header with bytes that are not printable ASCII', async () => {
    for (const bad of ['Bearer a\tb', 'Bearer a\x80b', 'Bearer a\x7fb']) {
      const head = `GET / HTTP/1.1\r\nHost: app.example\r\nAuthorization: ${bad}\r\n\r\n`
      const text = await askRaw(stack.haproxy.port, Buffer.from(head, 'latin1'))
      assert.match(text, /^HTTP\/1.1 400 /)
    }
    assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
  })

  for (const [what, byte, status] of [
    ['that grow when they are encoded', '!', /^HTTP\/1.1 200 /],
    ['that are not printable', '\x01', /^HTTP\/1.1 400 /],
    ['beyond ASCII', '\xff', /^HTTP\/1.1 400 /],
  ] as const) {
    it(`judges 12,000 bytes ${what} as it does one of them`, async () => {
      const head = `GET / HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer ${byte.repeat(12_000)}\r\n\r\n`
      assert.match(await askRaw(stack.haproxy.port, Buffer.from(head, 'latin1')), status)
    })
  }

  it('forwards a token of 16 KiB and refuses a longer one without a call', async () => {
    const longest = `Bearer ${'a'.repeat(16384)}`
    const fine = await stack.ask({ headers: [['Authorization', longest]] })
    assert.equal(fine.status, 200)
    assert.deepEqual(
      stack.verifier.calls.map((call) => values(call, 'authorization')),
      [[longest]],
    )
    stack.reset()
    const reply = await stack.ask({ headers: [['Authorization', `${longest}a`]] })
    assert.equal(reply.status, 401)
    assert.equal(JSON.parse(reply.body).reason, 'token_too_long')
    assert.match(
      values(reply, 'www-authenticate')[0] ?? '',
      /^Bearer realm="entra-id", error="invalid_token"/,
    )
    assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
  })

  it('answers 503 with the reason and patience of the verifier', async () => {
    stack.verifier.script = () => deny(503, 'keys_unavailable', [], [['Retry-After', '17']])
    const reply = await stack.ask()
    assert.equal(reply.status, 503)
    assert.deepEqual(values(reply, 'retry-after'), ['17'])
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['keys_unavailable'])
    assert.equal(stack.app.requests.length, 0)
  })

  it('answers 500 for a policy that the verifier does not know', async () => {
    stack.verifier.script = () => deny(404, 'unknown_policy')
    const reply = await stack.ask()
    assert.equal(reply.status, 500)
    assert.equal(JSON.parse(reply.body).reason, 'unknown_policy')
    await stack.haproxy.waitForLog((line) => line.includes('has no policy orders'))
    assert.equal(stack.app.requests.length, 0)
  })

  for (const [what, said, logged] of [
    ['the verifier does not accept the caller key', deny(403, 'caller_not_allowed'), 'caller key'],
    ['the method is not accepted', deny(405, 'method_not_allowed'), 'answers 405'],
    ['the path is not known', answer(404), 'answers 404'],
    [
      'a refusal has another contract',
      answer(401, [
        ['X-Entra-Auth-Reason', 'x'],
        ['X-Entra-Auth-Contract', '7'],
      ]),
      'contract 7',
    ],
  ] as const) {
    it(`answers 500 and says in the log why when ${what}`, async () => {
      // A process of its own: lines of one kind are written once in ten seconds.
      const own = await startStack()
      try {
        own.verifier.script = () => said
        const reply = await own.ask()
        assert.equal(reply.status, 500)
        assert.equal(JSON.parse(reply.body).reason, 'bad_setup')
        assert.equal(own.app.requests.length, 0)
        await own.haproxy.waitForLog((line) => line.includes(logged))
      } finally {
        await own.stop()
      }
    })
  }

  for (const [contract, logged] of [
    [undefined, 'upgrade the verifier'],
    ['0', 'upgrade the verifier'],
    ['2', 'upgrade entra-auth.lua'],
  ] as const) {
    it(`refuses an allow of contract ${contract ?? '(none)'} and says which side to upgrade`, async () => {
      const own = await startStack()
      try {
        const rest = allowHeaders().filter(([name]) => name !== 'X-Entra-Auth-Contract')
        own.verifier.script = () =>
          answer(
            200,
            contract === undefined ? rest : [...rest, ['X-Entra-Auth-Contract', contract]],
          )
        const reply = await own.ask()
        assert.equal(reply.status, 500)
        assert.equal(JSON.parse(reply.body).reason, 'bad_setup')
        assert.equal(own.app.requests.length, 0)
        await own.haproxy.waitForLog((line) => line.includes(logged))
        await own.ask()
        const lines = own.haproxy.logLines.filter((line) => line.includes(logged))
        // One thread or two may have answered; each writes it once.
        assert.ok(lines.length <= 2, lines.join('\n'))
      } finally {
        await own.stop()
      }
    })
  }

  it('admits a request of a policy on probation without an identity', async () => {
    stack.verifier.script = () =>
      answer(200, [...allowHeaders(), ['X-Entra-Auth-Report', 'role_missing']])
    const reply = await stack.ask({ path: '/probation' })
    assert.equal(reply.status, 200)
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.equal(seen.headers.filter(([name]) => /^x-auth-request/i.test(name)).length, 0)
    const line = await stack.haproxy.waitForLog((one) => one.includes('path=/probation'))
    assert.match(line, / ok=1 .* reason=role_missing /)
  })

  it('allows a hundred requests and refuses a hundred in a row', async () => {
    for (let index = 0; index < 100; index++) {
      assert.equal((await ask(stack.haproxy.port)).status, 200)
    }
    assert.equal(stack.app.requests.length, 100)
    stack.verifier.script = () => deny(403, 'role_missing')
    for (let index = 0; index < 100; index++) {
      assert.equal((await ask(stack.haproxy.port)).status, 403)
    }
    assert.equal(stack.app.requests.length, 100)
  })

  it('gives each of many requests at once its own verdict', async () => {
    stack.verifier.script = (call) => {
      const token = values(call, 'authorization')[0] ?? ''
      const id = token.slice('Bearer '.length)
      return Number(id) % 2 === 0
        ? allow({ ...alice, 'X-Auth-Request-User': id })
        : deny(403, 'role_missing')
    }
    const replies = await Promise.all(
      Array.from({ length: 200 }, (_, id) =>
        ask(stack.haproxy.port, { headers: [['Authorization', `Bearer ${id}`]] }),
      ),
    )
    for (const [id, reply] of replies.entries()) {
      assert.equal(reply.status, id % 2 === 0 ? 200 : 403)
      if (id % 2 === 0) {
        assert.deepEqual(values(JSON.parse(reply.body), 'x-auth-request-user'), [String(id)])
      }
    }
    assert.equal(stack.app.requests.length, 100)
  })
})
