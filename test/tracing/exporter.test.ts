import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { it } from 'node:test'
import { createHttp } from '../../src/keys/http.ts'
import { createSpanExporter } from '../../src/tracing/exporter.ts'
import type { Span } from '../../src/tracing/span.ts'
import { eventually } from '../support/eventually.ts'

const span: Span = {
  parent: {
    traceId: '0'.repeat(31).concat('1'),
    spanId: '0'.repeat(15).concat('1'),
    isSampled: true,
  },
  id: '00000000000000a1',
  name: 'GET /verify',
  startMs: 0,
  durationMs: 1,
  attributes: {},
  hasFailed: false,
}

it('sends a span that came while the collector was still answering, and those after it', async (t) => {
  const waiting: ServerResponse[] = []
  const collector = createServer((request, response) => {
    request.resume()
    waiting.push(response)
  })
  await once(collector.listen(0, '127.0.0.1'), 'listening')
  t.after(() => collector.close().closeAllConnections())
  const { port } = collector.address() as AddressInfo
  const http = createHttp()
  const timers: (() => void)[] = []
  const exporter = createSpanExporter(
    { endpoint: `http://127.0.0.1:${port}/v1/traces`, headers: {}, resource: {}, delayMs: 5000 },
    {
      http,
      schedule(task) {
        timers.push(task)
        return () => timers.splice(timers.indexOf(task), 1)
      },
      log: { info() {}, warn() {} },
    },
  )
  const asked = (count: number) =>
    eventually(
      () => waiting.length,
      (length) => length === count,
    )

  exporter.add(span)
  timers.shift()?.()
  await asked(1)
  exporter.add(span)
  timers.shift()?.()
  waiting[0]?.end()
  await asked(2)
  waiting[1]?.end()
  exporter.add(span)
  await eventually(
    () => timers.length,
    (length) => length === 1,
  )
  timers.shift()?.()
  await asked(3)
  waiting[2]?.end()
  await exporter.close()
  assert.equal(waiting.length, 3)
})

for (const [what, endpoint, headers] of [
  ['an address', 'http://user:s3cr3t@127.0.0.1:9/v1/traces', {}],
  ['a header', 'http://127.0.0.1:9/v1/traces', { authorization: 'Bearer s3cr3t\n' }],
] as const) {
  it(`reports dropped spans without the message of the library, which repeats ${what}`, async () => {
    const lines: object[] = []
    const exporter = createSpanExporter(
      { endpoint, headers, resource: {}, delayMs: 5000 },
      {
        http: createHttp(),
        schedule: () => () => {},
        log: { info() {}, warn: (fields) => void lines.push(fields) },
      },
    )
    exporter.add(span)
    await exporter.close()
    assert.equal(lines.length, 1)
    assert.doesNotMatch(JSON.stringify(lines), /s3cr3t/)
  })
}

it('gives a collector that hangs no more time at the end than the end has', async (t) => {
  const collector = createServer(() => {})
  await once(collector.listen(0, '127.0.0.1'), 'listening')
  t.after(() => collector.close().closeAllConnections())
  const { port } = collector.address() as AddressInfo
  const delays: number[] = []
  const exporter = createSpanExporter(
    { endpoint: `http://127.0.0.1:${port}/v1/traces`, headers: {}, resource: {}, delayMs: 5000 },
    {
      http: createHttp(),
      schedule(task, delayMs) {
        delays.push(delayMs)
        if (delayMs !== 5000) setImmediate(task)
        return () => {}
      },
      log: { info() {}, warn() {} },
    },
  )
  exporter.add(span)
  await exporter.close()
  assert.deepEqual(delays, [5000, 1000])
})
