import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, root), 'utf8')
const manifest = JSON.parse(read('package.json'))
const page = read('docs/dependencies.md')

describe('the dependencies', () => {
  for (const [title, key] of [
    ['At run time', 'dependencies'],
    ['For development', 'devDependencies'],
  ] as const) {
    it(`have a row each in the table "${title}", and no other rows are there`, () => {
      const section = page.split('\n## ').find((part) => part.startsWith(title)) ?? ''
      const rows = [...section.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, name]) => name)
      assert.deepEqual(rows.toSorted(), Object.keys(manifest[key]).toSorted())
    })
  }

  it('have exact versions', () => {
    const tools = ['mutation', 'helm'].map(
      (folder) => JSON.parse(read(`${folder}/package.json`)).dependencies,
    )
    const { dependencies, devDependencies } = manifest
    const versions = [dependencies, devDependencies, ...tools].flatMap(Object.values)
    assert.deepEqual(
      versions.filter((version) => !/^\d+\.\d+\.\d+$/.test(String(version))),
      [],
    )
  })

  it('are locked without a download address', () => {
    for (const folder of ['', 'toolchain/', 'mutation/', 'helm/']) {
      const lock = `${folder}package-lock.json`
      assert.doesNotMatch(read(lock), /"resolved"/, lock)
    }
  })
})
