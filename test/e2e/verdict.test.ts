import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { values } from './client.ts'
import { allow, alice, answer, deny } from './fake-verifier.ts'
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
    const seen = stack.app.requests[0]
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
})
