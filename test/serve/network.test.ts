import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { order } from '../dev-entra/support.ts'
import { contoso, environmentFor, ordersId, startAuthority } from './authority.ts'
import { type Life, makeFolder, startService, untilReady, verify } from './process.ts'

interface Proxy {
  readonly url: string
  /** `host:port` of each CONNECT. */
  readonly tunnels: string[]
}

/** A proxy that knows CONNECT only, and sends every tunnel to `target` where one is given. */
async function startProxy(t: Life, target?: string): Promise<Proxy> {
  const tunnels: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((_request, response) => response.writeHead(405).end())
  server.on('connect', (request, client: Socket) => {
    tunnels.push(request.url ?? '')
    const { hostname, port } = new URL(target ?? `http://${request.url}`)
    const upstream = connect(Number(port), hostname, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      client.pipe(upstream).pipe(client)
    })
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, tunnels }
}

/** The public cloud: dev-entra under the name of the real one, and the way to it. */
async function startCloud(t: Life) {
  // dev-entra under the name of the real one, which only the proxy can take the service to.
  const microsoft = 'https://login.microsoftonline.com'
  const tls = await createTlsIdentity(Date.now, randomBytes, [new URL(microsoft).host])
  const entra = buildDevEntra({ now: Date.now, tls, origin: microsoft })
  t.after(() => entra.close())
  const proxy = await startProxy(t, await entra.listen({ host: '127.0.0.1', port: 0 }))
  const ca = join(makeFolder(t), 'ca.pem')
  writeFileSync(ca, tls.cert)
  const env = {
    ENTRA_AUTH_TENANT_ID: contoso,
    ENTRA_AUTH_AUDIENCE: ordersId,
    HTTPS_PROXY: proxy.url,
  }
  return { microsoft, entra, proxy, ca, env }
}

test('two environment variables are enough for the public cloud', async (t) => {
  const { microsoft, entra, proxy, ca, env } = await startCloud(t)
  const service = await startService(t, { ...env, NODE_EXTRA_CA_CERTS: ca })
  await untilReady(service)
  const { token, claims } = await order(entra, { persona: 'alice' })
  assert.equal(claims.iss, `${microsoft}/${contoso}/v2.0`)
  assert.equal((await verify(service, token)).status, 200)
  assert.deepEqual([...new Set(proxy.tunnels)], ['login.microsoftonline.com:443'])
})

test('an authority with a certificate of a private authority is not believed unless that is named', async (t) => {
  const { entra, proxy, env } = await startCloud(t)
  const service = await startService(t, env)
  const failed = await service.waitForLog(({ msg }) => msg === 'keys not read')
  assert.match(String(failed.error), /self-signed certificate/)
  assert.notDeepEqual(proxy.tunnels, [])
  const { token } = await order(entra, { persona: 'alice' })
  assert.equal((await verify(service, token)).status, 503)
})

for (const [name, extra, used] of [
  ['HTTP_PROXY is used for an http authority', {}, true],
  ['NO_PROXY takes an authority past the proxy', { NO_PROXY: '127.0.0.1' }, false],
] as const) {
  test(name, async (t) => {
    const authority = await startAuthority(t)
    const proxy = await startProxy(t)
    const service = await startService(t, {
      ...environmentFor(authority),
      HTTP_PROXY: proxy.url,
      ...extra,
    })
    await untilReady(service)
    assert.equal((await verify(service, await authority.token('alice'))).status, 200)
    const expected = used ? [new URL(authority.origin).host] : []
    assert.deepEqual([...new Set(proxy.tunnels)], expected)
  })
}

test('a proxy without a scheme is an HTTP proxy, as it is for curl', async (t) => {
  const authority = await startAuthority(t)
  const proxy = await startProxy(t)
  const { host } = new URL(proxy.url)
  const env = { ...environmentFor(authority), HTTP_PROXY: host, HTTPS_PROXY: `user:pass@${host}` }
  const service = await startService(t, env)
  await untilReady(service)
  assert.deepEqual([...new Set(proxy.tunnels)], [new URL(authority.origin).host])
})

for (const address of [
  'socks5://user:s3cr3t@proxy:1080',
  'http://user:s3 cr3t@proxy',
  's3cr3t@:',
]) {
  test(`a proxy that cannot be used is one line without its password: ${address}`, async (t) => {
    const env = { ...environmentFor({ origin: 'http://127.0.0.1:9' }), HTTPS_PROXY: address }
    const service = await startService(t, env)
    assert.equal((await service.exited).code, 78)
    assert.match(service.stderr, /\n {2}HTTPS_PROXY: [^\n]*\n$/)
    assert.doesNotMatch(service.stderr, /s3 ?cr3t/)
  })
}

test('the look-up of an unknown key takes the proxy too', async (t) => {
  const authority = await startAuthority(t)
  const proxy = await startProxy(t)
  const service = await startService(t, { ...environmentFor(authority), HTTP_PROXY: proxy.url })
  await untilReady(service)
  await authority.call('/dev/rotate')
  assert.equal((await verify(service, await authority.token('alice'))).status, 200)
  assert.deepEqual([...new Set(proxy.tunnels)], [new URL(authority.origin).host])
})
