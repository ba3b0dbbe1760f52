import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { after, before, beforeEach, describe, it } from 'node:test'
import { ask, bearer, values } from './client.ts'
import { allow, deny } from './fake-verifier.ts'
import { replacing, type Stack, startStack } from './stack.ts'

const guard = 'http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }'

/** Shows every variable to the client, on allowed requests and on refusals alike. */
const shown = [
  ...['ok', 'status', 'reason', 'policy', 'user', 'tenant', 'client', 'actor', 'token_id'],
  ...['cache', 'ms'],
]
const show = [
  ...shown.map((name) => `http-after-response set-header x-${name} %[var(txn.entra.${name})]`),
  'http-after-response set-header x-successful %[var(txn.auth_response_successful)]',
  'http-after-response set-header x-code %[var(txn.auth_response_code)]',
].join('\n    ')
const showing = replacing('monitor-uri /haproxy-livez', `monitor-uri /haproxy-livez\n    ${show}`)

describe('the variables', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack({ editConfig: showing, env: { ENTRA_AUTH_VARIABLES: 'all' } })
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  function variables(reply: Parameters<typeof values>[0]): Record<string, string | undefined> {
    const names = [...shown, 'successful', 'code']
    return Object.fromEntries(
      names.map((name) => [name, values(reply, `x-${name}`)[0] || undefined]),
    )
  }

  it('tell who it is after an allow', async () => {
    const { ms, ...rest } = variables(await stack.ask())
    assert.match(ms ?? '', /^\d+$/)
    assert.deepEqual(rest, {
      ok: '1',
      status: '200',
      reason: undefined,
      policy: 'orders',
      user: 'alice-oid',
      tenant: 'contoso-tid',
      client: 'client-appid',
      actor: 'user',
      token_id: 'token-uti',
      cache: 'miss',
      successful: '1',
      code: '200',
    })
  })

  it('tell the reason after a refusal, and nobody', async () => {
    stack.verifier.script = () => deny(403, 'role_missing')
    const { ms, ...rest } = variables(await stack.ask())
    assert.match(ms ?? '', /^\d+$/)
    assert.deepEqual(rest, {
      ok: '0',
      status: '403',
      reason: 'role_missing',
      policy: 'orders',
      user: undefined,
      tenant: undefined,
      client: undefined,
      actor: undefined,
      token_id: undefined,
      cache: 'miss',
      successful: '0',
      code: '403',
    })
  })

  it('are not carried over to the next request of a connection', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    try {
      const first = variables(await stack.ask({ agent }))
      assert.equal(first.user, 'alice-oid')
      stack.verifier.script = () => deny(401, 'token_expired')
      const second = variables(await stack.ask({ agent }))
      assert.equal(second.user, undefined)
      assert.equal(second.ok, '0')
      stack.verifier.script = () => allow({ 'X-Auth-Request-User': 'bob-oid' })
      const third = variables(await stack.ask({ agent }))
      assert.equal(third.user, 'bob-oid')
      assert.equal(third.tenant, undefined)
      assert.equal(third.reason, undefined)
    } finally {
      agent.destroy()
    }
  })

  it('write a log line with who and why, and no token', async () => {
    await stack.ask({ path: '/logged?access_token=secret' })
    const line = await stack.haproxy.waitForLog((one) => one.includes('path=/logged'))
    assert.match(line, / status=200 .* policy=orders actor=user tenant=contoso-tid user=alice-oid /)
    stack.verifier.script = () => deny(403, 'role_missing')
    await stack.ask({ path: '/refused' })
    const refused = await stack.haproxy.waitForLog((one) => one.includes('path=/refused'))
    assert.match(refused, / status=403 .* ok=0 .* reason=role_missing /)
    const all = stack.haproxy.logLines.join('\n')
    assert.doesNotMatch(all, /secret|some\.test\.token/)
  })

  it('log no line of their own for a call that went well', async () => {
    await stack.ask({ path: '/counted' })
    await stack.haproxy.waitForLog((one) => one.includes('path=/counted'))
    assert.deepEqual(
      stack.haproxy.logLines.filter((line) => line.includes('/verify/')),
      [],
    )
  })
})

describe('a choice of variables', () => {
  for (const [chosen, expected] of [
    [undefined, ['status', 'policy', 'user', 'cache']],
    ['none', []],
    ['user,auth_response', ['user', 'successful', 'code']],
  ] as const) {
    it(`sets no other: ${chosen ?? 'the default'}`, async () => {
      const stack = await startStack({
        editConfig: showing,
        env: chosen === undefined ? {} : { ENTRA_AUTH_VARIABLES: chosen },
      })
      try {
        const reply = await stack.ask()
        const names = ['status', 'policy', 'user', 'cache', 'successful', 'code']
        const there = names.filter((name) => values(reply, `x-${name}`)[0])
        assert.deepEqual(there, expected)
        assert.deepEqual(values(reply, 'x-ok'), ['1'])
        stack.verifier.script = () => deny(403, 'role_missing')
        assert.deepEqual(values(await stack.ask(), 'x-ok'), ['0'])
      } finally {
        await stack.stop()
      }
    })
  }
})

describe('the variables of two actions on one request', () => {
  it('are those of the last one', async () => {
    const stack = await startStack({
      editConfig: (text) =>
        showing(text).replace(
          guard,
          `${guard}\n    http-request lua.entra-auth-observe second\n    ${guard}`,
        ),
    })
    try {
      stack.verifier.script = (call) =>
        call.url === '/verify/orders' ? allow() : deny(403, 'role_missing')
      const reply = await stack.ask()
      assert.equal(reply.status, 503)
      assert.deepEqual(values(reply, 'x-user'), [''])
      assert.deepEqual(values(reply, 'x-policy'), ['second'])
      assert.equal(stack.app.requests.length, 0)
    } finally {
      await stack.stop()
    }
  })
})

describe('entra-auth-observe', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack({
      editConfig: (text) =>
        showing(text)
          .replace(
            'http-request lua.entra-auth orders',
            'http-request lua.entra-auth-observe orders',
          )
          .replace(
            guard,
            'http-request return status 418 if { var(txn.entra.reason) -m str role_missing }',
          ),
    })
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  it('leaves every answer to the rules of the configuration', async () => {
    stack.verifier.script = () => deny(403, 'role_missing')
    const reply = await stack.ask()
    assert.equal(reply.status, 418)
    assert.deepEqual(values(reply, 'x-status'), ['403'])
    stack.verifier.script = () => deny(401, 'token_expired')
    const other = await ask(stack.haproxy.port, { headers: [bearer] })
    assert.equal(other.status, 200)
    assert.deepEqual(values(other, 'x-ok'), ['0'])
  })

  it('sets no identity header', async () => {
    const reply = await stack.ask()
    assert.deepEqual(values(reply, 'x-user'), ['alice-oid'])
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.equal(seen.headers.filter(([name]) => /^x-auth-request/i.test(name)).length, 0)
  })
})
