import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Command } from 'commander'
import type { CommandIo } from '../../src/commands/io.ts'
import { addRevocationCommands } from '../../src/commands/revocations.ts'
import { loadConfig } from '../../src/config/load.ts'
import {
  createRevocationStore,
  parseFile,
  type RevocationStore,
} from '../../src/revocation/revocation-store.ts'
import { type Ran, runCommand } from '../explain/fixture.ts'
import { makeFolder } from '../serve/process.ts'
import { ids } from '../support/ids.ts'
import { callerKey, type Service, startService } from '../support/service.ts'

const user = `${ids.contoso}/${ids.user}`

describe('revocations', () => {
  const cleanUps: (() => unknown)[] = []
  let service: Service
  let url: string
  let store: RevocationStore
  before(async () => {
    const folder = makeFolder({ after: (cleanUp) => void cleanUps.push(cleanUp) })
    store = createRevocationStore(join(folder, 'r.json'), () => service.time.nowMs)
    service = await startService({
      revocations: store,
      config: { admin: { adminKeyFile: '/run/key' } },
    })
    cleanUps.push(() => service.close())
    await service.app.admin.listen({ host: '127.0.0.1', port: 0 })
    url = `http://127.0.0.1:${(service.app.admin.server.address() as AddressInfo).port}`
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  /** Runs with the address and the key in variables alone. */
  function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
    const start = (io: CommandIo) => {
      const program = new Command('haproxy-entra-auth')
      const variables = { ENTRA_AUTH_ADMIN_URL: url, ENTRA_AUTH_ADMIN_KEY_FILE: '/run/key', ...env }
      addRevocationCommands(program, { ...io, env: variables })
      return program.parseAsync(['revocations', ...args], { from: 'user' })
    }
    const files = { '/run/key': `${callerKey}\nthe-next-key-0123456789\n` }
    return runCommand(start, { files, now: () => service.time.nowMs })
  }

  it('list says that nothing is revoked', async () => {
    assert.deepEqual((await run(['list'])).stdout, 'nothing is revoked\n')
    assert.deepEqual(JSON.parse((await run(['list', '--json'])).stdout), { revocations: [] })
  })

  it('add says when it ends, and that a new sign-in gets in unless the account is disabled', async () => {
    const { code, stdout } = await run(['add', 'user', user, '--reason', 'left'], {
      USER: 'root',
      SUDO_USER: 'mia',
    })
    assert.equal(code, 0)
    assert.match(stdout, new RegExp(`^revoked: user ${user}\n`))
    const text = stdout.replaceAll(/\s+/g, ' ')
    assert.match(
      text,
      /from before 2026-01-15 12:00:00 UTC count no more\. It ends at 2026-01-16 13:05:00 UTC/,
    )
    assert.match(text, /A new sign-in gets in\. To prevent it, disable the account in Entra too\./)
  })

  it('the log says who did it', () => {
    const line = JSON.parse(service.log.findLast((one) => one.includes('"revoked"')) ?? '{}')
    assert.deepEqual([line.by, line.from], ['mia', '127.0.0.1'])
  })

  it('list is a table with times that people read', async () => {
    const { stdout } = await run(['list'])
    assert.equal(
      stdout,
      [
        `user     ${user}`,
        '         from before 2026-01-15 12:00:00 UTC (in 0 s)',
        '         until 2026-01-16 13:05:00 UTC (in 25 h)',
        '         reason: left',
        '1 in all',
        '',
      ].join('\n'),
    )
    const { revocations } = JSON.parse((await run(['list', '--json'])).stdout)
    assert.equal(revocations[0].id, user)
  })

  it('list --json is a revocation file, as docs/store.md uses it', async () => {
    const page = readFileSync(new URL('../../docs/store.md', import.meta.url), 'utf8')
    assert.match(page, /revocations list --json > /)
    const [entry] = parseFile((await run(['list', '--json'])).stdout)
    assert.deepEqual([entry?.kind, entry?.id, entry?.reason], ['user', user, 'left'])
    const { stdout } = await run(['list'])
    assert.throws(() => parseFile(stdout), /not JSON/)
  })

  it('list shows nothing that a terminal would obey', async () => {
    await run(['add', 'tenant', ids.fabrikam, '--reason', '\u001b[31mred\u202e'])
    for (const more of [[], ['--json']]) {
      const { stdout } = await run(['list', ...more])
      assert.doesNotMatch(stdout, /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/u)
    }
  })

  it('remove says that tokens from before count again, and how to admit new ones only', async () => {
    const { code, stdout } = await run(['remove', 'tenant', ids.fabrikam])
    assert.equal(code, 0)
    const text = stdout.replaceAll(/\s+/g, ' ')
    assert.match(text, /Tokens and sessions from before count again until they expire\./)
    assert.match(text, /To admit new ones only/)
    const line = JSON.parse(service.log.findLast((one) => one.includes('revocation ended')) ?? '{}')
    assert.deepEqual([line.by, line.from], ['unknown', '127.0.0.1'])
  })

  it('remove --new-tokens-only leaves a revocation that lets new tokens in', async () => {
    const { stdout } = await run(['remove', 'user', user, '--new-tokens-only'])
    assert.match(
      stdout,
      /^nothing to change: tokens issued from 2026-01-15 12:00:00 UTC on count already/,
    )
    assert.match((await run(['list'])).stdout, new RegExp(user))
  })

  it('remove --new-tokens-only ends one that is dated ahead for new tokens alone', async () => {
    await run(['add', 'user', user, '--before', '2026-01-20T00:00:00Z'])
    const { stdout } = await run(['remove', 'user', user.toUpperCase(), '--new-tokens-only'])
    assert.match(stdout, /^new tokens count again: /)
    const { revocations } = JSON.parse((await run(['list', '--json'])).stdout)
    assert.equal(revocations[0].before, Math.ceil(service.time.nowMs / 1000))
  })

  it('remove --new-tokens-only leaves an end that follows the lifetime of tokens', async () => {
    await run(['add', 'user', user, '--before', '2026-01-20T00:00:00Z'])
    await run(['remove', 'user', user, '--new-tokens-only'])
    assert.deepEqual(
      store.list.stored.map(({ untilDefault }) => untilDefault),
      [true],
    )
  })

  it('remove --new-tokens-only is wrong use for a token, and fails where nothing is revoked', async () => {
    assert.equal((await run(['remove', 'token', 'x', '--new-tokens-only'])).code, 64)
    assert.equal((await run(['remove', 'tenant', ids.fabrikam, '--new-tokens-only'])).code, 1)
  })

  it('a name that is none reaches no log', async () => {
    await run(['add', 'token', 'x1'], { USER: 'a b\n{"msg":"forged"}' })
    const line = JSON.parse(service.log.findLast((one) => one.includes('"revoked"')) ?? '{}')
    assert.equal(line.by, 'unknown')
    for (const name of ['<b>', 'x'.repeat(65), 'eyJhbGciOiJSUzI1NiJ9.e30.AAAA']) {
      await service.app.admin.inject({
        method: 'DELETE',
        url: '/revocations?kind=token&id=x1',
        headers: { authorization: `Bearer ${callerKey}`, 'x-entra-auth-operator': name },
      })
      const said = service.log.findLast((one) => one.includes('revocation ended')) ?? ''
      assert.ok(!said.includes(name), name)
      await run(['add', 'token', 'x1'])
    }
  })

  it('options count before variables, and a service elsewhere is named', async () => {
    const { code, stderr } = await run(['list', '--admin-url', 'http://127.0.0.1:1'])
    assert.equal(code, 69)
    assert.match(stderr, /no answer from http:\/\/127\.0\.0\.1:1: /)
    assert.equal((await run(['list', '--admin-key-file', '/nothing'])).code, 64)
  })

  it('without a variable the port of the service in the same environment is asked', async () => {
    const port = new URL(url).port
    const env = { ENTRA_AUTH_ADMIN_URL: '', ENTRA_AUTH_ADMIN_PORT: port }
    assert.equal((await run(['list'], env)).code, 0)
  })
})

describe('the place of revocations from variables alone', () => {
  const two = { ENTRA_AUTH_TENANT_ID: ids.contoso, ENTRA_AUTH_AUDIENCE: ids.api }
  const fileOf = async (env: Readonly<Record<string, string>>, file?: string) => {
    const readFile = () => file ?? assert.fail('no file')
    const loaded = await loadConfig({
      env,
      readFile,
      ...(file !== undefined && { file: '/c.yaml' }),
    })
    return loaded.ok ? loaded.config.revocationFile : loaded.problems.map(({ path }) => path)
  }
  const text = `tenants: { c: ${ids.contoso} }\npolicies: { p: { audiences: [x], allow: [{ actor: user }] } }\n`

  it('is one variable', async () => {
    assert.equal(
      await fileOf({ ...two, ENTRA_AUTH_REVOCATION_FILE: '/data/r.json' }),
      '/data/r.json',
    )
  })
  it('is the state directory that systemd gives', async () => {
    assert.equal(
      await fileOf({ ...two, STATE_DIRECTORY: '/var/lib/a:/var/lib/b' }),
      '/var/lib/a/revocations.json',
    )
    const both = { STATE_DIRECTORY: '/var/lib/a', ENTRA_AUTH_REVOCATION_FILE: '/data/r.json' }
    assert.equal(await fileOf({ ...two, ...both }), '/data/r.json')
  })
  it('is none without either', async () => assert.equal(await fileOf(two), undefined))
  it('is used with a file that sets none, and conflicts with one that does', async () => {
    const env = { ENTRA_AUTH_REVOCATION_FILE: '/data/r.json', STATE_DIRECTORY: '/var/lib/a' }
    assert.equal(await fileOf(env, text), '/data/r.json')
    assert.deepEqual(await fileOf(env, `${text}revocationFile: /x\n`), [
      'ENTRA_AUTH_REVOCATION_FILE',
    ])
    assert.equal(await fileOf({ STATE_DIRECTORY: '/var/lib/a' }, text), undefined)
  })
  it('is named by the answer of a service that has none', async (t) => {
    const service = await startService()
    t.after(() => service.close())
    const reply = await service.app.admin.inject({
      method: 'POST',
      url: '/revocations',
      headers: { host: '127.0.0.1' },
      payload: { kind: 'user', id: user },
    })
    assert.equal(reply.statusCode, 409)
    assert.match(reply.json().error_description, /ENTRA_AUTH_REVOCATION_FILE/)
  })
  it('is on the page of variables', () => {
    const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
    for (const name of ['REVOCATION_FILE', 'ADMIN_URL', 'ADMIN_KEY_FILE']) {
      assert.ok(page.includes(`\`ENTRA_AUTH_${name}\``), name)
    }
  })
})
