/** What the program ends with, run as an operator runs it. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, it } from 'node:test'
import { makeFolder } from '../serve/process.ts'

const main = resolve(import.meta.dirname, '../../src/main.ts')

function run(args: readonly string[], input = '') {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    encoding: 'utf8',
    env: {},
    input,
  })
  return { status, stdout, stderr }
}

describe('wrong use ends with 64', () => {
  for (const args of [
    ['chekc'],
    ['check', '--ofline'],
    ['serve', '--config'],
    ['explain', '--polcy', 'x'],
    ['drift'],
    ['drift', '--ignore', 'nothing'],
    ['haproxy-config', '--verifier', 'nowhere'],
    ['schema', 'more'],
    ['revocations', 'ad'],
    ['dev-entra', 'token', '--version', '3.0'],
  ]) {
    it(args.join(' '), () => {
      const { status, stdout } = run(args)
      assert.deepEqual([status, stdout], [64, ''])
    })
  }
})

it('help and version end with 0', () => {
  for (const args of [['--help'], ['--version'], ['check', '--help']]) {
    assert.equal(run(args).status, 0)
  }
})

it('a reader that has enough, such as head, gets no stack trace', async () => {
  const child = spawn(process.execPath, [main, 'schema'], { stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  child.stdout.destroy()
  const [code] = await once(child, 'close')
  assert.deepEqual([code, stderr], [0, ''])
})

it('check --offline and explain do without key files that only the service may read', (t) => {
  const folder = makeFolder(t)
  const config = join(folder, 'config.yaml')
  const key = join(folder, 'gone', 'key')
  writeFileSync(
    config,
    `
listen: { tls: { certificateFile: ${key}, keyFile: ${key} } }
admin: { adminKeyFile: ${key} }
callerKeyFile: ${key}
tenants: { contoso: { id: 11111111-1111-4111-8111-111111111111, authority: 'http://127.0.0.1:9' } }
policies: { orders: { audiences: [api://orders], allow: [{ actor: user, scopes: any }] } }
`,
  )
  const offline = run(['check', '--offline', '--config', config])
  assert.equal(offline.status, 0, offline.stderr)
  assert.match(offline.stderr, new RegExp(`not read, and not needed here: ${key} \\(ENOENT\\)`))
  const explained = run(['explain', '--config', config, '--policy', 'orders'], 'a.b.c')
  assert.equal(explained.status, 1, explained.stderr)
  assert.match(explained.stdout, /token_malformed/)
  const online = run(['check', '--config', config])
  assert.equal(online.status, 78)
})

it('check --offline refuses a configuration that is wrong, as a reload of the unit does', (t) => {
  const folder = makeFolder(t)
  mkdirSync(folder, { recursive: true })
  const config = join(folder, 'config.yaml')
  writeFileSync(config, 'tenants: {}')
  assert.equal(run(['check', '--offline', '--config', config]).status, 78)
})
