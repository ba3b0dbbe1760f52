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
      const age = { maxAgeSeconds: 1, actionMaxAgeSeconds: 2 }
      reply.send(response as unknown as ServerResponse, formatLines(headers), age, false)
      const all = [...headers, 'Cache-Control', 'private, max-age=1, entra-auth-max-age=2']
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
      requestLines(token, { prepared: '2' }),
      requestLines(token, { prepared: '1' }),
      requestLines(token, { prepared: '2', close: true }),
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
    for (const reply of [prepared, closed]) {
      const value = readPrepared(field(reply, 'X-Entra-Auth-Prepared') ?? '')
      assert.deepEqual(value.about, [list, version, ...ours])
      assert.deepEqual(value.identity.toSorted(), present(list, identity).toSorted())
      assert.equal(field(reply, 'X-Entra-Auth-Verdict'), 'allow')
      const age = `${field(plain, 'Cache-Control')}, entra-auth-max-age=300`
      assert.equal(field(reply, 'Cache-Control'), age)
      for (const name of names) assert.equal(field(reply, name), undefined, name)
    }
  })

  const names = ['User', 'Tenant', 'Client', 'Actor', 'Token-Id', 'Issued-At', 'Key-Id']
  const about = names.flatMap((name) => [`X-Entra-Auth-${name}`, 'x'])
  const managedOf = (identity: Readonly<Record<string, string>>) => ({
    names: Object.keys(identity),
    list: Object.keys(identity).join(','),
  })
  const prepare = (identity: Readonly<Record<string, string>>) =>
    formatPrepared('v', managedOf(identity), [...about, ...Object.entries(identity).flat()])

  it('has the size of a format, the format, the fields, and an end that makes djb2 zero', () => {
    // The end was found by another program.
    const text = `20022c3c1c1${'c1'.repeat(7)}c1X-AAv${'x'.repeat(7)}a`
    assert.equal(prepare({ 'X-A': 'a' }), `${text}1P1I0KK`)
  })

  it('leaves out what has no value, and has the largest header last', () => {
    const identity = { 'X-A': '', 'X-Longer-Name': 'bbb', 'X-C': 'c'.repeat(9), 'X-D': 'd' }
    const { identity: said } = readPrepared(prepare(identity) ?? '')
    assert.deepEqual(said, ['X-C: ccccccccc', 'X-D: d', 'X-Longer-Name: bbb'])
    assert.deepEqual(readPrepared(prepare({ 'X-A': '', 'X-B': '' }) ?? '').identity, [])
  })

  it('is undefined if a value is not printable, a header has no field, or there are many names', () => {
    for (const value of ['a\tb', 'a\u0001', 'a\u007f', '\u00e9', 'a\r\nX-B: c']) {
      assert.equal(prepare({ 'X-A': value }), undefined)
    }
    const more = [...about, 'X-A', 'a', 'X-More', 'b']
    assert.equal(formatPrepared('v', managedOf({ 'X-A': 'a' }), more), undefined)
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`X-${index}`, 'a']))
    assert.equal(readPrepared(prepare(many(62)) ?? '').identity.length, 62)
    assert.equal(prepare(many(63)), undefined)
  })
})

/** Reads a prepared value as the action in HAProxy does, without a look at its checksum. */
function readPrepared(value: string) {
  const size = Number(value.slice(1, 5))
  const lengths = [...value.slice(5, 5 + size).matchAll(/c(\d+)/g)].map(([, digits]) =>
    Number(digits),
  )
  let position = 5 + size
  const fields = lengths.map((length) => {
    position += length
    return value.slice(position - length, position)
  })
  assert.equal(value.length, position + 7)
  const [list = '', letters = '', ...rest] = fields
  const names = list.split(',')
  const ofLetters = [...letters].map((letter) => names[letter.charCodeAt(0) - 65])
  return {
    about: [list, ...rest.slice(0, 8)],
    identity: rest.slice(8).map((one, index) => `${ofLetters[index]}: ${one}`),
  }
}

/** The lines of the headers that have a value. */
function present(list: string, values: readonly string[]): string[] {
  return list
    .split(',')
    .flatMap((name, index) => (values[index] ? [`${name}: ${values[index]}`] : []))
}
