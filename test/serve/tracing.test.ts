/** Tracing by OTLP over HTTP, with a receiver on loopback that is no part of the project. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { shippedConfig, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { ask } from '../e2e/client.ts'
import { eventually } from '../support/eventually.ts'
import { startRunningClock } from '../support/running-clock.ts'
import { type Authority, environmentFor, startAuthority } from './authority.ts'
import { type Life, makeFolder, type ServiceProcess, startService, untilReady } from './process.ts'

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue?: string; readonly intValue?: string }
}

/** As opentelemetry-proto has it. */
interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly Attribute[]
  readonly status?: { readonly code: number }
}

interface Collector {
  readonly url: string
  readonly spans: OtlpSpan[]
  readonly calls: { path: string; headers: IncomingHttpHeaders; body: string }[]
  status: number
}

async function startCollector(t: Life): Promise<Collector> {
  const collector = {
    url: '',
    spans: [] as OtlpSpan[],
    calls: [] as Collector['calls'],
    status: 200,
  }
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks).toString('utf8')
    const { url: path = '', headers } = request
    collector.calls.push({ path, headers, body })
    for (const { scopeSpans } of JSON.parse(body).resourceSpans) {
      for (const { spans } of scopeSpans) collector.spans.push(...spans)
    }
    response.writeHead(collector.status, { 'content-type': 'application/json' }).end('{}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  collector.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return collector
}

async function startTraced(t: Life, env: Readonly<Record<string, string>>) {
  const authority = await startAuthority(t)
  const service = await startService(t, {
    ...environmentFor(authority),
    OTEL_BSP_SCHEDULE_DELAY: '20',
    ...env,
  })
  await untilReady(service)
  return { service, authority }
}

const traceId = '0af7651916cd43dd8448eb211c80319c'
const parentId = 'b7ad6b7169203331'
const sampled = `00-${traceId}-${parentId}-01`

async function send(
  { origin }: ServiceProcess,
  token: string,
  { traceparent = sampled, path = '/verify' } = {},
): Promise<number> {
  const headers = { authorization: `Bearer ${token}`, traceparent }
  const reply = await fetch(`${origin}${path}`, { headers })
  await reply.arrayBuffer()
  return reply.status
}

function attributesOf({ attributes }: OtlpSpan) {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.stringValue ?? Number(value.intValue)]),
  )
}

const first = (collector: Collector) =>
  eventually(
    () => collector.spans[0],
    (span) => span !== undefined,
  ) as Promise<OtlpSpan>

describe('a request within a trace', () => {
  test('becomes a span below the parent that it came with, from the cache too', async (t) => {
    const collector = await startCollector(t)
    const { service, authority } = await startTraced(t, {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_SERVICE_NAME: 'verifier-a',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=test%20one,service.name=other',
      OTEL_EXPORTER_OTLP_HEADERS: 'x-api-key=a%20key',
    })
    const token = await authority.token('alice')
    const before = Date.now()
    assert.equal(await send(service, token), 200)
    assert.equal(await send(service, token), 200)
    await eventually(
      () => collector.spans.length,
      (count) => count === 2,
    )
    for (const span of collector.spans) {
      assert.deepEqual([span.traceId, span.parentSpanId], [traceId, parentId])
      assert.match(span.spanId, /^[0-9a-f]{16}$/)
      assert.deepEqual([span.name, span.kind, span.status], ['GET /verify', 2, undefined])
      assert.deepEqual(attributesOf(span), {
        'http.request.method': 'GET',
        'http.response.status_code': 200,
        'http.route': '/verify',
        'entra_auth.policy': 'default',
      })
      const [start, end] = [BigInt(span.startTimeUnixNano), BigInt(span.endTimeUnixNano)]
      assert.ok(start >= BigInt(before) * 1_000_000n && end > start)
    }
    assert.notEqual(collector.spans[0]?.spanId, collector.spans[1]?.spanId)
    const [call] = collector.calls
    assert.equal(call?.path, '/v1/traces')
    assert.equal(call?.headers['x-api-key'], 'a key')
    assert.equal(call?.headers['content-type'], 'application/json')
    const { resource } = JSON.parse(call?.body ?? '').resourceSpans[0]
    assert.deepEqual(attributesOf(resource), {
      'deployment.environment': 'test one',
      'service.name': 'verifier-a',
    })
    assert.ok(!JSON.stringify(service.log).includes('a key'))
  })

  test('never contains a token, or a name that a client invented', async (t) => {
    const collector = await startCollector(t)
    const { service, authority } = await startTraced(t, {
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/here`,
    })
    const token = await authority.token('alice')
    const paths = ['/verify', `/verify/${token.slice(0, 200)}`, `/${token}`, `/verify?t=${token}`]
    for (const path of paths) {
      await send(service, token, { path })
      await send(service, `${token.slice(0, -20)}${'A'.repeat(20)}`, { path })
    }
    await eventually(
      () => collector.spans.length,
      (count) => count === 2 * paths.length,
    )
    for (const { path, body, headers } of collector.calls) {
      assert.equal(path, '/here')
      const text = `${body}${JSON.stringify(headers)}`
      for (const piece of token.split('.').flatMap((part) => part.match(/.{16}/g) ?? [])) {
        assert.ok(!text.includes(piece), piece)
      }
    }
    const reasons = new Set(collector.spans.map((span) => attributesOf(span)['entra_auth.reason']))
    assert.ok(reasons.has('signature_invalid') && reasons.has('unknown_policy'))
  })

  test('is an error where the verifier could not answer', async (t) => {
    const collector = await startCollector(t)
    const service = await startService(t, {
      ...environmentFor({ origin: 'http://127.0.0.1:9' }),
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_BSP_SCHEDULE_DELAY: '20',
    })
    const authority = await startAuthority(t)
    await service.waitForLog(({ msg }) => msg === 'authorities tried')
    assert.equal(await send(service, await authority.token('alice')), 503)
    assert.deepEqual((await first(collector)).status, { code: 2 })
  })

  for (const [what, traceparent] of [
    ['that is not recorded', `00-${traceId}-${parentId}-00`],
    ['of an invalid traceparent', `00-${'0'.repeat(32)}-${parentId}-01`],
  ] as const) {
    test(`${what} becomes none`, async (t) => {
      const collector = await startCollector(t)
      const { service, authority } = await startTraced(t, {
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      })
      const token = await authority.token('alice')
      await send(service, token, { traceparent })
      const marker = '1'.repeat(32)
      await send(service, token, { traceparent: `00-${marker}-${parentId}-01` })
      assert.equal((await first(collector)).traceId, marker)
      assert.equal(collector.spans.length, 1)
    })
  }

  test('is sent before the process ends', async (t) => {
    const collector = await startCollector(t)
    const { service, authority } = await startTraced(t, {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_BSP_SCHEDULE_DELAY: '600000',
    })
    await send(service, await authority.token('alice'))
    assert.equal(collector.spans.length, 0)
    service.kill('SIGTERM')
    await service.exited
    assert.equal(collector.spans.length, 1)
  })

  test('is continued through HAProxy and its action', async (t) => {
    const collector = await startCollector(t)
    const { service, authority } = await startTraced(t, {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    })
    const port = await startFront(t, service)
    const headers = [
      ['Authorization', `Bearer ${await authority.token('alice')}`],
      ['traceparent', sampled],
    ] as const
    assert.equal((await ask(port, { headers })).status, 200)
    const span = await first(collector)
    assert.deepEqual([span.traceId, span.parentSpanId], [traceId, parentId])
  })
})

/** HAProxy as it ships, but for the name of the policy. */
async function startFront(t: Life, service: ServiceProcess): Promise<number> {
  const config = join(makeFolder(t), 'haproxy.cfg')
  const text = readFileSync(shippedConfig, 'utf8')
  writeFileSync(config, text.replace(/(^ {4}http-request lua\.entra-auth) orders$/m, '$1 default'))
  const application = await startEchoApp()
  t.after(() => application.stop())
  const haproxy = await startHaproxy({
    verifier: service.address,
    application: application.address,
    configs: [config],
  })
  t.after(() => haproxy.stop())
  return haproxy.port
}

describe('tracing', () => {
  test('does not disturb verdicts when the collector fails, and says so once', async (t) => {
    const collector = await startCollector(t)
    collector.status = 500
    const { service, authority } = await startTraced(t, {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    })
    const token = await authority.token('alice')
    const refused = service.waitForLog(({ msg }) => msg === 'spans not taken')
    await eventually(
      async () => {
        assert.equal(await send(service, token), 200)
        return collector.calls.length
      },
      (calls) => calls >= 3,
    )
    assert.match(String((await refused).error), /500/)
    assert.equal(service.log.filter(({ msg }) => msg === 'spans not taken').length, 1)
    collector.status = 200
    await send(service, token)
    await service.waitForLog(({ msg }) => msg === 'spans are taken again')
  })

  test('does not hold up the end when the collector hangs', async (t) => {
    const sockets = new Set<Socket>()
    const hanging = createTcpServer((socket) => sockets.add(socket))
    hanging.listen(0, '127.0.0.1')
    await once(hanging, 'listening')
    t.after(() => {
      for (const socket of sockets) socket.destroy()
      hanging.close()
    })
    const { port } = hanging.address() as AddressInfo
    const { service, authority } = await startTraced(t, {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    })
    const token = await authority.token('alice')
    await eventually(
      async () => {
        await send(service, token)
        return sockets.size
      },
      (size) => size > 0,
    )
    for (let sent = 0; sent < 600; sent++) await send(service, token)
    const clock = startRunningClock()
    service.kill('SIGTERM')
    assert.deepEqual(await service.exited, { code: 0, signal: null })
    clock.stop()
    assert.ok(clock.nowMs() < 5_000, `${clock.nowMs()} ms`)
  })

  for (const [what, env, problem] of [
    [
      'credentials in the address',
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://user:s3cr3t@127.0.0.1:4318' },
      /OTEL_EXPORTER_OTLP_ENDPOINT: holds credentials/,
    ],
    [
      'a header with a line break',
      { OTEL_EXPORTER_OTLP_HEADERS: 'x-api-key=s3cr3t%0A' },
      /OTEL_EXPORTER_OTLP_HEADERS: holds a header that cannot be sent/,
    ],
    [
      'a header that fetch refuses',
      { OTEL_EXPORTER_OTLP_TRACES_HEADERS: 'x-api-key=s3cr3t%E2%82%AC' },
      /OTEL_EXPORTER_OTLP_TRACES_HEADERS: holds a header that cannot be sent/,
    ],
    [
      'a header of the connection',
      { OTEL_EXPORTER_OTLP_HEADERS: 'content-length=s3cr3t' },
      /OTEL_EXPORTER_OTLP_HEADERS: holds a header that cannot be sent/,
    ],
  ] as const) {
    test(`refuses ${what} at the start, and does not repeat it`, async (t) => {
      const service = await startService(t, {
        ...environmentFor({ origin: 'http://127.0.0.1:9' }),
        OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318',
        ...env,
      })
      assert.equal((await service.exited).code, 78)
      assert.match(service.stderr, problem)
      assert.doesNotMatch(service.stderr + JSON.stringify(service.log), /s3cr3t/)
    })
  }

  for (const off of [
    { OTEL_SDK_DISABLED: 'true' },
    { OTEL_TRACES_EXPORTER: 'none' },
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
  ]) {
    test(`is off with ${JSON.stringify(off)}`, async (t) => {
      const collector = await startCollector(t)
      const { service, authority } = await startTraced(t, {
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        ...off,
      })
      await send(service, await authority.token('alice'))
      service.kill('SIGTERM')
      await service.exited
      assert.deepEqual(collector.calls, [])
    })
  }

  test('with settings that cannot be followed stops the start, all of them in one report', async (t) => {
    const authority: Pick<Authority, 'origin'> = { origin: 'http://127.0.0.1:9' }
    const service = await startService(t, {
      ...environmentFor(authority),
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4317',
      OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
      OTEL_EXPORTER_OTLP_HEADERS: 'a secret without a name',
      OTEL_BSP_SCHEDULE_DELAY: 'soon',
      OTEL_TRACES_SAMPLER: 'traceidratio',
      OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
      OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: 'none',
      OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: '/key.pem',
    })
    assert.equal((await service.exited).code, 78)
    assert.match(service.stderr, /OTEL_TRACES_SAMPLER: is not supported/)
    assert.match(service.stderr, /OTEL_EXPORTER_OTLP_COMPRESSION: is not supported/)
    assert.match(service.stderr, /OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: is not supported/)
    assert.doesNotMatch(service.stderr, /TRACES_COMPRESSION/)
    assert.match(service.stderr, /OTEL_EXPORTER_OTLP_PROTOCOL: is grpc/)
    assert.match(service.stderr, /OTEL_EXPORTER_OTLP_HEADERS: is not a list/)
    assert.match(service.stderr, /OTEL_BSP_SCHEDULE_DELAY: is "soon"/)
    assert.doesNotMatch(service.stderr, /a secret/)
  })
})
