/** docs/command-line.md names what the program has. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, it } from 'node:test'
import { exitCodes } from '../../src/commands/io.ts'

const root = resolve(import.meta.dirname, '../..')
const page = readFileSync(resolve(root, 'docs/command-line.md'), 'utf8')

/** The first cells of the rows of the table that begins with this heading. */
function column(heading: string): string[] {
  const [, table = ''] =
    new RegExp(`^\\| ${heading} \\|[^\\n]*\\n\\|[-|]+\\n((?:\\|.*\\n)+)`, 'm').exec(page) ?? []
  return [...table.matchAll(/^\| `?([\w-]+)`? \|/gm)].map(([, cell = '']) => cell)
}

describe('the page of the command line', () => {
  it('lists the commands of the program, in its order', () => {
    const { stdout } = spawnSync(process.execPath, [resolve(root, 'src/main.ts'), '--help'], {
      encoding: 'utf8',
      env: {},
    })
    const [, commands = ''] = /^Commands:\n(.*?)\n\n/ms.exec(stdout) ?? []
    const names = [...commands.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name = '']) => name)
    assert.ok(names.length > 10)
    assert.deepEqual(column('command'), names)
  })

  it('lists each exit code', () => {
    const codes = [0, ...Object.values(exitCodes)].map(String)
    assert.deepEqual(column('exit code'), codes)
  })
})
