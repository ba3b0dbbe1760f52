import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type Reply, values } from './client.ts'
import { alice, allow, type Identity } from './fake-verifier.ts'
import { replacing, type Stack, startStack } from './stack.ts'

function guid(index: number): string {
  return `${index.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`
}

function withGroups(count: number): Identity {
  const groups = Array.from({ length: count }, (_, index) => guid(index)).join(',')
  return { ...alice, 'X-Auth-Request-Groups': groups, 'X-Auth-Request-Name': 'Alice' }
}

/** Either everything that the verifier said reached the application, or nothing reached it. */
function assertWholeOrRefused(stack: Stack, reply: Reply, identity: Identity, what: string): void {
  if (reply.status !== 200) {
    assert.ok([500, 503].includes(reply.status), `${what}: status ${reply.status}`)
    assert.equal(stack.app.requests.length, 0, what)
    return
  }
  const [seen] = stack.app.requests
  assert.ok(seen, what)
  for (const [name, value] of Object.entries(identity)) {
    assert.deepEqual(values(seen, name), value === '' ? [] : [value], `${what}: ${name}`)
  }
}

describe('a large identity', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  it('arrives whole: a token of 12 KB and 200 groups', async () => {
    const identity = withGroups(200)
    stack.verifier.script = () => allow(identity)
    const reply = await stack.ask({ headers: [['Authorization', `Bearer ${'t'.repeat(12_000)}`]] })
    assert.equal(reply.status, 200)
    assertWholeOrRefused(stack, reply, identity, '12 KB and 200 groups')
  })

  it('arrives whole: a token of 16 KiB and 200 groups', async () => {
    const identity = withGroups(200)
    stack.verifier.script = () => allow(identity)
    const reply = await stack.ask({ headers: [['Authorization', `Bearer ${'t'.repeat(16_384)}`]] })
    assert.equal(reply.status, 200)
    assertWholeOrRefused(stack, reply, identity, '16 KiB and 200 groups')
  })

  it('is rejected permanently with buffers of the default size, not "try again"', async () => {
    const own = await startStack({
      editConfig: (text) => text.replace(/^ *tune\.(bufsize|maxrewrite).*$/gm, ''),
    })
    try {
      const reply = await own.ask({ headers: [['Authorization', `Bearer ${'t'.repeat(15_000)}`]] })
      assert.equal(reply.status, 500)
      assert.equal(JSON.parse(reply.body).reason, 'token_does_not_fit')
      assert.deepEqual(values(reply, 'retry-after'), [])
      await own.haproxy.waitForLog((line) => /15\d{3} bytes does not fit.*tune\.bufsize/.test(line))
    } finally {
      await own.stop()
    }
  })

  it('arrives whole when the body of a POST fills the buffer', async () => {
    const identity = withGroups(200)
    stack.verifier.script = () => allow(identity)
    const body = 'b'.repeat(500_000)
    const reply = await stack.ask({
      method: 'POST',
      body,
      headers: [['Authorization', `Bearer ${'t'.repeat(12_000)}`]],
    })
    assert.equal(reply.status, 200)
    assertWholeOrRefused(stack, reply, identity, 'with a body')
    assert.equal(stack.app.requests[0]?.body.length, body.length)
  })
})

describe('an identity of any size', () => {
  for (const [where, edit] of Object.entries({
    'the shipped buffers': undefined,
    'buffers that nobody adapted': (text: string) =>
      text.replace('tune.bufsize 32768', '').replace('tune.maxrewrite 12288', ''),
    'small reserves': replacing('tune.maxrewrite 12288', 'tune.maxrewrite 2048'),
  })) {
    it(`arrives whole or not at all, with ${where}`, async () => {
      const stack = await startStack(edit ? { editConfig: edit } : {})
      let whole = 0
      let refused = 0
      try {
        // Longer ones do not fit into the head of a default buffer, which HAProxy may cut off at once.
        for (let tokenSize = 1_000; tokenSize < 15_000; tokenSize += 1_250) {
          for (const groups of [1, 20, 60, 110, 150, 200, 300, 500]) {
            const identity = withGroups(groups)
            stack.reset()
            stack.verifier.script = () => allow(identity)
            const isPost = groups % 20 === 0
            const reply = await stack.ask({
              ...(isPost ? { method: 'POST', body: 'b'.repeat(60_000) } : {}),
              headers: [['Authorization', `Bearer ${'t'.repeat(tokenSize)}`]],
            })
            assertWholeOrRefused(stack, reply, identity, `${tokenSize} bytes, ${groups} groups`)
            if (reply.status === 200) whole++
            else refused++
          }
        }
      } finally {
        await stack.stop()
      }
      // Both happen, or this test looks at nothing.
      assert.ok(whole > 10 && refused > 5, `${whole} whole, ${refused} refused`)
    })
  }

  it('is refused with a reason and a log line when it does not fit', async () => {
    const stack = await startStack({
      editConfig: replacing('tune.maxrewrite 12288', 'tune.maxrewrite 2048'),
    })
    try {
      stack.verifier.script = () => allow(withGroups(300))
      const token = `Bearer ${'t'.repeat(16_000)}`
      const reply = await stack.ask({
        method: 'POST',
        body: 'b'.repeat(60_000),
        headers: [['Authorization', token]],
      })
      assert.equal(reply.status, 500)
      assert.equal(JSON.parse(reply.body).reason, 'identity_incomplete')
      assert.equal(stack.app.requests.length, 0)
      await stack.haproxy.waitForLog((line) => line.includes('raise tune.maxrewrite'))
    } finally {
      await stack.stop()
    }
  })
})
