import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { findingCodes, findingTable } from '../../src/drift/finding.ts'
import { fixture } from './fixture.ts'
import { run } from './run.ts'

const page = readFileSync(new URL('../../docs/drift.md', import.meta.url), 'utf8')

describe('the page about drift', () => {
  it('has a row for each code, with its severity and meaning, in the same order', () => {
    const rows = [...page.matchAll(/^\| `([a-z-]+)`\s+\| (error|warning|info)\s+\| (.*?)\s+\|$/gm)]
    assert.deepEqual(
      rows.map(([, code, severity, meaning]) => [code, severity, meaning]),
      findingCodes.map((code) => [code, ...findingTable[code]]),
    )
  })

  it('shows what the command prints', async () => {
    const files = {
      'haproxy.cfg': fixture('example.cfg'),
      'entra-auth.yaml': fixture('config.yaml'),
      'app.json': fixture('example-app.json'),
    }
    const args = /^haproxy-entra-auth (drift --haproxy .*)$/m.exec(page)?.[1]?.split(' ') ?? []
    const { stdout } = await run(args, files)
    assert.equal(/^```text\n(.*?)^```$/ms.exec(page)?.[1], stdout)
  })

  it('names each option', async () => {
    const { stdout } = await run(['drift', '--help'])
    for (const [option] of stdout.matchAll(/--(?!help)[a-z]+/g)) {
      assert.ok(page.includes(`| \`${option}`) || option === '--method', option)
    }
  })
})
