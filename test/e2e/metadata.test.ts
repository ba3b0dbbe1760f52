import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { values } from './client.ts'
import { answer, deny } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

const path = '/.well-known/oauth-protected-resource/orders'

describe('the metadata of RFC 9728', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack.stop())
  beforeEach(() => {
    stack.reset()
    stack.verifier.script = (call) =>
      call.url.startsWith('/.well-known')
        ? answer(200, [['Content-Type', 'application/json']], '{"resource":"x"}')
        : deny(401, 'no_credentials')
  })

  it('comes from the verifier without a token', async () => {
    const reply = await stack.ask({ path, headers: [] })
    assert.equal(reply.status, 200)
    assert.equal(reply.body, '{"resource":"x"}')
    assert.equal(stack.app.requests.length, 0)
  })

  it('is asked for without the credentials of the client', async () => {
    await stack.ask({
      path,
      headers: [
        ['Authorization', 'Bearer t'],
        ['Cookie', 'a=b'],
        ['X-Entra-Auth-Key', 'k'],
      ],
    })
    const [call] = stack.verifier.calls
    assert.ok(call)
    for (const name of ['authorization', 'cookie', 'x-entra-auth-key']) {
      assert.deepEqual(values(call, name), [])
    }
  })

  it('is only read', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD']) {
      const reply = await stack.ask({ path, method, headers: [] })
      assert.equal(reply.status, 405)
    }
    assert.equal((await stack.ask({ path, body: 'x', headers: [] })).status, 400)
    assert.equal(stack.verifier.calls.length, 0)
  })

  it('is at exactly that path; every other one is verified', async () => {
    for (const other of [
      `${path}/`,
      `${path}/../../../verify/orders`,
      `/${path}`,
      path.toUpperCase(),
      `${path}%2f`,
      '/.well-known/oauth-protected-resource',
      '/verify/orders',
      '/revocations',
      '/readyz',
      '/livez',
    ]) {
      stack.verifier.calls.length = 0
      const reply = await stack.ask({ path: other, headers: [] })
      assert.equal(reply.status, 401, other)
      assert.deepEqual(
        stack.verifier.calls.map((call) => call.url),
        ['/verify/orders'],
        other,
      )
    }
    assert.equal(stack.app.requests.length, 0)
  })
})
