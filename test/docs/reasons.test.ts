import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { failures } from '../../src/failure.ts'
import { problems } from '../../src/sign-in/problems.ts'

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

describe('the reasons of the pages of sign-in', () => {
  const signIn = readFileSync(new URL('../../docs/sign-in.md', import.meta.url), 'utf8')
  const part = signIn.split(/^## /m).find((text) => text.startsWith('When something goes wrong'))
  const listed = [...(part ?? '').matchAll(/^\| `(\w+)` \| (.+) \| (.*) \|$/gm)]

  it('stand in the page of sign-in, each with what it means and who acts', () => {
    assert.deepEqual(
      listed.map(([, reason]) => reason).toSorted(),
      Object.keys(problems).toSorted(),
    )
    for (const [, reason, meaning = '', who = ''] of listed) {
      assert.ok(meaning.length > 10 && who.length > 10, reason)
    }
  })
})

describe('the reasons of the action', () => {
  const lua = readFileSync(new URL('../../haproxy-lua/entra-auth.lua', import.meta.url), 'utf8')
  const table = /^local FAILURES = \{\n(.*?)^\}/ms.exec(lua)?.[1] ?? ''
  const actions = [
    ...table.matchAll(/(\w+) = \{\s+status = (\d+),\s+error = "(\w+)",\s+text = "(.*)",/g),
  ].map(([, reason = '', status, error, text]) => ({
    reason,
    status,
    // A refusal that is none of OAuth's has its reason in the body.
    error: error === reason ? undefined : error,
    text,
  }))

  it('have the status, error and words of the verifier where both have them', () => {
    const shared = actions.filter(({ status, reason }) => {
      const row = Object.entries(failures).find(([code]) => code === reason)?.[1]
      return row && String(row.status) === status
    })
    assert.deepEqual(shared.map(({ reason }) => reason).toSorted(), [
      'ambiguous_credentials',
      'cross_site_request',
      'internal_error',
      'malformed_credentials',
      'token_too_long',
    ])
    for (const { reason, error, text } of shared) {
      if (reason === 'internal_error') continue
      const row = Object.entries(failures).find(([code]) => code === reason)?.[1]
      const theirs = row && 'error' in row ? row.error : undefined
      assert.deepEqual([error, text], [theirs, row?.text])
    }
  })

  it("stand in the action's own page, each with its status", () => {
    const reference = readFileSync(new URL('../../haproxy-lua/README.md', import.meta.url), 'utf8')
    const part = reference.split(/^## /m).find((text) => text.startsWith('Reason codes')) ?? ''
    const listed = [...part.matchAll(/^\|\s*`(\w+)`\s*\|\s*(\d+)\s*\|(.*)\|$/gm)]
    for (const [, reason, , meaning = ''] of listed) assert.ok(meaning.trim().length > 10, reason)
    // Besides the table, a few are made where they are used.
    const others = [...lua.matchAll(/status = (\d+),\s+reason = "(\w+)"/g)]
    assert.ok(others.length >= 3, `${others.length} outside of the table`)
    assert.deepEqual(
      listed.map(([, reason, status]) => `${reason} ${status}`).toSorted(),
      actions
        .map(({ reason, status }) => `${reason} ${status}`)
        .concat(others.map(([, status, reason]) => `${reason} ${status}`))
        .toSorted(),
    )
  })

  it('stand in the page with the status and the error that the action has', () => {
    const own = page.split(/^## /m).find((part) => part.startsWith('Reasons of the action')) ?? ''
    const found = [...own.matchAll(/^\|\s*`(\w+)`\s*\|\s*(\d+)\s*\|\s*`(\w+)`\s*\|(.*)\|(.*)\|$/gm)]
    for (const [, reason, , , meaning = '', remedy = ''] of found) {
      assert.ok(meaning.trim().length > 10 && remedy.trim().length > 10, reason)
    }
    const listed = found.map(([, reason, status, error]) => `${reason} ${status} ${error}`)
    const shared = [
      'ambiguous_credentials',
      'cross_site_request',
      'malformed_credentials',
      'token_too_long',
    ]
    assert.deepEqual(
      listed.toSorted(),
      actions
        .filter(({ reason }) => !shared.includes(reason))
        .map(({ reason, status, error }) => `${reason} ${status} ${error}`)
        .toSorted(),
    )
  })
})
