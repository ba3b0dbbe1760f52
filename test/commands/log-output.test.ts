import assert from 'node:assert/strict'
import { it } from 'node:test'
import { createLogOutput } from '../../src/commands/log-output.ts'

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
