/** docs/command-line.md names what the program has. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, it } from 'node:test'
import { type CommandIo, exitCodes } from '../../src/commands/io.ts'
import { runProgram } from '../../src/commands/program.ts'
import { runCommand } from '../explain/fixture.ts'
import { ids } from '../support/ids.ts'

const root = resolve(import.meta.dirname, '../..')
const page = readFileSync(resolve(root, 'docs/command-line.md'), 'utf8')

/** The first cells of the rows of the table that begins with this heading. */
function column(heading: string): string[] {
  const [, table = ''] =
    new RegExp(`^\\| ${heading} \\|[^\\n]*\\n\\|[-|]+\\n((?:\\|.*\\n)+)`, 'm').exec(page) ?? []
  return [...table.matchAll(/^\| `?([\w-]+)`? \|/gm)].map(([, cell = '']) => cell)
}

/** What each command prints with `--json`, the members by name; asked without any network. */
async function membersOf(line: string): Promise<string[]> {
  const files = {
    '/c.yaml': `tenants: { contoso: ${ids.contoso} }
policies: { default: { audiences: [api://orders], allow: [{ actor: app, roles: any }] } }`,
    '/wrong.yaml': 'tenants: {}',
    '/claims.json': '{}',
    '/t.yaml': '{ "cases": [{ "expect": "deny" }] }',
    '/haproxy.cfg': 'global',
  }
  const start = (io: CommandIo) =>
    runProgram('0', { ...io, fetch: async () => Response.json({ revocations: [] }) }, [
      ...line.split(' '),
      '--json',
    ])
  const { stdout } = await runCommand(start, { files, now: () => Date.UTC(2030, 0, 1) })
  return Object.keys(JSON.parse(stdout))
}

describe('the page of the command line', () => {
  const samples = {
    check: 'check --offline --config /c.yaml',
    explain: 'explain --claims /claims.json --config /c.yaml',
    policies: 'policies --config /c.yaml',
    test: 'test /t.yaml --config /c.yaml',
    'revocations list': 'revocations list',
    drift: 'drift --haproxy /haproxy.cfg --config /c.yaml',
  }

  /** The second cells of the table of JSON, by their first. */
  function documentedMembers(): Map<string, string[]> {
    const [, table = ''] =
      /^\| command with `--json` \|.*\n\|[-|]+\n((?:\|.*\n)+)/m.exec(page) ?? []
    const rows = [...table.matchAll(/^\| `?([^`|]+?)`? \| ([^|]+) \|/gm)]
    return new Map(
      rows.map(([, command = '', cell = '']) => [
        command,
        [...cell.matchAll(/`(\w+)`/g)].map(([, name = '']) => name),
      ]),
    )
  }

  it('names the members of each JSON', async () => {
    const documented = documentedMembers()
    for (const [command, line] of Object.entries(samples)) {
      assert.deepEqual(documented.get(command), await membersOf(line), command)
    }
    const { stdout } = spawnSync(
      process.execPath,
      [resolve(root, 'src/main.ts'), 'completion', 'bash'],
      { encoding: 'utf8', env: {} },
    )
    const withJson = [...stdout.matchAll(/^ {4}'([^']+)'\) words='[^']* --json /gm)]
    assert.deepEqual(
      withJson.map(([, path]) => path),
      Object.keys(samples),
    )
  })

  it('is right that every command prints the problems of a wrong configuration as JSON', async () => {
    const documented = documentedMembers().get('any, with exit code 78')
    for (const line of Object.values(samples).filter((one) => one.includes('--config'))) {
      assert.deepEqual(await membersOf(line.replace('/c.yaml', '/wrong.yaml')), documented, line)
    }
  })

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
