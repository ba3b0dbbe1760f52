/** Revocations of services as an operator runs them: two on one file, files that go or break. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { eventually } from '../support/eventually.ts'
import { contoso, ordersId, startAuthority } from './authority.ts'
import {
  type Life,
  makeFolder,
  type ServiceProcess,
  startService,
  untilReady,
  verify,
} from './process.ts'

interface Replica {
  readonly service: ServiceProcess
  readonly admin: string
}

async function prepare(t: Life) {
  const authority = await startAuthority(t)
  const folder = makeFolder(t)
  const revocationFile = join(folder, 'revocations.json')
  const configFile = join(folder, 'config.yaml')
  writeFileSync(
    configFile,
    JSON.stringify({
      tenants: { contoso: { id: contoso, authority: authority.origin } },
      policies: { default: { audiences: [ordersId], allow: [{ actor: 'user', scopes: 'any' }] } },
      revocationFile,
    }),
  )
  async function start(): Promise<Replica> {
    const [adminPort = 0] = await freePorts(1)
    const env = { ENTRA_AUTH_CONFIG: configFile, ENTRA_AUTH_ADMIN_PORT: String(adminPort) }
    const service = await startService(t, env)
    await untilReady(service)
    return { service, admin: `http://127.0.0.1:${adminPort}/revocations` }
  }
  return { authority, folder, revocationFile, configFile, start }
}

async function post({ admin }: Replica, body: object): Promise<number> {
  const reply = await fetch(admin, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  }).catch(() => undefined)
  await reply?.text()
  return reply?.status ?? 0
}

async function idsIn({ admin }: Replica): Promise<Set<string>> {
  const { revocations } = (await (await fetch(admin)).json()) as {
    revocations: { id: string }[]
  }
  return new Set(revocations.map(({ id }) => id))
}

test('two services on one file lose no change, also where one of them is killed', async (t) => {
  const { folder, start } = await prepare(t)
  const one = await start()
  let two = await start()
  const accepted: string[] = []
  const statuses = new Map<number, number>()
  let restarting: Promise<void> = Promise.resolve()
  async function change(replica: Replica, id: string): Promise<void> {
    const status = await post(replica, { kind: 'token', id })
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    if (status === 201) accepted.push(id)
  }
  for (let i = 0; i < 400; i++) {
    if (i === 200) {
      // In the middle of its own changes.
      const killed = two
      restarting = (async () => {
        killed.service.kill('SIGKILL')
        await killed.service.exited
        two = await start()
      })()
    }
    await Promise.all([change(one, `one-${i}`), change(two, `two-${i}`)])
  }
  await restarting
  assert.equal(await post(two, { kind: 'token', id: 'last' }), 201)
  accepted.push('last')
  for (const replica of [one, two, await start()]) {
    await eventually(
      async () => {
        const seen = await idsIn(replica)
        return accepted.filter((id) => !seen.has(id)).length
      },
      (missing) => missing === 0,
    )
  }
  assert.ok(accepted.length > 500, JSON.stringify([...statuses]))
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.endsWith('.lock')),
    [],
  )
})

test('a revocation file that vanished is not an empty one: the restart refuses as before', async (t) => {
  const { authority, revocationFile, start } = await prepare(t)
  const token = await authority.token('alice')
  const first = await start()
  assert.equal((await verify(first.service, token)).status, 200)
  assert.equal(await post(first, { kind: 'tenant', id: contoso, before: 3_000_000_000 }), 201)
  rmSync(revocationFile)
  await first.service.waitForLog(({ msg }) => msg === 'the last revocations stay')
  assert.equal((await verify(first.service, token)).reason, 'tenant_revoked')
  first.service.kill('SIGKILL')
  await first.service.exited
  const { service } = await start()
  assert.equal((await verify(service, token)).reason, 'tenant_revoked')
  await service.waitForLog(({ msg }) => /was missing: 1 revocations were restored/.test(msg))
})

test('a start waits for a half-written file, and is retried if the file stays so', async (t) => {
  const { revocationFile, configFile, start } = await prepare(t)
  writeFileSync(revocationFile, '{"revocations": [')
  const broken = await startService(t, { ENTRA_AUTH_CONFIG: configFile })
  // sysexits.h: the unit tries again after 69, and never after 78.
  assert.equal((await broken.exited).code, 69)
  assert.match(broken.stderr, /revocations: the revocation file is not JSON/)
  const unit = readFileSync(
    new URL('../../recipes/vm/haproxy-entra-auth.service', import.meta.url),
    'utf8',
  )
  assert.match(unit, /^RestartPreventExitStatus=78$/m)
  const starting = start()
  setTimeout(() => writeFileSync(revocationFile, '{"revocations": []}'), 700)
  assert.equal(await post(await starting, { kind: 'token', id: 'a-token' }), 201)
})
