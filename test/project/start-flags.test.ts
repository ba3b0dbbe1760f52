import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { it } from 'node:test'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')

it('the image starts Node with the flags that the program itself asks for', () => {
  const [, program = ''] = /^#!\/usr\/bin\/env -S node (.+)$/m.exec(read('src/main.ts')) ?? []
  const [, entrypoint = ''] = /^ENTRYPOINT (.+)$/m.exec(read('Dockerfile')) ?? []
  assert.match(program, /^--max-semi-space-size=\d+$/)
  assert.deepEqual(JSON.parse(entrypoint).slice(1, -1), program.split(' '))
})
