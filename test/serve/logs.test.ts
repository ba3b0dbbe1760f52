/** What `serve` writes, read from its standard output and from the file of the audit. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { openAuditFile } from '../../src/commands/audit-file.ts'
import { eventually } from '../support/eventually.ts'
import { contoso, environmentFor, ordersId, startAuthority } from './authority.ts'
import { type Life, type LogLine, makeFolder, startService, untilReady, verify } from './process.ts'

const main = resolve(import.meta.dirname, '../../src/main.ts')
const keys = { caller: 'caller-key-0123456789', admin: 'admin-key-0123456789' }

/** A service with this section `log`, keys and whatever else a configuration may have. */
async function start(t: Life, log = '{}') {
  const folder = makeFolder(t)
  const file = (name: string) => join(folder, name)
  writeFileSync(file('caller'), keys.caller)
  writeFileSync(file('admin'), keys.admin)
  writeFileSync(file('revocations.json'), '[]')
  const authority = await startAuthority(t)
  writeFileSync(
    file('config.yaml'),
    `
admin: { adminKeyFile: ${file('admin')} }
callerKeyFile: ${file('caller')}
keyStore: ${file('keys')}
log: ${log}
tenants: { contoso: { id: ${contoso}, authority: "${authority.origin}" } }
policies:
  default: { audiences: [${ordersId}], allow: [{ actor: user, scopes: any }] }
`,
  )
  const service = await startService(t, {
    ENTRA_AUTH_CONFIG: file('config.yaml'),
    ENTRA_AUTH_METRICS_PORT: '0',
  })
  return { service, authority, file }
}

function linesOf(file: string): LogLine[] {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

test('the first line tells the effective configuration and no key', async (t) => {
  const { service, file } = await start(t)
  const line = await service.waitForLog(({ msg }) => msg === 'listening')
  assert.match(String(line.configVersion), /^[\w-]{16}$/)
  assert.deepEqual(line.tenants, [
    {
      name: 'contoso',
      id: contoso,
      authority: (line.tenants as [{ authority: string }])[0].authority,
    },
  ])
  assert.deepEqual(line.policies, [
    {
      name: 'default',
      audiences: [ordersId],
      grants: 1,
      denyRules: 0,
      cacheSeconds: 30,
      actionCacheSeconds: 300,
    },
  ])
  assert.equal((line.admin as { key: boolean }).key, true)
  assert.deepEqual(line.callerKey, true)
  assert.deepEqual(line.keyStore, file('keys'))
  assert.deepEqual(line.overload, { maxEventLoopLagMs: 250 })
  assert.deepEqual(line.log, { refusalsPerSecond: 10 })
  for (const key of Object.values(keys)) assert.ok(!JSON.stringify(service.log).includes(key))
})

const callerKey = { 'x-entra-auth-key': keys.caller }

describe('the audit in a file', () => {
  const ask = (origin: string, token: string) =>
    fetch(`${origin}/verify`, { headers: { authorization: `Bearer ${token}`, ...callerKey } })

  test('has a line for each first sight, for the owner and group alone, and goes on after a rotation', async (t) => {
    const folder = makeFolder(t)
    const audit = join(folder, 'audit.log')
    const { service, authority } = await start(t, `{ audit: { destination: ${audit} } }`)
    await untilReady(service)
    const token = await authority.token('alice')
    for (let sent = 0; sent < 3; sent++) {
      assert.equal((await ask(service.origin, token)).status, 200)
    }
    assert.deepEqual(
      linesOf(audit).map(({ msg, policy, tenant, actor }) => ({ msg, policy, tenant, actor })),
      [{ msg: 'allowed', policy: 'default', tenant: contoso, actor: 'user' }],
    )
    assert.equal(statSync(audit).mode & 0o007, 0)
    assert.ok(service.log.every(({ msg }) => msg !== 'allowed'))
    renameSync(audit, `${audit}.1`)
    service.kill('SIGHUP')
    await eventually(() => existsSync(audit), Boolean)
    await ask(service.origin, await authority.token('alice'))
    assert.equal(linesOf(audit).length, 1)
    assert.equal(linesOf(`${audit}.1`).length, 1)
  })

  test('that cannot be reopened goes on as it is, with an error in the log', async (t) => {
    const folder = join(makeFolder(t), 'logs')
    mkdirSync(folder)
    const audit = join(folder, 'audit.log')
    const { service, authority } = await start(t, `{ audit: { destination: ${audit} } }`)
    await untilReady(service)
    renameSync(folder, `${folder}.gone`)
    service.kill('SIGHUP')
    const line = await service.waitForLog(({ msg }) => /^audit file not reopened/.test(msg))
    assert.equal(line.problem, 'ENOENT')
    assert.equal((await ask(service.origin, await authority.token('alice'))).status, 200)
    assert.equal(linesOf(join(`${folder}.gone`, 'audit.log')).length, 1)
    mkdirSync(folder)
    service.kill('SIGHUP')
    await eventually(() => existsSync(audit), Boolean)
    assert.equal((await ask(service.origin, await authority.token('alice'))).status, 200)
    assert.equal(linesOf(audit).length, 1)
  })

  test('that cannot be opened stops the start', async (t) => {
    const { service } = await start(t, '{ audit: { destination: /no/such/folder/audit.log } }')
    assert.equal((await service.exited).code, 78)
    assert.match(service.stderr, /^error: log\.audit\.destination: .*ENOENT/)
  })

  test('that is full is an error in the log, once, and the service goes on', async (t) => {
    const { service, authority } = await start(t, '{ audit: { destination: /dev/full } }')
    await untilReady(service)
    for (let sent = 0; sent < 3; sent++) {
      assert.equal((await ask(service.origin, await authority.token('alice'))).status, 200)
    }
    await service.waitForLog(({ msg }) => msg === 'audit not written')
    assert.equal(service.log.filter(({ msg }) => msg === 'audit not written').length, 1)
    service.kill('SIGTERM')
    assert.deepEqual(await service.exited, { code: 0, signal: null })
  })
})

/** The service with a standard output that nobody reads, or that takes nothing. */
async function startUnread(
  t: Life,
  config: string,
  stdout: 'pipe' | number,
  [program = '', ...args]: readonly string[] = [process.execPath, main, 'serve'],
) {
  const [port = 0, metricsPort = 0] = await freePorts(2)
  const child = spawn(program, args, {
    stdio: ['ignore', stdout, 'inherit'],
    env: {
      ENTRA_AUTH_CONFIG: config,
      ENTRA_AUTH_PORT: String(port),
      ENTRA_AUTH_METRICS_PORT: String(metricsPort),
      ENTRA_AUTH_ADMIN_PORT: '0',
    },
  })
  const exited = once(child, 'exit')
  t.after(() => child.kill('SIGKILL'))
  const origin = `http://127.0.0.1:${port}`
  const signal = () => AbortSignal.timeout(50_000)
  const status = async (path: string) => {
    const reply = await fetch(`${origin}${path}`, { headers: callerKey, signal: signal() })
    return reply.status
  }
  await eventually(
    () => status('/readyz').catch(() => undefined),
    (ready) => ready === 200,
  )
  return {
    status,
    async droppedLines() {
      const reply = await fetch(`http://127.0.0.1:${metricsPort}/metrics`, { signal: signal() })
      return Number(/^entra_auth_log_lines_dropped_total (\d+)$/m.exec(await reply.text())?.[1])
    },
    async stop() {
      child.kill('SIGTERM')
      return (await exited)[0]
    },
  }
}

test('a stalled reader of the log delays neither requests nor the end', async (t) => {
  const { file } = await start(t, '{ refusalsPerSecond: 10000 }')
  const service = await startUnread(t, file('config.yaml'), 'pipe')
  for (let sent = 0; sent < 1_000; sent++) assert.equal(await service.status('/verify'), 401)
  assert.equal(await service.stop(), 0)
})

test('a terminal that stands still delays neither requests nor the end', async (t) => {
  const { file } = await start(t, '{ refusalsPerSecond: 10000 }')
  // Nobody reads from `script`, so it reads nothing from the terminal that it makes.
  const inTerminal = `"${process.execPath}" "${main}" serve & echo $! > "${file('pid')}"; wait $!; echo $? > "${file('code')}"`
  const read = (name: string) => (existsSync(file(name)) ? readFileSync(file(name), 'utf8') : '')
  const service = await startUnread(t, file('config.yaml'), 'pipe', [
    ...['script', '--quiet', '--flush', '--command', inTerminal, '/dev/null'],
  ])
  const pid = Number(read('pid'))
  assert.ok(pid > 1)
  t.after(() => {
    // It ended by itself, unless the test failed.
    if (read('code') === '') spawnSync('kill', ['-KILL', String(pid)])
  })
  for (let sent = 0; sent < 1_000; sent += 50) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => service.status('/verify')))
    assert.ok(answers.every((status) => status === 401))
  }
  process.kill(pid, 'SIGTERM')
  assert.equal(await eventually(() => read('code'), Boolean, 30_000), '0\n')
})

test('standard output on a full disk costs lines, which are counted, and nothing else', async (t) => {
  const { file } = await start(t, '{ refusalsPerSecond: 10000 }')
  const full = openSync('/dev/full', 'w')
  t.after(() => closeSync(full))
  const service = await startUnread(t, file('config.yaml'), full)
  for (let sent = 0; sent < 20; sent++) assert.equal(await service.status('/verify'), 401)
  assert.equal(await service.status('/livez'), 200)
  assert.ok((await service.droppedLines()) > 20)
  assert.equal(await service.stop(), 0)
})

test('the audit on standard output stands between the other lines', async (t) => {
  const { service, authority } = await start(t, '{ audit: { destination: stdout } }')
  await untilReady(service)
  await fetch(`${service.origin}/verify`, {
    headers: {
      authorization: `Bearer ${await authority.token('alice')}`,
      'x-entra-auth-key': keys.caller,
      'x-request-id': 'one',
    },
  })
  const line = await service.waitForLog(({ msg }) => msg === 'allowed')
  assert.equal(line.requestId, 'one')
})

test('without a section log, nothing is written of an allow', async (t) => {
  const authority = await startAuthority(t)
  const service = await startService(t, environmentFor(authority))
  await untilReady(service)
  assert.equal((await verify(service, await authority.token('alice'))).status, 200)
  assert.equal((await verify(service, undefined)).status, 401)
  await service.waitForLog(({ msg }) => msg === 'refused')
  assert.ok(service.log.every(({ msg }) => msg !== 'allowed'))
})

test('log.format named writes names of levels and ISO times, in the log and in the audit file', async (t) => {
  const folder = makeFolder(t)
  const auditFile = join(folder, 'audit.log')
  const { service } = await start(t, `{ format: named, audit: { destination: ${auditFile} } }`)
  const line = await service.waitForLog(({ msg }) => msg === 'listening')
  assert.equal(line.level, 'info')
  assert.equal(new Date(String(line.time)).toISOString(), line.time)
  assert.deepEqual(line.log, { refusalsPerSecond: 10, format: 'named', audit: auditFile })
  const audit = openAuditFile(join(folder, 'own.log'), { info() {}, error() {} }, 'named')
  audit.sink.info({ policy: 'default' }, 'allowed')
  const [allowed] = linesOf(join(folder, 'own.log'))
  assert.equal(allowed?.level, 'info')
  assert.equal(new Date(String(allowed?.time)).toISOString(), allowed?.time)
})
