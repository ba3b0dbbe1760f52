import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { openAuditFile } from '../../src/commands/audit-file.ts'
import { makeFolder } from '../serve/process.ts'

function createLog() {
  const messages: string[] = []
  const add = (_fields: object, message: string) => void messages.push(message)
  return { messages, info: add, error: add }
}

it('keeps lines that the destination cannot take, and continues in the middle of one', (t) => {
  const path = join(makeFolder(t), 'audit')
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  t.after(() => closeSync(reader))
  const log = createLog()
  const audit = openAuditFile(path, log)
  const count = 200
  // A named pipe holds 64 KiB, then it takes a part of a line or nothing.
  const padding = 'x'.repeat(1000)
  for (let line = 0; line < count; line++) audit.sink.info({ line, padding }, 'allowed')
  assert.deepEqual(log.messages, ['audit not written'])
  let text = ''
  const chunk = Buffer.alloc(64 * 1024)
  const lines = () => text.split('\n').slice(0, -1)
  while (lines().length < count) {
    text += chunk.toString('utf8', 0, readSync(reader, chunk))
    audit.reopen()
  }
  assert.deepEqual(
    lines().map((line) => JSON.parse(line).line),
    Array.from({ length: count }, (_, line) => line),
  )
  assert.deepEqual([log.messages.at(-1), audit.dropped], ['audit written again', 0])
})

it('loses lines, and counts them, when more than a mebibyte waits', () => {
  const log = createLog()
  const audit = openAuditFile('/dev/full', log)
  const padding = 'x'.repeat(64 * 1024)
  for (let line = 0; line < 20; line++) audit.sink.info({ padding }, 'allowed')
  assert.deepEqual([audit.dropped, log.messages], [5, ['audit not written']])
})

it('refuses a named pipe that nobody reads instead of waiting for a reader', (t) => {
  const path = join(makeFolder(t), 'audit')
  execFileSync('mkfifo', [path])
  assert.throws(() => openAuditFile(path, createLog()), { code: 'ENXIO' })
})
