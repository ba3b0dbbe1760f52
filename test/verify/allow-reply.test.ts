import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { describe, it, type TestContext } from 'node:test'
import { createAllowReply, formatLines, formatPrepared } from '../../src/verify/allow-reply.ts'
import { exchange } from '../support/raw.ts'
import { startService } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

async function start(t: TestContext) {
  const service = await startService()
  t.after(() => service.close())
  return service
}

function requestLines(
  token: string,
  { method = 'GET', close = false, version = '1.1', prepared = '' } = {},
) {
  const lines = [`${method} /verify HTTP/${version}`, 'Host: verifier']
  if (prepared !== '') lines.push(`X-Entra-Auth-Prepared: ${prepared}`)
  if (token !== '') lines.push(`Authorization: Bearer ${token}`)
  if (close) lines.push('Connection: close')
  return `${lines.join('\r\n')}\r\n\r\n`
}

/** The replies on one connection, each as it came but for its date. */
async function repliesTo(service: { port: number }, ...requests: string[]): Promise<string[]> {
  const text = await exchange(service, requests.join(''))
  return text
    .replaceAll(/^Date: .*\r\n/gm, '')
    .split(/(?=^HTTP\/1\.1 )/m)
    .filter((reply) => reply !== '')
}

describe('the reply of an allow', () => {
  it('is the same, byte by byte, as Node writes it where it closes the connection', async (t) => {
    const service = await start(t)
    const token = v2User()
    const [open, closed] = await repliesTo(
      service,
      requestLines(token),
      requestLines(token, { close: true }),
    )
    assert.match(closed ?? '', /^X-Entra-Auth-Verdict: allow\r$/m)
    assert.match(closed ?? '', /\r\nConnection: close\r\n\r\n$/)
    assert.equal(
      open?.replace(
        'Connection: keep-alive\r\nKeep-Alive: timeout=75\r\n',
        'Connection: close\r\n',
      ),
      closed,
    )
  })

  it('has the date of now', async (t) => {
    const service = await start(t)
    const token = v2User()
    const dates: (string | undefined)[] = []
    for (const advanceMs of [0, 1_000]) {
      await service.time.advance(advanceMs)
      const text = await exchange(service, requestLines(token) + requestLines('', { close: true }))
      dates.push(/^Date: (.*)\r$/m.exec(text)?.[1])
      assert.equal(dates.at(-1), new Date(service.time.nowMs).toUTCString())
    }
    assert.notEqual(dates[0], dates[1])
  })

  it('comes in its turn, between other replies on one connection', async (t) => {
    const service = await start(t)
    const [alice, bob] = [v2User({ name: 'Alice' }), v2User({ name: 'Bob' })]
    const replies = await repliesTo(
      service,
      requestLines(alice),
      requestLines(''),
      requestLines(bob, { method: 'HEAD' }),
      requestLines(alice),
      requestLines('', { close: true }),
    )
    const told = replies.map(
      (reply) => /^X-Auth-Request-Name: (.*)\r$/m.exec(reply)?.[1] ?? reply.slice(9, 12),
    )
    assert.deepEqual(told, ['Alice', '401', 'Bob', 'Alice', '401'])
  })

  it('ends the connection of a client that speaks HTTP/1.0', async (t) => {
    const service = await start(t)
    const replies = await repliesTo(service, requestLines(v2User(), { version: '1.0' }))
    assert.equal(replies.length, 1)
    assert.match(replies[0] ?? '', /\r\nConnection: close\r\n\r\n$/)
  })

  it('is left to Node where Node has no field for it or wrote already', () => {
    const reply = createAllowReply({ clock: () => 0, keepAliveTimeoutMs: 0 })
    const headers = ['X-Test', '1', 'X-Empty', '', 'X-Colons', 'a: b:c']
    for (const field of [{}, { _header: 'x' }]) {
      const written: unknown[] = []
      const response = {
        ...field,
        shouldKeepAlive: true,
        writeHead: (...head: unknown[]) => void written.push(head),
        end: () => void written.push('end'),
      }
      reply.send(response as unknown as ServerResponse, formatLines(headers), 1, false)
      const all = [...headers, 'Cache-Control', 'private, max-age=1']
      assert.deepEqual(written, [[200, all], 'end'])
    }
  })

  it('rejects values with a line break, and invalid names', () => {
    assert.throws(() => formatLines(['X-Test', 'a\r\nX-Forged: 1']), { code: 'ERR_INVALID_CHAR' })
    assert.throws(() => formatLines(['X-Test: a', 'b']), { code: 'ERR_INVALID_HTTP_TOKEN' })
  })
})

describe('the prepared value of an allow', () => {
  const field = (reply: string | undefined, name: string) =>
    new RegExp(`^${name}: (.*)\\r$`, 'mi').exec(reply ?? '')?.[1]

  it('says the same as the headers, in one line, to whoever asks for it', async (t) => {
    const service = await start(t)
    const token = v2User({ name: 'Alice Example' })
    const [plain, prepared, other, closed] = await repliesTo(
      service,
      requestLines(token),
      requestLines(token, { prepared: '1' }),
      requestLines(token, { prepared: '2' }),
      requestLines(token, { prepared: '1', close: true }),
    )
    assert.equal(field(plain, 'X-Entra-Auth-Prepared'), undefined)
    assert.equal(other, plain)
    const list = field(plain, 'X-Entra-Auth-Headers') ?? ''
    const ofToken = ['User', 'Tenant', 'Client', 'Actor', 'Token-Id', 'Issued-At', 'Key-Id']
    const names = [...ofToken.map((name) => `X-Entra-Auth-${name}`), ...list.split(',')]
    const said = names.map((name) => field(plain, name) ?? '')
    const [ours, identity] = [said.slice(0, ofToken.length), said.slice(ofToken.length)]
    assert.ok(identity.includes('Alice Example') && identity.includes(''))
    const version = field(plain, 'X-Entra-Auth-Version') ?? ''
    const value = ['1', version, ...ours, list, ...identity, '.'].join('\t')
    for (const reply of [prepared, closed]) {
      assert.equal(field(reply, 'X-Entra-Auth-Prepared'), value)
      assert.equal(field(reply, 'X-Entra-Auth-Verdict'), 'allow')
      assert.equal(field(reply, 'Cache-Control'), field(plain, 'Cache-Control'))
      for (const name of names) assert.equal(field(reply, name), undefined, name)
    }
  })

  it('is undefined if a value is ambiguous, or if a header has no field in it', () => {
    const managed = { names: ['X-A'], list: 'X-A' }
    const names = ['User', 'Tenant', 'Client', 'Actor', 'Token-Id', 'Issued-At', 'Key-Id']
    const headers = (value: string) => [
      ...names.flatMap((name) => [`X-Entra-Auth-${name}`, 'x']),
      ...['X-A', value],
    ]
    assert.equal(formatPrepared('v', managed, headers('a')), `1\tv${'\tx'.repeat(7)}\tX-A\ta\t.`)
    assert.equal(formatPrepared('v', managed, headers('a\tb')), undefined)
    assert.equal(formatPrepared('v', managed, [...headers('a'), 'X-More', 'b']), undefined)
  })
})
