/**
 * Policies by host, as the pages on the ingress controllers show them, with the rules by which each
 * controller itself finds the backend.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { askRaw, values } from './client.ts'
import { type Stack, startStack } from './stack.ts'

function advisedOn(name: string): string[] {
  const page = readFileSync(new URL(`../../docs/recipes/${name}.md`, import.meta.url), 'utf8')
  const block = [...page.matchAll(/```haproxy[^\n]*\n(.*?)```/gs)].find(([, text]) =>
    text?.includes('stock.example.com'),
  )
  assert.ok(block, name)
  return (block[1] ?? '').trim().split('\n')
}

const folder = mkdtempSync(join(tmpdir(), 'entra-auth-hosts-'))
after(() => rmSync(folder, { recursive: true }))

/** A file of the controller's own. */
function map(name: string, lines: readonly string[]): string {
  const file = join(folder, name)
  writeFileSync(file, lines.map((line) => `${line}\n`).join(''))
  return file
}

interface Controller {
  readonly name: string
  /** The controller's rules with the advised ones at their place. */
  readonly lines: readonly string[]
}

/** The rules of haproxy-ingress 0.13 and later (`#` between host and path), and of 0.11 and 0.12. */
function community(host: string, separator: string, variable: string): string[] {
  const exact = map(`exact${separator.length}`, [`orders.example.com${separator}/exact orders`])
  const prefix = map(`prefix${separator.length}`, [
    `stock.example.com${separator}/ stock`,
    `orders.example.com${separator}/ orders`,
  ])
  const shown = separator === '#' ? '\\#' : ''
  const target = `http-request set-var(req.${variable}) var(req.base)`
  return [
    'http-request set-var(req.path) path',
    `http-request set-var(req.host) ${host}`,
    `http-request set-var(req.base) var(req.host),concat(${shown},req.path)`,
    `${target},map_str(${exact})`,
    `${target},lower,map_beg(${prefix}) if !{ var(req.${variable}) -m found }`,
    ...advisedOn('haproxy-ingress'),
    `use_backend %[var(req.${variable})] if { var(req.${variable}) -m found }`,
    'default_backend others',
  ]
}

const controllers: readonly Controller[] = [
  {
    name: 'HAProxy Technologies',
    lines: [
      'http-request set-var(txn.host) req.hdr(Host),field(1,:),lower',
      ...advisedOn('kubernetes-ingress'),
      'use_backend stock if { var(txn.host) -m str stock.example.com }',
      'use_backend orders if { var(txn.host) -m str orders.example.com }',
      'default_backend others',
    ],
  },
  {
    name: 'haproxy-ingress, over HTTP',
    lines: community('hdr(host),field(1,:),lower', '#', 'backend'),
  },
  {
    name: 'haproxy-ingress, over HTTPS',
    lines: community('hdr(host),field(1,:),lower', '#', 'hostbackend'),
  },
  {
    name: 'haproxy-ingress 0.11',
    lines: community('hdr(host),regsub(:[0-9]+$,),lower', '', 'backend'),
  },
]

/** The shipped configuration with that choice, and with the controller's instead of its own route. */
function withHosts(text: string, lines: readonly string[]): string {
  const section = (name: string) =>
    `backend ${name}\n    mode http\n    http-request set-header x-backend ${name}\n    server app "\${ENTRA_AUTH_APP_SERVER}"\n`
  const start = text.indexOf('    .if defined(ENTRA_AUTH_SIGN_IN_SERVER)')
  const end = text.indexOf('# What the action counted')
  return [
    text.slice(0, start),
    ...lines.map((line) => `    ${line}\n`),
    '\n',
    ...['stock', 'orders', 'others'].map(section),
    text.slice(end),
  ].join('')
}

for (const { name, lines } of controllers) {
  describe(`policies by host behind the rules of ${name}`, () => {
    let stack: Stack
    before(async () => {
      stack = await startStack({ editConfig: (text) => withHosts(text, lines) })
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
        // Or find no backend for it, and refuse.
        else if (seen.length === 0) assert.deepEqual(asked, [`/verify/${policy}`])
        else assert.deepEqual([seen, asked], [[policy], [`/verify/${policy}`]])
        if (/^[a-z.]+\.example\.com$/.test(host) && policy) assert.equal(seen.length, 1)
      })
    }
  })
}
