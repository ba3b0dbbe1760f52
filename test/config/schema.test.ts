import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { formatProblems } from '../../src/config/problems.ts'
import { configFileSchema } from '../../src/config/schema.ts'
import { entriesOf, mappingOf } from '../../src/config/values.ts'
import { problemsOf } from './fixture.ts'

function page(): string {
  return readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
}

function keysOf(schema: unknown): string[] {
  if (Array.isArray(schema)) return schema.flatMap(keysOf)
  return entriesOf(schema).flatMap(([key, value]) =>
    key === 'properties'
      ? [...Object.keys(mappingOf(value) ?? {}), ...keysOf(value)]
      : keysOf(value),
  )
}

test('the schema survives JSON, so that an editor can use it', () => {
  assert.deepEqual(JSON.parse(JSON.stringify(configFileSchema)).required, ['tenants', 'policies'])
})

test('every mapping of fixed keys in the schema refuses others', () => {
  const open: unknown[] = []
  const look = (schema: unknown) => {
    const mapping = mappingOf(schema)
    if (mapping?.type === 'object' && mapping.additionalProperties !== false) open.push(schema)
    for (const value of Object.values(mapping ?? (Array.isArray(schema) ? schema : []))) look(value)
  }
  look(configFileSchema)
  assert.deepEqual(open, [])
})

test('the reference names every key of the schema', () => {
  const text = page()
  const missing = [...new Set(keysOf(configFileSchema))].filter(
    (key) => !text.includes(`\`${key}\``),
  )
  assert.deepEqual(missing, [])
})

test('the report in the reference is what its example yields', async () => {
  const blocks = [...page().matchAll(/```(?:yaml|text)\n([\s\S]*?)```/g)].map((block) => block[1])
  const problems = await problemsOf(blocks.at(-2) ?? '')
  assert.equal(`${formatProblems(problems, '/config.yaml')}\n`, blocks.at(-1))
})

test('the other files in the reference load', async () => {
  const blocks = [...page().matchAll(/```yaml\n(?!identityHeaders)([\s\S]*?)```/g)].slice(0, -1)
  const problems = await Promise.all(blocks.map((block) => problemsOf(block[1] ?? '')))
  assert.deepEqual(problems, [[], []])
})
