import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatPath, formatProblems, quote } from '../../src/config/problems.ts'
import { nearest } from '../../src/nearest.ts'

test('a report of one problem says so', () => {
  const problem = { path: 'cloud', message: 'is wrong', hint: 'Change it.', line: 3 }
  assert.equal(
    formatProblems([problem], 'c.yaml'),
    'Configuration: 1 problem in c.yaml\n  cloud (line 3): is wrong. Change it.',
  )
})

test('a report without a file speaks of the environment', () => {
  assert.equal(formatProblems([]), 'Configuration: 0 problems in the environment')
})

test('control and bidirectional characters cannot break a line of the report', () => {
  const problem = { path: 'a\n\u202e\u2028b', message: 'm', hint: 'h.' }
  assert.equal(formatProblems([problem], 'f').split('\n')[1], '  a\\u{a}\\u{202e}\\u{2028}b: m. h.')
})

test('a path quotes what is not a plain word', () => {
  assert.equal(
    formatPath(['policies', 'a.b', 'allow', 0, 'roles']),
    'policies["a.b"].allow[0].roles',
  )
})

test('a long value is cut', () => {
  assert.equal(quote('x'.repeat(200)).length, 82)
})

test('letter case, hyphens and underscores do not hide the known key', () => {
  assert.equal(nearest('CACHE_SECONDS', ['cacheSeconds', 'clients']), 'cacheSeconds')
})

test('the closest known key wins', () => {
  assert.equal(nearest('clents', ['client', 'clients', 'agents']), 'clients')
})

test('nothing is suggested where nothing is close', () => {
  assert.equal(nearest('zebra', ['roles', 'groups']), undefined)
})
