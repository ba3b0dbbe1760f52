import assert from 'node:assert/strict'
import { it } from 'node:test'
import { createLogOutput } from '../../src/commands/log-output.ts'
import { readableLine } from '../../src/commands/log-text.ts'
import { screenOf } from '../../src/terminal.ts'

type Done = (error?: Error | null) => void

/** A stream that takes what a test lets it take. */
function createStream() {
  const waiting: { text: string; done: Done }[] = []
  return {
    written: '',
    throws: false,
    get writableLength() {
      return waiting.reduce((bytes, { text }) => bytes + text.length, 0)
    },
    write(text: string, done: Done = () => {}) {
      if (this.throws) throw new Error('gone')
      waiting.push({ text, done })
    },
    on() {},
    takeAll(error?: Error) {
      for (const { text, done } of waiting.splice(0)) {
        if (!error) this.written += text
        done(error)
      }
    },
  }
}

it('buffers a mebibyte for a stalled reader, drops the rest, and reports it once', () => {
  const stream = createStream()
  const told: number[] = []
  const output = createLogOutput(stream, (lines) => told.push(lines))
  const line = `${'x'.repeat(1023)}\n`
  for (let count = 0; count < 1030; count++) output.write(line)
  assert.deepEqual([stream.writableLength, output.dropped], [1024 * 1024, 6])
  stream.takeAll()
  output.write(line)
  stream.takeAll()
  assert.deepEqual(told, [6])
  assert.equal(stream.written.length, 1025 * 1024)
})

it('counts a line that fails, whether by its callback or by a throw', () => {
  const stream = createStream()
  const told: number[] = []
  const output = createLogOutput(stream, (lines) => told.push(lines))
  output.write('a\n')
  stream.takeAll(new Error('ENOSPC'))
  stream.throws = true
  output.write('b\n')
  assert.equal(output.dropped, 2)
  stream.throws = false
  output.write('c\n')
  stream.takeAll()
  assert.deepEqual([told, stream.written], [[2], 'c\n'])
})

it('flushes when the reader has taken everything, and not later than asked for', async () => {
  const stream = createStream()
  const output = createLogOutput(stream, () => {})
  output.write('a\n')
  const flushed = output.flush(60_000)
  stream.takeAll()
  await flushed
  assert.equal(stream.written, 'a\n')
  output.write('b\n')
  await output.flush(1)
  assert.equal(stream.written, 'a\n')
})

const screen = screenOf({ isTTY: true, columns: 80 }, { NO_COLOR: '1' })

it('shows a line of the log to a person: time, level, message, then what there is', () => {
  const line = JSON.stringify({
    level: 30,
    time: Date.parse('2026-11-24T10:15:00.023Z'),
    pid: 7,
    hostname: 'vm',
    reason: 'scope_missing',
    forwarded: { method: 'GET', uri: '/orders/17' },
    wanted: 'the scope Stock.Read',
    audiences: ['api://orders', 'api://stock'],
    msg: 'refused',
  })
  assert.equal(
    readableLine(`${line}\n`, screen),
    '2026-11-24 10:15:00 info  refused reason=scope_missing forwarded.method=GET forwarded.uri=/orders/17 wanted="the scope Stock.Read" audiences=api://orders,api://stock\n',
  )
  const named = { level: 'error', time: '2026-11-24T10:15:00.023Z', msg: 'x' }
  assert.equal(
    readableLine(JSON.stringify({ ...named, level: 50 }), screen),
    '2026-11-24 10:15:00 error x\n',
  )
  assert.equal(readableLine(JSON.stringify(named), screen), '2026-11-24 10:15:00 error x\n')
})

it('gives each sentence, each object of a list and each row of a stack a line of its own', () => {
  const shown = readableLine(
    JSON.stringify({
      level: 50,
      time: 0,
      changes: [
        'policies.orders.allow[1] added: apps with any role',
        'tenants.x removed: it is gone',
      ],
      problems: [{ path: 'tenants', message: 'is missing', hint: 'Add one.' }],
      err: { type: 'Error', stack: 'Error: x\n    at y' },
      msg: 'm',
    }),
    screen,
  )
  assert.equal(
    shown,
    `1970-01-01 00:00:00 error m err.type=Error
    changes: policies.orders.allow[1] added: apps with any role
    changes: tenants.x removed: it is gone
    problems: path=tenants message="is missing" hint="Add one."
    Error: x
        at y
`,
  )
})

it('lets nothing through that a terminal would obey, in names, values and what is no JSON', () => {
  const odd = '\u001b[2J\u009b31m\u202e\nx'
  for (const line of [
    JSON.stringify({
      level: odd,
      time: odd,
      [odd]: odd,
      list: [odd],
      deep: { [odd]: [{ odd }] },
      msg: odd,
    }),
    odd,
  ]) {
    const shown = readableLine(line, screen)
    assert.doesNotMatch(shown.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u)
  }
})
