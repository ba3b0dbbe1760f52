import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { faultKinds } from '../../src/dev-entra/faults.ts'
import { personas } from '../../src/dev-entra/personas.ts'
import { refusalKinds } from '../../src/dev-entra/refusals.ts'

const page = await readFile(new URL('../../docs/dev-entra.md', import.meta.url), 'utf8')

test('the page describes every persona in the words of the command', () => {
  const missing = personas.filter(
    ({ name, about }) => !page.includes(`${name.padEnd(16)}  ${about}\n`),
  )
  assert.deepEqual(
    missing.map(({ name }) => name),
    [],
  )
})

test('the page describes every kind of fault', () => {
  const rows = page.split('\n').filter((line) => line.startsWith('| `'))
  const missing = Object.keys(faultKinds).filter(
    (kind) => !rows.some((row) => row.split('|')[1]?.includes(`\`${kind}\``)),
  )
  assert.deepEqual(missing, [])
})

test('the page describes every kind of refusal with its number', () => {
  const missing = Object.entries(refusalKinds).filter(
    ([kind, { code }]) => !new RegExp(`\\| \`${kind}\` +\\| ${code} `).test(page),
  )
  assert.deepEqual(missing, [])
})
