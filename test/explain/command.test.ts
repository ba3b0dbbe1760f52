import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Command } from 'commander'
import { addExplainCommand } from '../../src/commands/explain.ts'
import type { CommandIo } from '../../src/commands/io.ts'
import { makeFolder } from '../serve/process.ts'
import { configText, runCommand, startAuthority, type TestAuthority } from './fixture.ts'

let authority: TestAuthority
let files: Record<string, string>
before(async () => {
  authority = await startAuthority()
  files = { '/c.yaml': configText(authority.origin), '/bad.yaml': 'tenants: {}' }
})
after(() => authority.close())

function run(args: readonly string[], options: Parameters<typeof runCommand>[1]) {
  const start = (io: CommandIo) => {
    const program = new Command('haproxy-entra-auth')
    addExplainCommand(program, io)
    return program.parseAsync(['explain', ...args], { from: 'user' })
  }
  return runCommand(start, { files, ...options })
}

const orders = ['--config', '/c.yaml', '--policy', 'orders']

describe('the command explain', () => {
  it('ends with 0 for an allow', async () => {
    const ran = await run(orders, { stdin: await authority.issue({ persona: 'alice' }) })
    assert.match(ran.stdout, /^policy orders: allow 200\n/)
    assert.equal(ran.code, 0)
  })

  it('ends with 1 for a refusal', async () => {
    const ran = await run(orders, { stdin: await authority.issue({ persona: 'bob' }) })
    assert.match(ran.stdout, /^policy orders: deny 403 scope_missing\n/)
    assert.equal(ran.code, 1)
  })

  it('says where revocations could not be checked, and explains the rest', async (t) => {
    const folder = makeFolder(t)
    const stdin = await authority.issue({ persona: 'alice' })
    for (const [file, why] of [
      [folder, /not checked: revocations \(.* is not a file\)/],
      [join(folder, 'none'), /not checked: revocations \(.*none is not there\)/],
    ] as const) {
      files['/r.yaml'] = configText(authority.origin, { head: `revocationFile: ${file}` })
      const ran = await run(['--config', '/r.yaml', '--policy', 'orders'], { stdin })
      assert.match(ran.stdout, /^policy orders: allow 200\n/)
      assert.match(ran.stderr, why)
    }
    const file = join(folder, 'r.json')
    writeFileSync(file, '{"revocations": []}')
    files['/r.yaml'] = configText(authority.origin, { head: `revocationFile: ${file}` })
    const ran = await run(['--config', '/r.yaml', '--policy', 'orders'], { stdin })
    assert.deepEqual([ran.code, ran.stderr], [0, ''])
  })

  it('ends with 69 when the authority cannot be reached', async () => {
    const stdin = await authority.issue({ persona: 'alice' })
    await authority.fault('keys', 'html')
    const ran = await run(orders, { stdin }).finally(authority.reset)
    assert.match(ran.stdout, /^policy orders: unavailable 503 keys_unavailable\n/)
    assert.equal(ran.code, 69)
  })

  it('ends with 78 for a bad configuration, and for a policy that is not in it', async () => {
    const bad = await run(['--config', '/bad.yaml'], { stdin: 'x' })
    assert.deepEqual([bad.code, bad.stdout], [78, ''])
    const unknown = await run(['--config', '/c.yaml', '--policy', 'order'], { stdin: 'x' })
    assert.deepEqual([unknown.code, unknown.stdout], [78, ''])
    assert.match(unknown.stderr, /did you mean orders\?\n$/)
  })

  it('refuses a terminal with one line that says how to pipe', async () => {
    const ran = await run(orders, { isTTY: true })
    assert.equal(ran.code, 64)
    assert.match(ran.stderr, /^error: [^\n]*< FILE\n$/)
  })

  it('refuses no input and more than 32 KiB', async () => {
    assert.equal((await run(orders, { stdin: ' \n' })).code, 64)
    assert.equal((await run(orders, { stdin: 'a'.repeat(32 * 1024 + 1) })).code, 64)
  })

  it('takes a token with Bearer in front, line ends behind and a byte order mark', async () => {
    const token = await authority.issue({ persona: 'alice' })
    assert.equal((await run(orders, { stdin: `\uFEFFBearer ${token}\r\n` })).code, 0)
  })

  it('takes a token in the forms that tools and browsers give', async () => {
    const token = await authority.issue({ persona: 'alice' })
    const texts = [
      JSON.stringify({ token_type: 'Bearer', expires_in: 3599, access_token: token }),
      JSON.stringify({ accessToken: token, expiresOn: '2030-01-01 00:00:00.000000' }, undefined, 2),
      JSON.stringify({ Token: token, ExpiresOn: '2030' }),
      JSON.stringify(token),
      `Authorization: Bearer ${token}`,
      `authorization:bearer  ${token}\r\n`,
      JSON.stringify([{ accessToken: token, tenant: 'x' }]),
      JSON.stringify({ status: 200, body: { id_token: 'a.b.c', access_token: token } }),
      JSON.stringify({ headers: { Authorization: `Bearer ${token}` } }),
      JSON.stringify(JSON.stringify({ access_token: token })),
      `'${token}'`,
      `export ACCESS_TOKEN="${token}"`,
      `access_token=${token}&token_type=Bearer&expires_in=3599`,
      `curl -H "Authorization: Bearer ${token}" https://orders.example/`,
      `GET /orders HTTP/1.1\r\nHost: orders.example\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    ]
    for (const text of texts) {
      assert.equal((await run(orders, { stdin: text })).code, 0, text.slice(0, 30))
      assert.equal((await run(orders, { stdin: Buffer.from(text, 'utf16le') })).code, 0)
      assert.equal((await run(orders, { stdin: Buffer.from(`\uFEFF${text}`, 'utf16le') })).code, 0)
      const bigEndian = Buffer.from(`\uFEFF${text}`, 'utf16le').swap16()
      assert.equal((await run(orders, { stdin: bigEndian })).code, 0)
    }
  })

  it('takes the access token where an ID token stands before it', async () => {
    const [idToken, token] = [
      await authority.issue({ persona: 'alice', idToken: true }),
      await authority.issue({ persona: 'alice' }),
    ]
    const text = `{"id_token": "${idToken}", "access_token": "${token}"`
    for (const stdin of [text, `${text}}`]) assert.equal((await run(orders, { stdin })).code, 0)
  })

  it('chooses none of two tokens', async () => {
    const tokens = [
      await authority.issue({ persona: 'alice' }),
      await authority.issue({ persona: 'gina' }),
    ]
    const ran = await run(orders, { stdin: tokens.join(', ') })
    assert.match(ran.stdout, /^policy orders: deny 400 malformed_credentials/)
  })

  it('takes no token out of JSON that has none', async () => {
    const ran = await run(orders, { stdin: JSON.stringify({ id_token: 'a.b.c' }) })
    assert.match(ran.stdout, /^policy orders: deny 401 /)
  })

  it('shows neither the token nor its signature', async () => {
    for (const request of [{ persona: 'alice' }, { persona: 'alice', header: { kid: 'x' } }]) {
      const token = await authority.issue(request)
      for (const args of [orders, [...orders, '--json']]) {
        const { stdout } = await run(args, { stdin: token })
        for (const part of token.split('.')) assert.ok(!stdout.includes(part.slice(0, 20)))
      }
    }
  })

  it('escapes what a terminal would obey, in text and in JSON', async () => {
    const hostile = '\u001b[31mred\u202egnp\u0085\u2028\u{E0041}'
    const stdin = await authority.issue({
      persona: 'alice',
      claims: { aud: hostile, scp: hostile },
    })
    for (const args of [orders, [...orders, '--json']]) {
      const { stdout } = await run(args, { stdin })
      assert.doesNotMatch(stdout, /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u)
    }
    const { stdout } = await run([...orders, '--json'], { stdin })
    assert.ok(JSON.stringify(JSON.parse(stdout)).includes(JSON.stringify(hostile).slice(1, -1)))
  })

  it('keeps to 100 columns but for addresses', async () => {
    for (const persona of ['bob', 'groups200', 'mallory']) {
      const { stdout } = await run(orders, { stdin: await authority.issue({ persona }) })
      const long = stdout.split('\n').filter((line) => line.length > 100)
      assert.deepEqual(long, [])
    }
  })
})
