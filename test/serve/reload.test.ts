import assert from 'node:assert/strict'
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { eventually } from '../support/eventually.ts'
import { type Authority, contoso, fabrikam, ordersId, startAuthority } from './authority.ts'
import { startLoad } from './load.ts'
import {
  type Life,
  makeFolder,
  type ServiceProcess,
  startService,
  untilReady,
  verify,
} from './process.ts'

interface Content {
  readonly scope?: string
  readonly tenants?: Readonly<Record<string, { id: string; authority: Authority }>>
}

/** A configuration with the policy `orders` that wants one scope. */
function yaml(authority: Authority, { scope = 'Orders.Read', tenants }: Content = {}): string {
  const entries = Object.entries(tenants ?? { contoso: { id: contoso, authority } })
  return [
    'tenants:',
    ...entries.map(
      ([name, tenant]) =>
        `  ${name}: { id: ${tenant.id}, authority: "${tenant.authority.origin}" }`,
    ),
    'policies:',
    `  orders: { audiences: [${ordersId}], allow: [{ actor: user, scopes: [${scope}] }] }`,
    '',
  ].join('\n')
}

type Environment = Readonly<Record<string, string>>

interface Running {
  readonly service: ServiceProcess
  readonly file: string
  statusOf(token: string): Promise<number>
}

async function start(t: Life, text: string, env: Environment = {}): Promise<Running> {
  const file = join(makeFolder(t), 'config.yaml')
  writeFileSync(file, text)
  const service = await startService(t, { ENTRA_AUTH_CONFIG: file, ...env })
  await untilReady(service)
  return {
    service,
    file,
    statusOf: async (token) => (await verify(service, token, 'orders')).status,
  }
}

/** Writes another configuration, sends SIGHUP and waits until it counts. */
async function reload({ service, file }: Running, text: string): Promise<void> {
  writeFileSync(file, text)
  const from = service.log.length
  service.kill('SIGHUP')
  await service.waitForLog(({ msg }) => msg === 'configuration reloaded', from)
}

// The unit of systemd has such a filter (`SystemCallFilter=~@resources`, `SystemCallErrorNumber=EPERM`).
test('a reload counts where the system lets no program change its priority', async (t) => {
  const authority = await startAuthority(t)
  const preload = join(makeFolder(t), 'filter.mjs')
  writeFileSync(
    preload,
    `import os from 'node:os'
import { syncBuiltinESMExports } from 'node:module'
os.setPriority = () => {
  throw new Error('A system error occurred: uv_os_setpriority returned EPERM (operation not permitted)')
}
syncBuiltinESMExports()
`,
  )
  const running = await start(t, yaml(authority), { NODE_OPTIONS: `--import=${preload}` })
  const token = await authority.token('alice')
  assert.equal(await running.statusOf(token), 200)
  await reload(running, yaml(authority, { scope: 'Orders.Write' }))
  assert.equal(await running.statusOf(token), 403)
})

test('after SIGHUP a warm token is judged by the new policy at once', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, yaml(authority))
  const token = await authority.token('alice')
  const before = await verify(running.service, token, 'orders')
  assert.equal(before.status, 200)
  await reload(running, yaml(authority, { scope: 'Orders.Write' }))
  const line = running.service.log.findLast(({ msg }) => msg === 'configuration reloaded')
  assert.deepEqual(line?.changes, [
    'policies.orders.allow[0] removed: users with the scope Orders.Read',
    'policies.orders.allow[0] added: users with the scope Orders.Write',
  ])
  assert.equal(await running.statusOf(token), 403)
  await reload(running, yaml(authority))
  const again = await verify(running.service, token, 'orders')
  assert.equal(again.status, 200)
  assert.equal(
    again.headers.get('x-entra-auth-version'),
    before.headers.get('x-entra-auth-version'),
  )
})

test('a changed file counts without a signal', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, yaml(authority))
  const token = await authority.token('alice')
  assert.equal(await running.statusOf(token), 200)
  writeFileSync(running.file, yaml(authority, { scope: 'Orders.Write' }))
  await running.service.waitForLog(({ msg }) => msg === 'configuration reloaded')
  assert.equal(await running.statusOf(token), 403)
})

test('a mounted ConfigMap counts when Kubernetes swaps its symbolic link', async (t) => {
  const authority = await startAuthority(t)
  const folder = makeFolder(t)
  const addVersion = (name: string, text: string) => {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'config.yaml'), text)
  }
  addVersion('..2026_01', yaml(authority))
  symlinkSync('..2026_01', join(folder, '..data'))
  symlinkSync('..data/config.yaml', join(folder, 'config.yaml'))
  const service = await startService(t, { ENTRA_AUTH_CONFIG: join(folder, 'config.yaml') })
  await untilReady(service)
  const token = await authority.token('alice')
  assert.equal((await verify(service, token, 'orders')).status, 200)
  addVersion('..2026_02', yaml(authority, { scope: 'Orders.Write' }))
  symlinkSync('..2026_02', join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  await service.waitForLog(({ msg }) => msg === 'configuration reloaded')
  assert.equal((await verify(service, token, 'orders')).status, 403)
})

test('a bad file is reported and the old configuration stays, until a good one comes', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, yaml(authority))
  const token = await authority.token('alice')
  writeFileSync(running.file, 'policies: [')
  running.service.kill('SIGHUP')
  const line = await running.service.waitForLog(({ msg }) => /refused, the old one stays/.test(msg))
  assert.ok(Array.isArray(line.problems) && line.problems.length > 0)
  assert.equal(await running.statusOf(token), 200)
  await reload(running, yaml(authority, { scope: 'Orders.Write' }))
  assert.equal(await running.statusOf(token), 403)
})

test('a file that is gone leaves the old configuration in force', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, yaml(authority))
  renameSync(running.file, `${running.file}.moved`)
  await running.service.waitForLog(({ msg }) => /refused, the old one stays/.test(msg))
  assert.equal(await running.statusOf(await authority.token('alice')), 200)
})

test('a tenant that is added works as soon as its keys are there', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, yaml(authority))
  const token = await authority.token('mallory')
  assert.equal(await running.statusOf(token), 401)
  const tenants = {
    contoso: { id: contoso, authority },
    fabrikam: { id: fabrikam, authority },
  }
  await reload(running, yaml(authority, { tenants }))
  await eventually(
    () => running.statusOf(token),
    (status) => status === 200,
  )
})

test('tokens of a tenant that is removed are refused at once, warm ones too', async (t) => {
  const authority = await startAuthority(t)
  const tenants = {
    contoso: { id: contoso, authority },
    fabrikam: { id: fabrikam, authority },
  }
  const running = await start(t, yaml(authority, { tenants }))
  const [kept, removed] = [await authority.token('alice'), await authority.token('mallory')]
  assert.equal(await running.statusOf(kept), 200)
  assert.equal(await running.statusOf(removed), 200)
  await reload(running, yaml(authority))
  assert.equal(await running.statusOf(removed), 401)
  assert.equal(await running.statusOf(await authority.token('mallory')), 401)
  assert.equal(await running.statusOf(kept), 200)
})

test('another authority for the same tenant ends the verdicts that rest on the former one', async (t) => {
  const [former, next] = [await startAuthority(t), await startAuthority(t)]
  const running = await start(t, yaml(former))
  const token = await former.token('alice')
  assert.equal(await running.statusOf(token), 200)
  await reload(running, yaml(next))
  assert.notEqual(await running.statusOf(token), 200)
  await untilReady(running.service)
  assert.equal(await running.statusOf(token), 401)
  assert.equal(await running.statusOf(await next.token('alice')), 200)
})

test('a tenant that stays keeps its keys, without a call to its authority', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, yaml(authority))
  const askedFor = async () => (await authority.entra.inject('/dev/requests')).json().counts
  const before = await askedFor()
  await reload(running, yaml(authority, { scope: 'Orders.Write' }))
  await eventually(
    () => running.statusOf('no.token.atall'),
    (status) => status === 401,
  )
  assert.deepEqual(await askedFor(), before)
})

test('a changed caller key counts without a signal', async (t) => {
  const authority = await startAuthority(t)
  const key = join(makeFolder(t), 'key')
  writeFileSync(key, 'first-caller-key-0')
  const running = await start(t, `callerKeyFile: ${key}\n${yaml(authority)}`)
  const token = await authority.token('alice')
  const statusWith = async (callerKey: string) => {
    const headers = { authorization: `Bearer ${token}`, 'x-entra-auth-key': callerKey }
    const reply = await fetch(`${running.service.origin}/verify/orders`, { headers })
    return reply.status
  }
  assert.equal(await statusWith('first-caller-key-0'), 200)
  writeFileSync(key, 'second-caller-key-')
  await running.service.waitForLog(({ msg }) => msg === 'configuration reloaded')
  assert.equal(await statusWith('first-caller-key-0'), 403)
  assert.equal(await statusWith('second-caller-key-'), 200)
})

test('a caller key is replaced without a refusal: both count while the file has both', async (t) => {
  const authority = await startAuthority(t)
  const key = join(makeFolder(t), 'key')
  const [current, next] = ['current-caller-key', 'the-next-caller-key']
  writeFileSync(key, `${current}\n`)
  const running = await start(t, `callerKeyFile: ${key}\n${yaml(authority)}`)
  const token = await authority.token('alice')
  const statuses = async () => {
    const asked = [current, next].map((callerKey) =>
      fetch(`${running.service.origin}/verify/orders`, {
        headers: { authorization: `Bearer ${token}`, 'x-entra-auth-key': callerKey },
      }),
    )
    return (await Promise.all(asked)).map(({ status }) => status)
  }
  const write = async (text: string) => {
    const from = running.service.log.length
    writeFileSync(key, text)
    await running.service.waitForLog(({ msg }) => msg === 'configuration reloaded', from)
  }
  assert.deepEqual(await statuses(), [200, 403])
  await write(`${current}\n${next}\n`)
  assert.deepEqual(await statuses(), [200, 200])
  await write(`${next}\n`)
  assert.deepEqual(await statuses(), [403, 200])
})

test('a changed admin key is accepted at once, and the old one is rejected', async (t) => {
  const authority = await startAuthority(t)
  const folder = makeFolder(t)
  const [key, file] = [join(folder, 'key'), join(folder, 'config.yaml')]
  const [port = 0] = await freePorts(1)
  writeFileSync(key, 'first-admin-key-0')
  writeFileSync(file, `admin: { port: ${port}, adminKeyFile: ${key} }\n${yaml(authority)}`)
  const service = await startService(t, { ENTRA_AUTH_CONFIG: file, ENTRA_AUTH_ADMIN_PORT: '' })
  await untilReady(service)
  const statusWith = async (adminKey: string) => {
    const headers = { authorization: `Bearer ${adminKey}` }
    return (await fetch(`http://127.0.0.1:${port}/revocations`, { headers })).status
  }
  assert.deepEqual(
    [await statusWith('first-admin-key-0'), await statusWith('second-admin-key')],
    [200, 403],
  )
  writeFileSync(key, 'second-admin-key')
  await service.waitForLog(({ msg }) => msg === 'configuration reloaded')
  assert.deepEqual(
    [await statusWith('first-admin-key-0'), await statusWith('second-admin-key')],
    [403, 200],
  )
})

test('settings that wait for a restart are named, each, and what counts is logged', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, `keyStore: /tmp/a\n${yaml(authority)}`)
  const from = running.service.log.length
  const head =
    'keyStore: /tmp/b\nrevocationFile: /tmp/r\nlog: { audit: { destination: stdout } }\nmetrics: { host: 127.0.0.2 }\n'
  await reload(running, `${head}${yaml(authority, { scope: 'Orders.Write' })}`)
  const settings = ['keyStore', 'log.audit.destination', 'metrics.host', 'revocationFile']
  const named = running.service.log
    .slice(from)
    .filter(({ msg }) => msg === 'setting waits for a restart')
  assert.deepEqual(named.map(({ setting }) => setting).sort(), settings)
  const line = running.service.log.slice(from).find(({ msg }) => msg === 'configuration reloaded')
  assert.deepEqual([line?.keyStore, line?.revocationFile], ['/tmp/a', undefined])
  assert.deepEqual([line?.waiting].flat().sort(), settings)
})

test('of a storm of SIGHUP a few reloads are left, and the last configuration is active', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, yaml(authority))
  const { service, file } = running
  const token = await authority.token('alice')
  const signals = 50
  for (let sent = 0; sent < signals; sent++) {
    service.kill('SIGHUP')
    await setTimeout(2)
  }
  writeFileSync(file, yaml(authority, { scope: 'Orders.Write' }))
  service.kill('SIGHUP')
  await eventually(
    () => running.statusOf(token),
    (status) => status === 403,
    60_000,
  )
  const reloads = () => service.log.filter(({ msg }) => msg === 'configuration reloaded').length
  // Each is a signal that was sent after the one before had begun.
  assert.ok(reloads() < signals / 2, `${reloads()} reloads`)
})

test('a reload while the service ends changes nothing of the end', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, yaml(authority))
  const { service, file } = running
  service.kill('SIGTERM')
  await service.waitForLog(({ msg }) => msg === 'stopping')
  const tenants = { contoso: { id: contoso, authority }, fabrikam: { id: fabrikam, authority } }
  writeFileSync(file, yaml(authority, { tenants }))
  for (let sent = 0; sent < 3; sent++) service.kill('SIGHUP')
  assert.deepEqual(await service.exited, { code: 0, signal: null })
  assert.equal(service.stderr, '')
})

test('reloads under load lose no request', async (t) => {
  const authority = await startAuthority(t)
  const running = await start(t, yaml(authority))
  const load = startLoad({
    clients: 4,
    url: () => `${running.service.origin}/verify/orders`,
    token: () => authority.token('alice'),
  })
  for (let count = 0; count < 5; count++) {
    await load.more(20)
    await reload(running, yaml(authority, { scope: `Orders.Read, Other${count}` }))
  }
  await load.more(20)
  await load.end()
  assert.deepEqual([...load.results.keys()], ['200'])
})
