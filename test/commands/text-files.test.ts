import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { it } from 'node:test'
import { makeFolder } from '../serve/process.ts'

const root = resolve(import.meta.dirname, '../..')
const fixtures = join(root, 'test/drift/fixtures')

it('files are read in UTF-16 too, as Windows PowerShell writes them', (t) => {
  const app = join(makeFolder(t), 'app.json')
  const text = readFileSync(join(fixtures, 'app.json'), 'utf8')
  writeFileSync(app, Buffer.from(`\uFEFF${text}`, 'utf16le'))
  const args = ['drift', '--config', join(fixtures, 'config.yaml'), '--app', app]
  const printed = execFileSync(process.execPath, [join(root, 'src/main.ts'), ...args], {
    encoding: 'utf8',
    env: {},
  })
  assert.match(printed, /^no drift/)
})
