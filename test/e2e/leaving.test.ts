/** Clients that go away while the action waits for the verifier. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent } from 'node:http'
import * as http2 from 'node:http2'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { allow, deny } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

const clients = 10
const limit = 5

describe('clients that go away during a call', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack()
  })
  after(() => stack.stop())

  it('are logged as requests, not as errors, and admit nobody', async () => {
    stack.verifier.script = () => 'hang'
    for (let index = 1; index <= clients; index++) {
      const client = connect(stack.haproxy.port, '127.0.0.1')
      client.on('error', () => client.destroy())
      await once(client, 'connect')
      client.write(`GET / HTTP/1.1\r\nHost: app\r\nAuthorization: Bearer ${index}\r\n\r\n`)
      await eventually(
        () => stack.verifier.calls.length,
        (calls) => calls >= index,
      )
      client.destroy()
    }
    const { logLines } = stack.haproxy
    await eventually(
      () => logLines.filter((line) => line.startsWith('request_id=')).length,
      (lines) => lines === clients,
    )
    assert.deepEqual(
      logLines.filter((line) => /Lua function|aborted/.test(line)),
      [],
    )
    assert.equal(stack.app.requests.length, 0)
  })
})

describe('a source whose clients go away during calls', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack({
      env: { ENTRA_AUTH_BAD_TOKENS_PER_10S: String(limit), ENTRA_AUTH_FAST_LANE: 'off' },
    })
  })
  after(() => stack.stop())

  const untilCalled = (calls: number) =>
    eventually(
      () => stack.verifier.calls.length,
      (now) => now >= calls,
    )
  const from = (localAddress: string) =>
    connect({ port: stack.haproxy.port, host: '127.0.0.1', localAddress })
  const leave: Record<string, (index: number) => Promise<void>> = {
    async 'over HTTP/1.1'(index) {
      const client = from('127.0.0.2')
      client.on('error', () => client.destroy())
      await once(client, 'connect')
      client.write(`GET / HTTP/1.1\r\nHost: app\r\nAuthorization: Bearer ${index}\r\n\r\n`)
      await untilCalled(index)
      client.resetAndDestroy()
    },
    async 'by the reset of a stream of HTTP/2'(index) {
      const client = http2.connect('http://app', { createConnection: () => from('127.0.0.3') })
      client.on('error', () => client.destroy())
      const stream = client.request({ authorization: `Bearer ${index}` })
      stream.on('error', () => {})
      await untilCalled(index)
      stream.close(http2.constants.NGHTTP2_CANCEL)
      await once(stream, 'close')
      client.destroy()
    },
  }

  for (const [how, leaveOnce] of Object.entries(leave)) {
    it(`is one that sends bad tokens: ${how}`, async (t) => {
      stack.reset()
      const { logLines } = stack.haproxy
      const linesBefore = logLines.length
      let answerLate = () => {}
      stack.verifier.script = () =>
        new Promise((done) => {
          answerLate = () => done(deny(401, 'signature_invalid'))
        })
      for (let index = 1; index <= limit + 1; index++) {
        await leaveOnce(index)
        // HAProxy may not see that a client is gone; then it gets the answer.
        answerLate()
      }
      await eventually(
        () => logLines.slice(linesBefore).filter((line) => line.startsWith('request_id=')).length,
        (lines) => lines === limit + 1,
      )
      stack.verifier.script = () => allow()
      const localAddress = how.includes('HTTP/2') ? '127.0.0.3' : '127.0.0.2'
      const agent = new Agent({ localAddress })
      t.after(() => agent.destroy())
      let asked = 0
      // HAProxy may count the last one a moment later. A token of its own: an allow in the cache needs no call.
      await eventually(
        async () => {
          const token = ['Authorization', `Bearer ${localAddress}-${asked++}`] as const
          return (await stack.ask({ agent, headers: [token] })).status
        },
        (status) => status === 429,
      )
      assert.equal((await stack.ask()).status, 200)
    })
  }
})
