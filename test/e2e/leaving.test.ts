/** Clients that go away while the action waits for the verifier. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { type Stack, startStack } from './stack.ts'

const clients = 10

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
