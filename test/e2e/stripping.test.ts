import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { askRaw, bearer, values } from './client.ts'
import { allow } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

describe('identity headers of the client', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  /** What some application or its server reads as x-auth-request-user or an Entra header. */
  const spellings = [
    'X-Auth-Request-User',
    'x-auth-request-user',
    'X-AUTH-REQUEST-USER',
    'X_Auth_Request_User',
    'X-Auth_Request-User',
    'X_AUTH_REQUEST-USER',
    'X.Auth.Request.User',
    'x~auth!request^user',
    'X-Auth-Request-Groups',
    'X_Auth_Request_Groups',
    'X-Auth-Request-Anything-New',
    'X-Auth-Request',
    'X-Entra-Auth-Verdict',
    'X_Entra_Auth_User',
    'X-Entra-Auth-Key',
    'x.entra.auth.report',
  ]

  for (const spelling of spellings) {
    it(`never reach the application as ${spelling}`, async () => {
      const reply = await stack.ask({ headers: [bearer, [spelling, 'eve'], [spelling, 'eve2']] })
      assert.equal(reply.status, 200)
      const [seen] = stack.app.requests
      assert.ok(seen)
      assert.equal(seen.headers.filter(([, value]) => value.includes('eve')).length, 0)
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
    })
  }

  it('are gone also where the verifier returns no value for them', async () => {
    stack.verifier.script = () => allow({ 'X-Auth-Request-User': '', 'X-Auth-Request-Groups': '' })
    await stack.ask({
      headers: [bearer, ['X-Auth-Request-User', 'eve'], ['x-auth-request-groups', 'admins']],
    })
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.equal(seen.headers.filter(([name]) => /^x.auth/i.test(name)).length, 0)
  })

  it('are gone also over HTTP/1.0 and with blanks around the value', async () => {
    const text = await askRaw(
      stack.haproxy.port,
      'GET / HTTP/1.0\r\nAuthorization: Bearer t\r\nX-Auth-Request-User:   eve  \r\n\r\n',
      () => false,
    )
    assert.match(text, / 200 /)
    assert.ok(!text.includes('eve'))
  })

  for (const head of [
    'X-Auth-Request-User : eve',
    ' X-Auth-Request-User: eve',
    'X-Auth-Request-User\t: eve',
    'X-Auth-Request-User\0: eve',
  ]) {
    it(`do not slip through a parser: ${JSON.stringify(head)}`, async () => {
      const text = await askRaw(
        stack.haproxy.port,
        `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\n${head}\r\n\r\n`,
      )
      assert.match(text, /^HTTP\/1.1 (200|400) /)
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
        assert.equal(seen.headers.filter(([name]) => /eve|user\s|\0/i.test(name)).length, 0)
      }
    })
  }

  for (const connection of [
    'X-Auth-Request-User',
    'keep-alive, X-Auth-Request-User, X-Auth-Request-Tenant',
    'close, x-request-id',
  ]) {
    it(`cannot be taken away again by "Connection: ${connection}"`, async () => {
      const text = await askRaw(
        stack.haproxy.port,
        `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\nConnection: ${connection}\r\n\r\n`,
      )
      assert.match(text, /^HTTP\/1.1 200 /)
      const [seen] = stack.app.requests
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      const left = values(seen, 'connection').join()
      assert.doesNotMatch(left, /x-auth|x-request/i)
    })
  }

  it('leave the headers of others alone', async () => {
    const others = [
      ['X-Auth-Token', 'a'],
      ['X-Authentication-Request', 'b'],
      ['My-X-Auth-Request-Note', 'c'],
      ['X-Entra-Tenant', 'd'],
      ['Cookie', 'session=1'],
    ] as const
    await stack.ask({ headers: [bearer, ...others] })
    const [seen] = stack.app.requests
    assert.ok(seen)
    for (const [name, value] of others) assert.deepEqual(values(seen, name), [value])
    assert.deepEqual(values(seen, 'authorization'), [bearer[1]])
  })
})
