import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { failures } from '../../src/failure.ts'

const page = readFileSync(new URL('../../docs/reasons.md', import.meta.url), 'utf8')
const section = page.split(/^## /m).find((part) => part.startsWith('Reasons of the verifier')) ?? ''
// Cells may be padded, as some editors do.
const rows = [...section.matchAll(/^\|\s*`(\w+)`\s*\|\s*(\d+)\s*\|\s*(\S+)\s*\|(.*)\|$/gm)].map(
  ([, reason, status, error, rest]) => ({ reason, status, error, rest }),
)

describe('the page of reasons', () => {
  it('has each reason code exactly once, and no other', () => {
    assert.deepEqual(rows.map(({ reason }) => reason).toSorted(), Object.keys(failures).toSorted())
  })

  it('has the status and the error of the failure table', () => {
    assert.deepEqual(
      Object.fromEntries(rows.map(({ reason, status, error }) => [reason, `${status} ${error}`])),
      Object.fromEntries(
        Object.entries(failures).map(([reason, row]) => [
          reason,
          `${row.status} ${'error' in row ? `\`${row.error}\`` : '–'}`,
        ]),
      ),
    )
  })

  it('says what each one means and what to do', () => {
    for (const { reason, rest } of rows) {
      const cells = (rest ?? '').split('|').filter((cell) => cell.trim().length > 10)
      assert.equal(cells.length, 2, reason)
    }
  })
})
