import assert from 'node:assert/strict'
import { test } from 'node:test'
import { quoteForShell } from '../../scripts/demo/guide.ts'
import { createScore, createTable, type Row, tableWidth } from '../../scripts/demo/table.ts'
import { describeIdentity, tour } from '../../scripts/demo/tour.ts'
import { failures } from '../../src/failure.ts'

const row: Row = {
  who: 'alice',
  call: 'good token',
  status: '200',
  saw: 'alice (user)',
  why: 'grant: user',
  differences: [],
}
const colourStart = '\u001b'

test('a row that is as expected is marked ok', () => {
  assert.match(createTable(false).row(row), /^ok {4}alice .*good token .*200 .*alice \(user\)/)
})

test('a row with a difference is marked FAIL and shows the difference below', () => {
  const text = createTable(false).row({ ...row, differences: ['status: expected 403, found 200'] })
  assert.match(text, /^FAIL {2}alice [^\n]*\n {6}status: expected 403, found 200$/)
})

test('without colours no escape sequence is printed', () => {
  const table = createTable(false)
  const parts = [table.header(), table.section('x'), table.row({ ...row, differences: ['y'] })]
  assert.ok(parts.every((part) => !part.includes(colourStart)))
})

test('with colours a row that failed differs from one that passed by colour too', () => {
  assert.ok(
    createTable(true)
      .row({ ...row, differences: ['y'] })
      .includes(`${colourStart}[31m`),
  )
  assert.ok(!createTable(true).row(row).includes(`${colourStart}[31m`))
})

test('no row of the tour is wider than the table when it is as expected', () => {
  const table = createTable(false)
  for (const { who, call, why, expected } of tour.flatMap(({ steps }) => steps)) {
    const saw = expected.application ? describeIdentity(expected.application) : 'nothing'
    const explained = expected.reason ? `${expected.reason}: ${why}` : why
    const status = String(expected.status)
    const text = table.row({ who, call, status, saw, why: explained, differences: [] })
    assert.ok(text.length <= tableWidth, `${text.length} characters: ${text}`)
    // A cell that is too long pushes the next ones out of their columns.
    assert.equal(text.indexOf(` ${status} `), 51, text)
  }
})

test('every reason of the tour stands in the failure table or is one of the action', () => {
  const known = [...Object.keys(failures), 'verifier_unavailable']
  for (const { expected } of tour.flatMap(({ steps }) => steps)) {
    if (expected.reason) assert.ok(known.includes(expected.reason), expected.reason)
  }
})

test('one row that differs makes the exit code 1', () => {
  const score = createScore()
  score.count(row)
  assert.equal(score.exitCode(), 0)
  score.count({ ...row, differences: ['status'] })
  score.count(row)
  assert.equal(score.exitCode(), 1)
  assert.equal(score.summary(), '2 passed, 1 failed')
})

test('a tour that could not go on is a failure', () => {
  const score = createScore()
  score.count(row)
  score.fail()
  assert.equal(score.exitCode(), 1)
  assert.equal(score.summary(), '1 passed, 1 failed')
})

test('a tour without a row is no success', () => {
  assert.equal(createScore().exitCode(), 1)
})

test('a path with a space or a quote stays one word of the shell', () => {
  assert.equal(quoteForShell('/opt/node-24/bin/node'), '/opt/node-24/bin/node')
  assert.equal(quoteForShell('/my code/main.ts'), "'/my code/main.ts'")
  assert.equal(quoteForShell("/it's/main.ts"), "'/it'\\''s/main.ts'")
})
