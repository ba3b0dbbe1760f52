/**
 * Policies by host, as the page on the ingress controller shows them, with the rules by which the
 * controller itself finds the backend.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, beforeEach, describe, it } from 'node:test'
import { askRaw, values } from './client.ts'
import { type Stack, startStack } from './stack.ts'

const page = readFileSync(
  new URL('../../docs/recipes/kubernetes-ingress.md', import.meta.url),
  'utf8',
)
const advised = /```haproxy\n(.*?)```/s.exec(page)?.[1] ?? ''

/** The shipped configuration with that choice, and with the controller's instead of its own route. */
function withHosts(text: string): string {
  const section = (name: string) =>
    `backend ${name}\n    mode http\n    http-request set-header x-backend ${name}\n    server app "\${ENTRA_AUTH_APP_SERVER}"\n`
  const start = text.indexOf('    use_backend entra-metadata')
  const end = text.indexOf('# What the action counted')
  const choice = [
    'http-request set-var(txn.host) req.hdr(Host),field(1,:),lower',
    ...advised.trim().split('\n'),
    'use_backend stock if { var(txn.host) -m str stock.example.com }',
    'use_backend orders if { var(txn.host) -m str orders.example.com }',
    'default_backend others',
  ]
  return [
    text.slice(0, start),
    ...choice.map((line) => `    ${line}\n`),
    '\n',
    ...['stock', 'orders', 'others'].map(section),
    text.slice(end),
  ].join('')
}

describe('policies by host behind an ingress controller', () => {
  let stack: Stack
  before(async () => {
    stack = await startStack({ editConfig: withHosts })
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  for (const [host, policy] of [
    ['stock.example.com', 'stock'],
    ['orders.example.com', 'orders'],
    ['STOCK.example.com:8000', 'stock'],
    ['stock.example.com:80:80', 'stock'],
    ['stock.example.com:orders.example.com', 'stock'],
    ['orders.example.com:80:80', 'orders'],
    ['stock.example.com.', undefined],
    ['[::1]:80', undefined],
    ['other.example.com', undefined],
    ['', undefined],
  ] as const) {
    it(`never sends a request to a backend under another policy: ${JSON.stringify(host)}`, async () => {
      await askRaw(
        stack.haproxy.port,
        `GET / HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer t\r\n\r\n`,
      )
      const seen = stack.app.requests.flatMap((request) => values(request, 'x-backend'))
      const asked = stack.verifier.calls.map(({ url }) => url)
      // HAProxy may refuse such a host by itself.
      if (policy === undefined || asked.length === 0) assert.deepEqual([seen, asked], [[], []])
      else assert.deepEqual([seen, asked], [[policy], [`/verify/${policy}`]])
      if (/^[a-z.]+\.example\.com$/.test(host) && policy) assert.equal(seen.length, 1)
    })
  }
})
