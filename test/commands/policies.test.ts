import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { Command } from 'commander'
import { addExplainCommand } from '../../src/commands/explain.ts'
import type { CommandIo } from '../../src/commands/io.ts'
import { addPoliciesCommand } from '../../src/commands/policies.ts'
import { addTestCommand } from '../../src/commands/test.ts'
import { type Ran, runCommand } from '../explain/fixture.ts'
import { ids } from '../support/ids.ts'
import { startService } from '../support/service.ts'

const config = `
callerKeyFile: /run/only/the/unit/has/it
tenants: { contoso: ${ids.contoso} }
policies:
  orders:
    audiences: [api://orders, ${ids.api}]
    allow:
      - { actor: user, scopes: [Orders.Read], guests: false }
      - { actor: app, roles: [Orders.Process] }
    deny: [{ clients: [${ids.otherClient}] }]
  portal:
    audiences: [api://portal]
    reportOnlyUntil: 2031-01-31
    allow: [{ actor: user, scopes: any }]
`
const now = () => Date.UTC(2030, 0, 1)

function run(args: readonly string[], files: Record<string, string> = {}): Promise<Ran> {
  const start = (io: CommandIo) => {
    const program = new Command('haproxy-entra-auth').exitOverride()
    for (const add of [addPoliciesCommand, addTestCommand, addExplainCommand]) add(program, io)
    return program.parseAsync([...args, '--config', '/c.yaml'], { from: 'user' })
  }
  return runCommand(start, { files: { '/c.yaml': config, ...files }, now })
}

describe('policies', () => {
  it('describes the active policies in words, without any key file', async () => {
    const { code, stdout, stderr } = await run(['policies'])
    assert.deepEqual([code, stderr], [0, ''])
    assert.match(stdout, /^policy {7}orders$/m)
    assert.match(stdout, /denies {5}everybody through the client /)
    assert.match(stdout, /allows {5}users with the scope Orders.Read, no guests$/m)
    assert.match(stdout, /allows {5}apps with the role Orders.Process$/m)
    assert.match(stdout, /REFUSES {4}nobody until 2031-01-31T00:00:00.000Z$/m)
    assert.ok(stdout.split('\n').every((line) => line.length <= 100))
  })

  it('gives the same as JSON', async () => {
    const { stdout } = await run(['policies', '--json'])
    const { version, policies } = JSON.parse(stdout)
    assert.match(version, /^[\w-]{16}$/)
    assert.equal(policies[0].allow[1].words, 'apps with the role Orders.Process')
    assert.equal(policies[0].allow[1].path, 'policies.orders.allow[1]')
    assert.deepEqual(policies[0].allow[1].rule, { actor: 'app', roles: ['Orders.Process'] })
  })

  it('ends with 78 for a wrong configuration', async () => {
    assert.equal((await run(['policies'], { '/c.yaml': 'tenants: {}' })).code, 78)
  })
})

describe('GET /policies of the admin listener', () => {
  it('returns the active policies, also after a reload', async () => {
    const service = await startService()
    after(() => service.close())
    const ask = async () => {
      const reply = await service.app.admin.inject({
        url: '/policies',
        headers: { host: '127.0.0.1' },
      })
      assert.deepEqual([reply.statusCode, reply.headers['cache-control']], [200, 'no-store'])
      return reply.json()
    }
    const before = await ask()
    assert.deepEqual(
      before.policies[0].allow.map(({ words }: { words: string }) => words),
      ['users with the scope Orders.Read', 'apps with the role Orders.Process'],
    )
    await service.reload({
      tenants: { contoso: { id: ids.contoso, authority: service.authority.url } },
      policies: { stock: { audiences: ['api://stock'], allow: [{ actor: 'app', roles: 'any' }] } },
    })
    const later = await ask()
    assert.deepEqual(
      later.policies.map(({ name, allow }: { name: string; allow: { words: string }[] }) => [
        name,
        allow[0]?.words,
      ]),
      [['stock', 'apps with any role']],
    )
    assert.notEqual(later.version, before.version)
  })
})

describe('explain --claims', () => {
  const explain = (claims: object, ...args: string[]) =>
    run(['explain', '--policy', 'orders', '--claims', '/claims.json', ...args], {
      '/claims.json': JSON.stringify(claims),
    })

  it('admits and refuses as the service would, without asking any authority', async () => {
    const allowed = await explain({ scp: 'Orders.Read', acct: 0 })
    assert.match(allowed.stdout, /^policy orders: allow 200\n/)
    assert.equal(allowed.code, 0)
    const guest = await explain({ scp: 'Orders.Read', acct: 1 })
    assert.match(guest.stdout, /^policy orders: deny 403 guest_not_allowed\n/)
    assert.equal(guest.code, 1)
  })

  it('says what it filled in and what it did not check', async () => {
    const { stderr, stdout } = await explain({ roles: ['Orders.Process'], aud: 'api://orders' })
    assert.match(stderr, /^not checked: form, issuer, key, signature, revocations$/m)
    assert.match(stderr, /^filled in: ver, tid, iss, oid, sub, azp, idtyp, iat, nbf, exp$/m)
    assert.match(stdout, /^policy orders: allow 200\n/)
  })

  for (const [what, claims, reason] of [
    ['an audience', { scp: 'Orders.Read', aud: 'api://other' }, 'audience_mismatch'],
    ['a tenant', { scp: 'Orders.Read', tid: ids.fabrikam }, 'tenant_not_allowed'],
    ['an end', { scp: 'Orders.Read', iat: 1, nbf: 1, exp: 2 }, 'token_expired'],
    ['a version', { scp: 'Orders.Read', ver: '3.0' }, 'version_unknown'],
    ['a type', { scp: 7 }, 'claim_malformed'],
    ['a client that a rule denies', { scp: 'Orders.Read', azp: ids.otherClient }, 'denied_by_rule'],
  ] as const) {
    it(`looks at ${what} that the file says: ${reason}`, async () => {
      const { stdout, code } = await explain(claims, '--json')
      assert.equal(JSON.parse(stdout).reason, reason)
      assert.equal(code, 1)
    })
  }

  it('ends with 64 for a file that is not there or no object', async () => {
    assert.equal((await run(['explain', '--claims', '/nothing'])).code, 64)
    for (const text of ['[]', '"text"', '{', '']) {
      const ran = await run(['explain', '--claims', '/x'], { '/x': text })
      assert.deepEqual([ran.code, ran.stdout], [64, ''], text)
    }
  })
})

describe('test', () => {
  const table = (cases: unknown) => ({ '/t.yaml': JSON.stringify({ cases }) })
  const good = [
    { name: 'a user', policy: 'orders', claims: { scp: 'Orders.Read', acct: 0 }, expect: 'allow' },
    { name: 'a guest', policy: 'orders', claims: { scp: 'Orders.Read', acct: 1 }, expect: 'deny' },
    { name: 'no role', policy: 'orders', claims: {}, expect: 'role_missing' },
    {
      name: 'agent',
      policy: 'orders',
      claims: { idtyp: 'app', roles: ['Orders.Process'], xms_par_app_azp: ids.client },
      expect: 'actor_not_allowed',
    },
  ]

  it('ends with 0 where all is as expected', async () => {
    const { code, stdout } = await run(['test', '/t.yaml'], table(good))
    assert.equal(code, 0)
    assert.match(stdout, /^ok {6}orders: a user$/m)
    assert.match(stdout, /\n4 as expected, 0 not\n$/)
  })

  it('ends with 1 and says what was missing where one case is not', async () => {
    const wrong = { policy: 'orders', claims: { scp: 'Orders.Write' }, expect: 'allow' }
    const { code, stdout } = await run(['test', '/t.yaml'], table([...good, wrong]))
    assert.equal(code, 1)
    assert.match(
      stdout,
      /expected allow, got scope_missing \(policies\.orders\.allow\[0\]\s+wants\s+the\s+scope\s+Orders\.Read;\s+had\s+the\s+scope\s+Orders\.Write\)/,
    )
    assert.match(stdout, /\n4 as expected, 1 not\n$/)
  })

  it('does not take another reason for the one that is expected', async () => {
    const one = { policy: 'orders', claims: {}, expect: 'scope_missing' }
    assert.equal((await run(['test', '/t.yaml'], table([one]))).code, 1)
  })

  it('judges what will be enforced while a policy only reports', async () => {
    const one = { policy: 'portal', claims: {}, expect: 'deny' }
    assert.equal((await run(['test', '/t.yaml'], table([one]))).code, 0)
  })

  it('gives JSON', async () => {
    const { stdout } = await run(['test', '/t.yaml', '--json'], table(good))
    const { passed, failed, cases } = JSON.parse(stdout)
    assert.deepEqual([passed, failed], [4, 0])
    assert.equal(cases[2].missing.wanted, 'the role Orders.Process')
  })

  for (const [what, text, sentence] of [
    ['no table', 'x', /has no list "cases"/],
    ['an empty one', '{"cases":[]}', /"cases" is empty/],
    ['a broken one', '{"cases":[', /line 1/],
    ['another key beside', '{"cases":[],"policy":"x"}', /unknown key "policy"/],
    ['an unknown key', '{"cases":[{"claim":{},"expect":"deny"}]}', /did you mean claims\?/],
    [
      'an unknown policy',
      '{"cases":[{"policy":"order","expect":"deny"}]}',
      /did you mean orders\?/,
    ],
    [
      'an unknown reason',
      '{"cases":[{"policy":"orders","expect":"scope_mising"}]}',
      /did you mean scope_missing\?/,
    ],
    ['no expectation', '{"cases":[{"policy":"orders"}]}', /"expect" is missing/],
    [
      'claims that are none',
      '{"cases":[{"policy":"orders","claims":[],"expect":"deny"}]}',
      /"claims"/,
    ],
    ['a name that is none', '{"cases":[{"policy":"orders","name":1,"expect":"deny"}]}', /"name"/],
    [
      'a session that is none',
      '{"cases":[{"policy":"orders","session":1,"expect":"deny"}]}',
      /"session"/,
    ],
  ] as const) {
    it(`ends with 64 for ${what}`, async () => {
      const ran = await run(['test', '/t.yaml'], { '/t.yaml': text })
      assert.deepEqual([ran.code, ran.stdout], [64, ''])
      assert.match(ran.stderr, sentence)
    })
  }

  it('reports all faults of a table at once, each with its line and what to write', async () => {
    const text = `cases:
  - { policy: order, expect: allow }
  - name: 1
    policy: orders
    expect: deny
  - { policy: orders, session: 1, exepct: deny }
more: 1
`
    const ran = await run(['test', '/t.yaml'], { '/t.yaml': text })
    assert.deepEqual([ran.code, ran.stdout], [64, ''])
    assert.deepEqual(ran.stderr.trimEnd().split('\n'), [
      'error: /t.yaml: line 7: unknown key "more"; a table has the key cases only',
      'error: /t.yaml: cases[0] (line 2): no policy "order" in the configuration; did you mean orders?',
      'error: /t.yaml: cases[1] (line 3): "name" is no text; put it in quotes',
      'error: /t.yaml: cases[2] (line 6): unknown key "exepct"; did you mean expect?',
      'error: /t.yaml: cases[2] (line 6): "session" is neither true nor false',
      'error: /t.yaml: cases[2] (line 6): "expect" is missing; write allow, deny or a reason such as scope_missing',
    ])
  })

  it('names the policies where none is near', async () => {
    const text = '{"cases":[{"policy":"zzz","expect":"deny"}]}'
    const { stderr } = await run(['test', '/t.yaml'], { '/t.yaml': text })
    assert.match(stderr, /no policy "zzz" in the configuration; there are: orders, portal$/m)
  })

  it('knows sessions of a browser', async () => {
    const files = {
      '/c.yaml': `
tenants: { contoso: ${ids.contoso} }
signIn:
  clientId: ${ids.client}
  tenant: contoso
  credential: { managedIdentity: system }
  hosts: [portal.contoso.com]
policies:
  portal: { allow: [{ actor: user, session: true, roles: [Staff] }] }
`,
      ...table([
        { policy: 'portal', session: true, claims: { roles: ['Staff'] }, expect: 'allow' },
        { policy: 'portal', session: true, expect: 'role_missing' },
        { policy: 'portal', claims: { scp: 'x', roles: ['Staff'] }, expect: 'deny' },
      ]),
    }
    const { code, stdout } = await run(['test', '/t.yaml'], files)
    assert.equal(code, 0, stdout)
  })

  it('escapes what a terminal would obey', async () => {
    const hostile = '\u001b[31mred\u202e'
    const one = { name: hostile, policy: 'orders', claims: { scp: hostile }, expect: 'allow' }
    for (const more of [[], ['--json']]) {
      const { stdout } = await run(['test', '/t.yaml', ...more], table([one]))
      assert.doesNotMatch(stdout, /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/u)
    }
  })
})
