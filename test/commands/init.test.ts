/** `init`, run as a person or a script runs it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { Ajv } from 'ajv'
import { Command } from 'commander'
import { parse } from 'yaml'
import { addInitCommand } from '../../src/commands/init.ts'
import type { CommandIo } from '../../src/commands/io.ts'
import { configFileSchema } from '../../src/config/schema.ts'
import { makeFolder } from '../serve/process.ts'

const main = resolve(import.meta.dirname, '../../src/main.ts')
const tenant = '11111111-1111-4111-8111-111111111111'
const api = '33333333-3333-4333-8333-333333333333'
const isOfSchema = new Ajv({ strict: false }).compile(JSON.parse(JSON.stringify(configFileSchema)))

function start(t: TestContext) {
  const folder = makeFolder(t)
  const run = (args: readonly string[], input = '', env: Readonly<Record<string, string>> = {}) =>
    spawnSync(process.execPath, [main, ...args], { cwd: folder, encoding: 'utf8', env, input })
  return { run, path: (name: string) => join(folder, name) }
}

describe('init', () => {
  it('asks three questions and writes a file that schema, check and policies take', (t) => {
    const { run, path } = start(t)
    const { status, stdout, stderr } = run(['init'], `${tenant}\napi://orders, ${api}\nusers\n`)
    assert.deepEqual([status, stderr], [0, ''])
    assert.match(stdout, /^written: config\.yaml\n/)
    const written = parse(readFileSync(path('config.yaml'), 'utf8'))
    assert.deepEqual(written, {
      tenants: { default: tenant },
      policies: {
        default: { audiences: ['api://orders', api], allow: [{ actor: 'user', scopes: 'any' }] },
      },
    })
    assert.ok(isOfSchema(written), JSON.stringify(isOfSchema.errors))
    const [, ...commands] = stdout.split('Next:')[1]?.trim().split('\n') ?? []
    assert.ok(commands.length > 0)
    const check = run(['check', '--offline', '--config', 'config.yaml'])
    assert.deepEqual([check.status, check.stderr], [0, ''])
    const policies = run(['policies', '--config', 'config.yaml'])
    assert.match(policies.stdout, /allows\s+users with any scope/)
  })

  it('takes options in place of answers, and asks nothing then', async () => {
    const options = ['--tenant', tenant, '--audience', api, '--who', 'both', '--policy', 'orders']
    const { code, files } = await answer([], { options: ['--config', 'orders.yaml', ...options] })
    assert.equal(code, 0)
    const { policies } = parse(files.get('orders.yaml') ?? '')
    assert.deepEqual(
      policies.orders.allow.map(({ actor }: { actor: string }) => actor),
      ['user', 'app'],
    )
  })

  it('turns the variables into a file of the same meaning, and says which to unset', (t) => {
    const { run } = start(t)
    const env = {
      ENTRA_AUTH_TENANT_ID: tenant,
      ENTRA_AUTH_AUDIENCE: `api://orders,${api}`,
      ENTRA_AUTH_CLOUD: 'usgov',
      ENTRA_AUTH_CLIENT_ID: api,
      ENTRA_AUTH_HOSTS: 'www.example.com',
      AZURE_FEDERATED_TOKEN_FILE: '/run/token',
    }
    const { status, stdout, stderr } = run(['init'], '\n', env)
    assert.deepEqual([status, stderr], [0, ''])
    assert.match(
      stdout,
      /unset ENTRA_AUTH_TENANT_ID ENTRA_AUTH_AUDIENCE ENTRA_AUTH_CLOUD ENTRA_AUTH_CLIENT_ID ENTRA_AUTH_HOSTS\n/,
    )
    const fromVariables = JSON.parse(run(['policies', '--json'], '', env).stdout)
    const { AZURE_FEDERATED_TOKEN_FILE } = env
    const rest = { AZURE_FEDERATED_TOKEN_FILE }
    const fromFile = JSON.parse(
      run(['policies', '--json', '--config', 'config.yaml'], '', rest).stdout,
    )
    assert.deepEqual(fromFile, fromVariables)
  })

  it('never overwrites: not a file, a folder, or what a link leads to', (t) => {
    const { run, path } = start(t)
    writeFileSync(path('config.yaml'), 'mine\n')
    mkdirSync(path('folder'))
    symlinkSync(path('target.yaml'), path('link.yaml'))
    const options = ['--tenant', tenant, '--audience', api, '--who', 'both']
    for (const name of ['folder', 'link.yaml']) {
      const { status, stdout, stderr } = run(['init', '--config', name, ...options])
      assert.deepEqual([status, stdout], [1, ''])
      assert.equal(
        stderr,
        `error: ${name} exists and stays as it is; name another file with --config FILE\n`,
      )
    }
    assert.equal(readFileSync(path('config.yaml'), 'utf8'), 'mine\n')
    assert.equal(existsSync(path('target.yaml')), false)
    assert.ok(lstatSync(path('link.yaml')).isSymbolicLink())
    const { status, stderr } = run(['init', '--config', 'none/config.yaml', ...options])
    assert.equal(status, 1)
    assert.equal(run(['init'], '').status, 1)
    assert.match(stderr, /^error: none\/config\.yaml cannot be written \(ENOENT\); .*\n$/)
  })

  it('ends with 64 and one line where an answer is missing or cannot be right, and writes nothing', async () => {
    const wrong: readonly (readonly [string, RegExp])[] = [
      ['', /^error: --tenant is missing; .*\n$/],
      [`${tenant}\n`, /^error: --audience is missing; .*\n$/],
      ['common\n', /^error: --tenant is the placeholder "common".*\n$/],
      ['contoso.com\n', /^error: --tenant is not a GUID.*not a domain name.*\n$/],
      [`${tenant}\n,\n`, /^error: --audience .*\n$/],
      [`${tenant}\n${api}\neverybody\n`, /^error: --who .*\n$/],
      ['\u001b[2J\n', /^error: --tenant \P{Cc}*\n$/u],
      ['x'.repeat(100_000), /^error: --tenant is too long\.\n$/],
    ]
    for (const [input, expected] of wrong) {
      const { code, stderr, files } = await answer([input])
      assert.deepEqual([code, files.size], [64, 0], input.slice(0, 80))
      assert.match(stderr, expected)
    }
    const options = ['--tenant', tenant, '--audience', api, '--who', 'both', '--policy', 'a b']
    const { code, stderr, files } = await answer([], { options })
    assert.deepEqual([code, files.size], [64, 0])
    assert.match(stderr, /is not a usable name/)
  })

  it('asks again on a terminal after a wrong answer, three times at most', async () => {
    for (const [lines, expected] of [
      [['nonsense', tenant, 'api://orders', ''], 0],
      [['nonsense', 'nonsense', 'nonsense', tenant], 64],
    ] as const) {
      const typed = lines.map((line) => `${line}\n`)
      const { code, stderr, files } = await answer(typed, { isTTY: true })
      assert.equal(code, expected, stderr)
      assert.equal(stderr.split('Tenant id').length - 1, expected === 0 ? 2 : 3)
      assert.equal(files.size, expected === 0 ? 1 : 0)
    }
  })
})

/** Runs `init` with these pieces of text on standard input. */
async function answer(
  pieces: readonly string[],
  { isTTY = false, options = [] }: { isTTY?: boolean; options?: readonly string[] } = {},
) {
  let code = 0
  let stderr = ''
  const files = new Map<string, string>()
  async function* type() {
    for (const piece of pieces) yield Buffer.from(piece)
  }
  const io = {
    stdin: Object.assign(type(), { isTTY }),
    stdout: { write() {} },
    stderr: { write: (text: string) => (stderr += text) },
    env: {},
    readFile() {
      throw Object.assign(new Error('none'), { code: 'ENOENT' })
    },
    createFile: (path: string, text: string) => void files.set(path, text),
    exit(set: number): never {
      code = set
      throw new Error('exit')
    },
  }
  const program = new Command()
  addInitCommand(program, io as unknown as CommandIo)
  await program.parseAsync(['init', ...options], { from: 'user' }).catch(({ message }: Error) => {
    assert.equal(message, 'exit')
  })
  return { code, stderr, files }
}
