import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { Command } from 'commander'
import type { CheckReport } from '../../src/check/report.ts'
import { addCheckCommand } from '../../src/commands/check.ts'
import type { CommandIo } from '../../src/commands/io.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import {
  configText,
  contoso,
  runCommand,
  startAuthority,
  type TestAuthority,
} from '../explain/fixture.ts'

let authority: TestAuthority
before(async () => {
  authority = await startAuthority()
})
after(() => authority.close())

const tlsFiles = 'tls: { certificateFile: /tls.crt, keyFile: /tls.key }'
const tls = await createTlsIdentity(Date.now, randomBytes)

async function run(text: string, { args = [] as string[], aheadMs = 0 } = {}) {
  const start = (io: CommandIo) => {
    const program = new Command('haproxy-entra-auth')
    addCheckCommand(program, io)
    return program.parseAsync(['check', '--config', '/c.yaml', ...args], { from: 'user' })
  }
  const files = {
    '/c.yaml': text,
    '/key': 'k'.repeat(32),
    '/tls.crt': tls.cert,
    '/tls.key': tls.key,
  }
  return runCommand(start, { files, now: () => Date.now() + aheadMs })
}

async function report(
  text: string,
  options: { args?: string[]; aheadMs?: number } = {},
): Promise<CheckReport & { code: number }> {
  const ran = await run(text, { ...options, args: ['--json', ...(options.args ?? [])] })
  return { ...JSON.parse(ran.stdout), code: ran.code }
}

function levels({ findings }: CheckReport): string[] {
  return findings.map(({ level, path }) => `${level} ${path}`)
}

describe('check asks each authority', () => {
  it('and ends with 0 where all is well', async () => {
    const ran = await run(configText(authority.origin))
    assert.equal(ran.code, 0)
    assert.match(ran.stdout, /\nok: 0 problems, 0 unreachable issuers, 0 warnings; [^\n]*\n$/)
    assert.match(ran.stderr, /^asking http:\S+ for the keys of contoso\n$/)
  })

  it('and lists issuer and keys of both versions', async () => {
    const { tenants } = await report(configText(authority.origin))
    assert.deepEqual(
      tenants[0]?.versions.map(({ version, state, issuer, keys }) => [
        version,
        state,
        issuer,
        keys.length,
      ]),
      [
        ['2.0', 'ready', `${authority.origin}/${contoso}/v2.0`, 2],
        ['1.0', 'ready', `${authority.origin}/${contoso}/`, 2],
      ],
    )
  })

  it('and takes a missing v1.0 endpoint of External ID for what it is', async () => {
    const external = await startAuthority('external-id')
    const checked = await report(configText(external.origin)).finally(external.close)
    assert.equal(checked.code, 0)
    assert.equal(checked.tenants[0]?.versions[1]?.state, 'absent')
  })

  it('and ends with 69 where it does not answer or answers 500', async () => {
    assert.equal((await report(configText('http://127.0.0.1:9'))).code, 69)
    await authority.fault('metadata', '500')
    const checked = await report(configText(authority.origin)).finally(authority.reset)
    assert.equal(checked.code, 69)
    assert.equal(checked.verdict, 'unreachable')
  })

  for (const [target, kind] of [
    ['metadata', 'foreign-issuer'],
    ['metadata', 'foreign-keys'],
    ['metadata', 'html'],
    ['keys', 'empty'],
    ['keys', 'foreign-issuer'],
  ] as const) {
    it(`and ends with 1 where its ${target} are "${kind}"`, async () => {
      await authority.fault(target, kind)
      const checked = await report(configText(authority.origin)).finally(authority.reset)
      assert.equal(checked.code, 1)
      assert.ok(levels(checked).includes('problem tenants.contoso'))
    })
  }

  it('and not with --offline', async () => {
    const checked = await report(configText('http://127.0.0.1:9'), { args: ['--offline'] })
    assert.equal(checked.code, 0)
    assert.deepEqual(checked.tenants, [])
  })
})

describe('check compares the clock with that of the authority', () => {
  for (const [minutes, code, level] of [
    [0.5, 0, undefined],
    [2, 0, 'warning'],
    [-2, 0, 'warning'],
    [6, 1, 'problem'],
    [-6, 1, 'problem'],
  ] as const) {
    it(`and says ${level ?? 'nothing'} at ${minutes} minutes`, async () => {
      const aheadMs = minutes * 60_000
      const checked = await report(configText(authority.origin), { aheadMs })
      assert.equal(checked.code, code)
      assert.equal(checked.findings[0]?.level, level)
      assert.ok(Math.abs((checked.tenants[0]?.clockOffsetSeconds ?? 0) - minutes * 60) <= 2)
    })
  }

  for (const [skewSeconds, seconds, code, level] of [
    [30, 20, 0, undefined],
    [30, 45, 1, 'problem'],
    [600, 360, 0, 'warning'],
    [600, -660, 1, 'problem'],
  ] as const) {
    it(`and says ${level ?? 'nothing'} at ${seconds} s where ${skewSeconds} s are admitted`, async () => {
      const text = configText(authority.origin, { head: `clockSkewSeconds: ${skewSeconds}` })
      const checked = await report(text, { aheadMs: seconds * 1_000 })
      assert.equal(checked.code, code)
      assert.equal(checked.findings.find(({ path }) => path === 'tenants.contoso')?.level, level)
    })
  }
})

describe('check looks at settings', () => {
  const offline = { args: ['--offline'] }
  const policy = (more: string, grant = '{ actor: user, scopes: [Orders.Read] }') =>
    `audiences: [api://orders]\n    allow: [${grant}]\n    ${more}`

  it('and ends with 78 and the report where the configuration is bad', async () => {
    const ran = await run('tenants: {}')
    assert.equal(ran.code, 78)
    assert.match(ran.stderr, /^Configuration: /)
    const { code, verdict } = await report('tenants: {}')
    assert.deepEqual([code, verdict], [78, 'configuration'])
  })

  it('and shouts about reportOnlyUntil while it counts', async () => {
    const until = (date: string) => configText('http://127.0.0.1:9', { orders: policy(date) })
    const active = await report(until('reportOnlyUntil: 2999-01-01'), offline)
    assert.deepEqual(levels(active), ['warning policies.orders.reportOnlyUntil'])
    assert.match(active.findings[0]?.message ?? '', /PROTECTS NOTHING UNTIL 2999/)
    const past = await report(until('reportOnlyUntil: 2020-01-01'), offline)
    assert.deepEqual(levels(past), [])
  })

  it('and has nothing against one with TLS and a caller key', async () => {
    const head = `callerKeyFile: /key\nlisten: { host: 10.0.0.1, ${tlsFiles} }`
    const { findings } = await report(configText('http://127.0.0.1:9', { head }), offline)
    assert.deepEqual(findings, [])
  })

  it('and warns of a certificate that ends within a week, and does not pass one that ended', async () => {
    const text = configText('http://127.0.0.1:9', { head: `listen: { ${tlsFiles} }` })
    const after = (days: number) => ({ ...offline, aheadMs: days * 24 * 3_600_000 })
    assert.deepEqual(levels(await report(text, after(350))), [])
    assert.deepEqual(levels(await report(text, after(360))), ['warning listen.tls.certificateFile'])
    assert.deepEqual(levels(await report(text, after(366))), ['problem listen.tls.certificateFile'])
  })

  it('and warns of a verify listener away from loopback', async () => {
    const open = configText('http://127.0.0.1:9', { head: 'listen: { host: 10.0.0.1 }' })
    assert.deepEqual(levels(await report(open, offline)), [
      'warning listen',
      'warning callerKeyFile',
    ])
    const keyed = `callerKeyFile: /key\n${open}`
    assert.deepEqual(levels(await report(keyed, offline)), ['warning listen'])
  })

  it('and warns of a long clock skew and a long cache', async () => {
    const text = configText('http://127.0.0.1:9', {
      head: 'clockSkewSeconds: 400',
      orders: policy('cacheSeconds: 301'),
    })
    const checked = await report(text, offline)
    assert.deepEqual(levels(checked), [
      'warning clockSkewSeconds',
      'warning policies.orders.cacheSeconds',
    ])
  })

  it('and notes the optional claims that rules need', async () => {
    const grant = `{ actor: user, groups: [44444444-4444-4444-8444-444444444444], guests: false }`
    const orders = policy('requireIdtyp: true', grant)
    const checked = await report(configText('http://127.0.0.1:9', { orders }), offline)
    assert.deepEqual(
      checked.findings.map(({ message }) => /the claim (\w+)/.exec(message)?.[1]),
      ['acct', 'groups', 'idtyp'],
    )
    assert.equal(checked.code, 0)
  })
})
