import assert from 'node:assert/strict'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { allow } from '../e2e/fake-verifier.ts'
import { startStack } from '../e2e/stack.ts'
import { eventually } from '../support/eventually.ts'
import { createLane } from './lane.ts'
import { waitingLong, waitingLongEnv } from './native-application.ts'

/** `maxconn` of the frontend that ships. */
const clients = 1500

describe('as many clients as HAProxy takes', () => {
  it('do not keep the calls of the action from their connections', async (t) => {
    // An application that answers nobody before everybody is there.
    const held: ServerResponse[] = []
    const server = createServer((_request, response) => held.push(response))
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    t.after(() => {
      server.closeAllConnections()
      server.close()
    })
    const stack = await startStack({
      editConfig: waitingLong,
      env: {
        ...waitingLongEnv,
        // All come from one address, and none is known yet.
        ENTRA_AUTH_MAX_CALLS: String(clients),
        ENTRA_AUTH_MAX_CALLS_PER_SOURCE: String(clients),
        ENTRA_AUTH_APP_SERVER: `127.0.0.1:${(server.address() as AddressInfo).port}`,
      },
    })
    t.after(() => stack.stop())
    stack.verifier.script = () => new Promise((done) => setTimeout(() => done(allow()), 50))

    const lanes = Array.from({ length: clients }, () => createLane(stack.haproxy.port))
    t.after(() => {
      for (const lane of lanes) lane.close()
    })
    // The second time, over connections that are all there already.
    for (const round of [1, 2]) {
      const answers = Promise.all(lanes.map((lane, index) => lane.ask(`${round}.${index}`)))
      await eventually(
        () => held.length,
        (count) => count === clients,
        40_000,
      )
      for (const response of held.splice(0)) response.end('x')
      const statuses = new Set((await answers).map(({ status }) => status))
      assert.deepEqual([...statuses], [200])
      assert.equal(stack.verifier.calls.length, round * clients)
    }
  })
})
