import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { fc } from '../support/property.ts'
import { fixture, haproxyFindings } from './fixture.ts'

const clean = fixture('clean.cfg')
const lines = clean.split('\n')
const words = [...new Set(clean.split(/\s+/)), '"', "'", '\\', '#', '{', '}', '!', 'or', '-m', '']
/** What else drift follows: branches, variables, computed names, patterns, numbers. */
const more = [
  ...['.if', '.elif', '.else', '.endif', 'version_atleast(3.4)', '!version_before(3.1)', 'unless'],
  ...['set-var(txn.m)', 'set-var-fmt(txn.m)', 'var(txn.m),concat(,txn.m,)', '%[var(txn.m)]', '%['],
  ...['path_reg', '(?i)[', 'gt', '1:', 'hdr_beg(host)', 'METH_GET', '__proto__', 'toString'],
  ...[
    'cache-use',
    'allow',
    'dispatch',
    'server-template',
    'redirect',
    'from',
    'tcp-request',
    'content',
  ],
]

describe('drift in files that are no configuration', () => {
  it('ends with findings, not with an exception, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => Array.isArray(haproxyFindings(text))),
    )
  })

  it('ends with findings for HAProxy words in any order', () => {
    const line = fc
      .array(fc.constantFrom(...words, ...more), { maxLength: 8 })
      .map((some) => some.join(' '))
    fc.assert(
      fc.property(fc.array(line, { maxLength: 40 }), (some) =>
        Array.isArray(haproxyFindings(some.join('\n'))),
      ),
    )
  })

  it('ends with findings for the clean file with lines mixed up', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(lines), (some) =>
        Array.isArray(haproxyFindings(some.join('\n'))),
      ),
    )
  })

  it('does not need a last line end, and takes those of Windows', () => {
    assert.deepEqual(haproxyFindings(clean.trimEnd()), [])
    assert.deepEqual(haproxyFindings(clean.replaceAll('\n', '\r\n')), [])
  })
})

/** Lines that may go without making anything less safe. */
const optional =
  /^(#|\.|$)|^(defaults|tune|timeout (client|connect 5s|server 30s)|bind 127\.0\.0\.1:8000|acl |http-request (redirect|set-header (x-note|connection)|deny deny_status 405|del-header authorization)|default_backend|use_backend|lua-load|presetenv|server (app|v1 127\.0\.0\.1:8080 track))/

describe('drift in the clean file without one line', () => {
  for (const [index, line] of lines.entries()) {
    const text = line.trim()
    if (optional.test(text) || /^(listen|frontend|backend|global)/.test(text)) continue
    it(`is found: ${text} (line ${index + 1})`, () => {
      assert.notDeepEqual(haproxyFindings(lines.toSpliced(index, 1).join('\n')), [])
    })
  }
})
