import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { shippedConfig, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { eventually } from '../support/eventually.ts'
import { type Authority, contoso, ordersId, startAuthority } from './authority.ts'
import { startLoad } from './load.ts'
import {
  type Life,
  makeFolder,
  type ServiceProcess,
  startService,
  untilReady,
  verify,
} from './process.ts'

async function startForOrders(t: Life, authority: Authority, port?: number) {
  const file = join(makeFolder(t), 'config.yaml')
  writeFileSync(
    file,
    `
tenants: { contoso: { id: ${contoso}, authority: ${authority.origin} } }
policies:
  orders: { audiences: [${ordersId}], allow: [{ actor: user, scopes: [Orders.Read] }] }
`,
  )
  const options = port === undefined ? {} : { port }
  const service = await startService(t, { ENTRA_AUTH_CONFIG: file }, options)
  await untilReady(service)
  return service
}

/** The shipped HAProxy with both servers that its comment shows. */
async function startHaproxyWithTwo(t: Life, first: ServiceProcess, second: ServiceProcess) {
  const shipped = readFileSync(shippedConfig, 'utf8')
  const config = shipped.replace(/# server v2 .*/, `server v2 ${second.address}`)
  assert.notEqual(config, shipped)
  const file = join(makeFolder(t), 'haproxy.cfg')
  writeFileSync(file, config)
  const app = await startEchoApp()
  t.after(() => app.stop())
  const haproxy = await startHaproxy({
    verifier: first.address,
    application: app.address,
    configs: [file],
  })
  t.after(() => haproxy.stop())
  return haproxy
}

test('a rolling restart behind HAProxy loses no request', async (t) => {
  const authority = await startAuthority(t)
  const first = await startForOrders(t, authority)
  const second = await startForOrders(t, authority)
  const haproxy = await startHaproxyWithTwo(t, first, second)
  // A token for each request: none comes out of a cache.
  const load = startLoad({
    clients: 8,
    url: () => `${haproxy.origin}/orders`,
    token: () => authority.token('alice'),
  })
  await load.more(100)
  first.kill('SIGTERM')
  assert.deepEqual(await first.exited, { code: 0, signal: null })
  await load.more(100)
  const successor = await startForOrders(t, authority, Number(new URL(first.origin).port))
  await load.more(100)
  second.kill('SIGTERM')
  assert.deepEqual(await second.exited, { code: 0, signal: null })
  await load.more(100)
  await load.end()
  assert.deepEqual([...load.results.keys()], ['200'])
  assert.equal((await verify(successor, await authority.token('alice'), 'orders')).status, 200)
})

test('SIGTERM turns readiness red first, and goes on answering over kept connections', async (t) => {
  const authority = await startAuthority(t)
  const service = await startForOrders(t, authority)
  const token = await authority.token('alice')
  service.kill('SIGTERM')
  const health = await eventually(
    () => fetch(`${service.origin}/readyz`),
    ({ status }) => status === 503,
  )
  assert.equal(((await health.json()) as { status: string }).status, 'stopping')
  const { status, headers } = await verify(service, token, 'orders')
  assert.equal(status, 200)
  assert.equal(headers.get('connection'), 'close')
  assert.equal((await service.exited).code, 0)
})

test('clients that heed `Connection: close` lose no request', async (t) => {
  const authority = await startAuthority(t)
  const service = await startForOrders(t, authority)
  const token = await authority.token('alice')
  const load = startLoad({
    clients: 8,
    url: () => `${service.origin}/verify/orders`,
    token: () => token,
    endOnClose: true,
  })
  await load.more(200)
  service.kill('SIGTERM')
  await load.ended
  assert.deepEqual([...load.results.keys()], ['200'])
  assert.equal((await service.exited).code, 0)
})

test('a request that still waits when the listener is closed gets its answer', async (t) => {
  let answerKeys = () => {}
  const released = new Promise<void>((done) => {
    answerKeys = done
  })
  const authority = await startAuthority(t, { wait: () => released })
  const service = await startForOrders(t, authority)
  await authority.call('/dev/rotate')
  await authority.call('/dev/fault', { kind: 'slow', target: 'keys', ms: 1 })
  const answer = verify(service, await authority.token('alice'), 'orders')
  // One look at the keys of each version at the start, and now the look-up, which hangs.
  await eventually(
    async () => (await authority.entra.inject('/dev/requests')).json().counts.keys,
    (count) => count >= 3,
  )
  service.kill('SIGTERM')
  await eventually(
    () =>
      fetch(`${service.origin}/livez`).then(
        () => 'open',
        () => 'closed',
      ),
    (port) => port === 'closed',
  )
  answerKeys()
  assert.equal((await answer).status, 200)
  assert.equal((await service.exited).code, 0)
})

for (const [what, sent] of [
  ['says nothing', ''],
  ['does not end its request', 'GET /verify HTTP/1.1\r\nHost: x\r\n'],
  [
    'does not end its body',
    'POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nx',
  ],
] as const) {
  test(`a client that ${what} holds up no end`, async (t) => {
    const service = await startForOrders(t, await startAuthority(t))
    const socket = connect(Number(new URL(service.origin).port), '127.0.0.1')
    t.after(() => socket.destroy())
    // Reset, or ended.
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.write(sent)
    // Its connection is older than that of this answer.
    await fetch(`${service.origin}/livez`)
    service.kill('SIGTERM')
    assert.deepEqual(await service.exited, { code: 0, signal: null })
  })
}
