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

/** So many that a lost one shows, and the file is long. */
const changes = 2_000

test('two services on one file: what got 201 is in force on both, all else is refused, also where one is killed', async (t) => {
  const { authority, folder, start } = await prepare(t)
  const one = await start()
  let two = await start()
  const accepted = new Set<string>()
  const refused = new Set<string>()
  /** A change without an answer may have been made or not. */
  const unanswered = new Set<string>()
  async function change(replica: Replica, id: string): Promise<void> {
    const status = await post(replica, { kind: 'token', id })
    if (status === 201) accepted.add(id)
    else if (status === 0) unanswered.add(id)
    else refused.add(id)
  }
  let restarting: Promise<void> | undefined
  for (let i = 0; i < changes / 2; i++) {
    if (i === changes / 4) {
      // In the middle of its own changes.
      const killed = two
      restarting = (async () => {
        killed.service.kill('SIGKILL')
        await killed.service.exited
        two = await start()
      })()
    }
    await Promise.all([change(one, `one-${i}`), change(two, `two-${i}`)])
    // Two are enough to show that a service is away; the others go to the one that is back.
    if (unanswered.size > 1) await restarting
  }
  await restarting
  await change(two, 'last')
  assert.ok(accepted.has('last'))
  const another = await start()
  for (const replica of [one, two, another]) {
    const wrong = await eventually(
      async () => {
        const seen = await idsIn(replica)
        return [
          ...[...accepted].filter((id) => !seen.has(id)).map((id) => `lost: ${id}`),
          ...[...seen]
            .filter((id) => !accepted.has(id) && !unanswered.has(id))
            .map((id) => `in force without a 201: ${id}`),
        ]
      },
      (found) => found.length === 0,
      60_000,
    )
    assert.deepEqual(wrong, [])
  }
  t.diagnostic(
    `${accepted.size} answered 201, ${refused.size} refused, ${unanswered.size} unanswered`,
  )
  assert.ok(unanswered.size > 0 && unanswered.size < 10)
  assert.equal(accepted.size + refused.size + unanswered.size, changes + 1)
  // A wait for the lock is not a refusal: those would be tried again by whoever asked.
  assert.ok(accepted.size > 0.5 * changes)
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.endsWith('.lock')),
    [],
  )
  // In force is what a request is judged by, and not what a list shows.
  const token = await authority.token('alice')
  for (const { service } of [one, two]) assert.equal((await verify(service, token)).status, 200)
  const user = { kind: 'user', id: `${contoso}/${objectIdIn(token)}`, before: 3_000_000_000 }
  assert.equal(await post(one, user), 201)
  for (const { service } of [one, two]) {
    await eventually(
      async () => (await verify(service, token)).reason,
      (reason) => reason === 'user_revoked',
    )
  }
})

function objectIdIn(token: string): string {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()).oid
}

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
