import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { it } from 'node:test'

const root = new URL('../../', import.meta.url)
const read = (file: string) => readFileSync(new URL(file, root), 'utf8')

// A developer's machine has it, and CI never runs them on their own: only a newcomer would see it.
it('keeps the quick tests free of HAProxy', () => {
  const [, list = ''] = /^const QUICK = \[(.*?)\]/ms.exec(read('scripts/test.ts')) ?? []
  const folders = [...list.matchAll(/'([\w-]+)'/g)].map(([, name]) => name)
  assert.ok(folders.includes('project'))
  const files = folders.map((name) => globSync(`test/${name}/**/*.ts`, { cwd: root }))
  for (const [index, found] of files.entries()) assert.ok(found.length > 0, folders[index])
  const starters = /\b(?:findHaproxy|checkWithHaproxy|startHaproxy|startStack)\(/
  assert.deepEqual(
    files.flat().filter((file) => starters.test(read(file))),
    [],
  )
})
