import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { fixture, replaced } from './fixture.ts'
import { run } from './run.ts'

const files = {
  'h.cfg': fixture('clean.cfg'),
  'c.yaml': fixture('config.yaml'),
  'app.json': fixture('app.json'),
}
const config = ['--config', 'c.yaml']
const all = ['drift', '--haproxy', 'h.cfg', ...config, '--app', 'app.json']
const withoutGuard = replaced(
  files['h.cfg'],
  'auth orders # the policy\n    http-request deny deny_status 503 unless { var(txn.entra.ok) -m bool }\n',
  'auth orders\n',
)
const withoutScope = replaced(files['app.json'], 'Orders.Read"', 'Orders.Write"')

describe('haproxy-entra-auth drift', () => {
  it('ends with 0 and one line where nothing is found', async () => {
    const { stdout, stderr, code } = await run(all, files)
    assert.deepEqual([stdout, stderr, code], ['no drift: 0 errors, 0 warnings, 1 ignored\n', '', 0])
  })

  it('ends with 1 and says what, where and what to do', async () => {
    const { stdout, code } = await run(all, { ...files, 'h.cfg': withoutGuard })
    assert.equal(code, 1)
    assert.match(
      stdout,
      /^error guard-missing: h\.cfg:\d+ \(backend orders\)\n {2}has no guard .*\n {2}Add .*\ndrift: 1 error, 0 warnings, 1 ignored\n$/,
    )
  })

  it('prints errors before warnings, and the same each time', async () => {
    const both = { ...files, 'app.json': withoutScope }
    const { stdout } = await run(all, both)
    assert.deepEqual(
      [...stdout.matchAll(/^(\w+) (scope-[a-z]+):/gm)].map(
        ([, severity, code]) => `${severity} ${code}`,
      ),
      ['error scope-missing', 'warning scope-unused'],
    )
    assert.equal((await run(all, both)).stdout, stdout)
  })

  it('prints JSON', async () => {
    const { stdout, code } = await run([...all, '--json'], { ...files, 'h.cfg': withoutGuard })
    const report = JSON.parse(stdout)
    assert.equal(code, 1)
    assert.deepEqual(
      [report.drift, report.counts],
      [true, { error: 1, warning: 0, info: 0, ignored: 1 }],
    )
    assert.deepEqual(Object.keys(report.findings[0]), [
      'code',
      'severity',
      'place',
      'message',
      'hint',
    ])
  })

  it('does not count information as drift', async () => {
    const app = replaced(files['app.json'], '"xms_edov"', '"other"')
    const { stdout, code } = await run(all, { ...files, 'app.json': app })
    assert.match(
      stdout,
      /^info email-claim-missing: .*\nno drift: 0 errors, 0 warnings, 1 for information, 1 ignored/s,
    )
    assert.equal(code, 0)
  })

  it('leaves out what --ignore names', async () => {
    const broken = { ...files, 'h.cfg': withoutGuard }
    const { stdout, code } = await run([...all, '--ignore', 'guard-missing'], broken)
    assert.deepEqual([stdout, code], ['no drift: 0 errors, 0 warnings, 2 ignored\n', 0])
    const wrong = await run([...all, '--ignore', 'guard-mising'], broken)
    assert.equal(wrong.code, 64)
    assert.match(wrong.stderr, /Did you mean guard-missing\?/)
  })

  it('reads several HAProxy files as one configuration', async () => {
    const [head = '', tail = ''] = files['h.cfg'].split('frontend www')
    const split = { ...files, 'a.cfg': head, 'b.cfg': `frontend www${tail}` }
    const { stdout } = await run(['drift', '--haproxy', 'a.cfg', 'b.cfg', ...config], split)
    assert.equal(stdout, 'no drift: 0 errors, 0 warnings, 1 ignored\n')
  })

  it('reads the *.cfg of a folder in the order of their names, as HAProxy does', async () => {
    const [head = '', tail = ''] = files['h.cfg'].split('frontend www')
    const folder = {
      'c.yaml': files['c.yaml'],
      'conf.d/b.cfg': `frontend www${tail}`,
      'conf.d/a.cfg': head,
      'conf.d/.c.cfg': 'backend hidden\n  mode http\n  server s 127.0.0.1:1',
      'conf.d/d.cfg.bak': 'backend old\n  mode http\n  server s 127.0.0.1:1',
    }
    const { stdout } = await run(['drift', '--haproxy', 'conf.d/', ...config], folder)
    assert.equal(stdout, 'no drift: 0 errors, 0 warnings, 1 ignored\n')
    const wrong = { ...folder, 'conf.d/e.cfg': 'backend more\n  mode http\n  server s 127.0.0.1:1' }
    const more = await run(['drift', '--haproxy', 'conf.d', ...config], wrong)
    assert.match(more.stdout, /^error action-missing: conf\.d\/e\.cfg:1 \(backend more\)$/m)
  })

  it('refuses a folder without a configuration', async () => {
    const { stderr, code } = await run(['drift', '--haproxy', 'empty', ...config], {
      ...files,
      'empty/readme.txt': '',
    })
    assert.match(stderr, /no file \*\.cfg in the folder empty/)
    assert.equal(code, 64)
  })

  it('takes a registration for each policy', async () => {
    const other = replaced(files['app.json'], '"Orders.Admin"', '"Orders.Chief"')
    const { stdout } = await run(
      ['drift', ...config, '--app', 'app.json', '--app', 'stock=other.json', '--json'],
      { ...files, 'other.json': other },
    )
    const codes = JSON.parse(stdout).findings.map(
      ({ code, message }: Record<string, string>) => `${code} ${message?.match(/"(.*?)"/)?.[1]}`,
    )
    // orders alone needs neither of these; stock alone needs no scope and one role.
    assert.deepEqual(codes, ['scope-unused Orders.Read', 'role-unused Orders.Chief'])
  })

  it('works without a file for our configuration', async () => {
    const env = {
      ENTRA_AUTH_TENANT_ID: '11111111-1111-4111-8111-111111111111',
      ENTRA_AUTH_AUDIENCE: 'api://orders,33333333-3333-4333-8333-333333333333',
    }
    const { stdout, code } = await run(['drift', '--app', 'app.json'], files, env)
    assert.deepEqual([stdout, code], ['no drift: 0 errors, 0 warnings\n', 0])
  })

  it('needs no key file', async () => {
    const keyed = `callerKeyFile: /run/secrets/caller-key\n${files['c.yaml']}`
    assert.equal((await run(all, { ...files, 'c.yaml': keyed })).code, 0)
  })

  it('escapes what a terminal would obey', async () => {
    const odd = replaced(files['h.cfg'], 'auth orders #', 'auth "or\\x1b[31mders\u202e" #')
    const { stdout } = await run(all, { ...files, 'h.cfg': odd })
    assert.match(stdout, /policy-unknown/)
    for (const character of ['\x1b', '\u202e']) assert.ok(!stdout.includes(character))
  })

  const refused: readonly [string, readonly string[], RegExp][] = [
    ['nothing to compare', ['drift', ...config], /nothing to compare/],
    ['an unknown option', ['drift', '--nonsense'], /unknown option/],
    [
      'a HAProxy file that is not there',
      ['drift', '--haproxy', 'none.cfg', ...config],
      /cannot read none\.cfg \(ENOENT\)/,
    ],
    [
      'a registration that is not there',
      ['drift', '--app', 'none.json', ...config],
      /cannot read none\.json/,
    ],
    ['a registration that is none', ['drift', '--app', 'c.yaml', ...config], /c\.yaml is not JSON/],
    [
      'a policy that is none',
      ['drift', '--app', 'order=app.json', ...config],
      /policy order, .*orders, stock/,
    ],
    [
      'two registrations for all',
      ['drift', '--app', 'app.json', '--app', 'app.json', ...config],
      /two --app/,
    ],
    [
      'a change without a registration',
      ['drift', '--haproxy', 'h.cfg', '--fix', ...config],
      /--fix changes a registration/,
    ],
    [
      'a change of two registrations',
      ['drift', '--fix', '--app', 'orders=app.json', '--app', 'stock=b.json', ...config],
      /one registration at a time/,
    ],
  ]
  for (const [name, args, message] of refused) {
    it(`refuses ${name} with 64 and one line`, async () => {
      const { stdout, stderr, code } = await run(args, { ...files, 'b.json': files['app.json'] })
      assert.deepEqual([stdout, code], ['', 64])
      assert.match(stderr, message)
      assert.equal(stderr.trimEnd().split('\n').length, 1, stderr)
    })
  }

  it('ends with 78 where our configuration is wrong', async () => {
    const { stderr, code } = await run(all, { ...files, 'c.yaml': 'policies: {}' })
    assert.equal(code, 78)
    assert.match(stderr, /^Configuration: /)
  })

  it('has a help with its exit codes', async () => {
    const { stdout, code } = await run(['drift', '--help'])
    assert.equal(code, 0)
    assert.match(stdout, /0 no drift, 1 drift, 64 /)
  })
})

describe('haproxy-entra-auth drift for a configuration in variables', () => {
  const env = {
    ENTRA_AUTH_TENANT_ID: '11111111-1111-4111-8111-111111111111',
    ENTRA_AUTH_AUDIENCE: 'api://elsewhere',
  }
  const keys =
    /\b(audiences|tenants|policies|listen|signIn|callerKeyFile)\b|in a policy\b|remove it\b/
  const hintsOf = async (args: readonly string[], variables: Record<string, string> = env) => {
    const { stdout } = await run(['drift', '--json', ...args], files, variables)
    const { findings } = JSON.parse(stdout) as {
      findings: { code: string; message: string; hint: string }[]
    }
    for (const { message, hint } of findings) assert.doesNotMatch(`${message} ${hint}`, keys)
    return new Map(findings.map(({ code, hint }) => [code, hint]))
  }

  it('names the variable of the audience, in text too', async () => {
    const hints = await hintsOf(['--app', 'app.json'])
    assert.match(hints.get('audience-unknown') ?? '', /^Write 3333.* in ENTRA_AUTH_AUDIENCE\.$/)
    assert.match(hints.get('audience-version') ?? '', /^Add 3333.* to ENTRA_AUTH_AUDIENCE, or set /)
    const { stdout } = await run(['drift', '--app', 'app.json'], files, env)
    assert.match(stdout, /in ENTRA_AUTH_AUDIENCE\.\n/)
  })

  it('keeps the policy that variables give, and says what another one needs', async () => {
    const hints = await hintsOf(['--haproxy', 'h.cfg'])
    assert.equal(hints.get('policy-unused'), 'Use it with http-request lua.entra-auth default.')
    assert.match(
      hints.get('policy-unknown') ?? '',
      /^Variables give the policy default only\. For others, haproxy-entra-auth init writes/,
    )
  })

  it('says what a scope needs where people only sign in', async () => {
    const { ENTRA_AUTH_TENANT_ID } = env
    const hints = await hintsOf(['--app', 'app.json'], {
      ENTRA_AUTH_TENANT_ID,
      ENTRA_AUTH_CLIENT_ID: '33333333-3333-4333-8333-333333333333',
      ENTRA_AUTH_HOSTS: 'portal.example.com',
      AZURE_FEDERATED_TOKEN_FILE: '/t',
    })
    assert.match(
      hints.get('scope-unused') ?? '',
      /^Disable and then delete it\. For a grant that names it, haproxy-entra-auth init writes/,
    )
  })

  it('says the same of what --fix leaves open', async () => {
    const { stderr } = await run(['drift', '--fix', '--app', 'app.json'], files, env)
    assert.match(stderr, /in ENTRA_AUTH_AUDIENCE\.\n/)
    assert.doesNotMatch(stderr, keys)
  })
})

describe('haproxy-entra-auth drift --fix', () => {
  const args = ['drift', ...config, '--app', 'app.json', '--fix']

  it('prints an empty object where nothing is to change', async () => {
    const { stdout, stderr, code } = await run(args, files)
    assert.deepEqual([stdout, stderr, code], ['{}\n', '', 0])
  })

  it('prints the change on stdout and what it leaves open on stderr', async () => {
    const { stdout, stderr, code } = await run(args, { ...files, 'app.json': withoutScope })
    assert.deepEqual(Object.keys(JSON.parse(stdout)), ['api'])
    assert.match(stderr, /^Not changed by this:\nwarning scope-unused:/)
    assert.equal(code, 1)
  })

  it('ends with 0 where the change is enough', async () => {
    const app = replaced(files['app.json'], '"name": "acct"', '"name": "other"')
    const { stderr, code } = await run(args, { ...files, 'app.json': app })
    assert.deepEqual([stderr, code], ['', 0])
  })
})
