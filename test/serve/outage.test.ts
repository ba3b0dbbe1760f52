import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { pino } from 'pino'
import { buildApp } from '../../src/app.ts'
import { createHttp } from '../../src/keys/http.ts'
import { createRevocationStore } from '../../src/revocation/revocation-store.ts'
import { eventually } from '../support/eventually.ts'
import { loadFile } from '../support/service.ts'
import { createManualTime } from '../support/time.ts'
import {
  type Authority,
  contoso,
  createAuthority,
  environmentFor,
  ordersId,
  startAuthority,
} from './authority.ts'
import { startLoad } from './load.ts'
import {
  type Life,
  makeFolder,
  type ServiceProcess,
  startService,
  untilReady,
  verify,
} from './process.ts'

const hourMs = 3_600_000

async function breakDown(authority: Authority): Promise<void> {
  for (const target of ['metadata', 'keys']) {
    await authority.call('/dev/fault', { kind: '500', target })
  }
}

/** The service in this process, with the clock in the test's hand, for the tenant contoso. */
async function startInProcess(t: Life, authority: Authority, time = createManualTime()) {
  const file = {
    tenants: { contoso: { id: contoso, authority: authority.origin } },
    policies: {
      orders: { audiences: [ordersId, 'api://billing'], allow: [{ actor: 'user', scopes: 'any' }] },
    },
  }
  const app = buildApp(await loadFile(file), {
    clock: () => time.nowMs,
    random: () => 0.5,
    schedule: time.schedule,
    http: createHttp(),
    revocations: createRevocationStore(undefined, () => time.nowMs),
    log: pino({ level: 'silent' }),
  })
  t.after(() => app.close())
  await app.start()
  return {
    time,
    readiness: async () => (await app.verify.inject('/readyz')).statusCode,
    async statusOf(token: string) {
      const headers = { authorization: `Bearer ${token}` }
      const reply = await app.verify.inject({ url: '/verify/orders', headers })
      return `${reply.statusCode} ${reply.headers['x-entra-auth-reason'] ?? ''}`.trim()
    },
  }
}

test('an outage of hours changes nothing for known keys, and the next day ends it', async (t) => {
  const time = createManualTime()
  const authority = await startAuthority(t, { now: () => time.nowMs })
  const { statusOf, readiness } = await startInProcess(t, authority, time)
  const warm = await authority.token('alice', { expiresInSeconds: 24 * 3_600 })
  assert.equal(await statusOf(warm), '200')
  await breakDown(authority)
  for (let hour = 1; hour < 24; hour++) {
    await time.advance(hourMs)
    assert.equal(await statusOf(warm), '200', `warm token, hour ${hour}`)
    assert.equal(await statusOf(await authority.token('bob')), '200', `new token, hour ${hour}`)
    assert.equal(await readiness(), 200)
  }
  await time.advance(hourMs)
  assert.equal(await statusOf(await authority.token('bob')), '503 key_unconfirmed')
  await authority.call('/dev/reset')
  await time.advance(hourMs)
  assert.equal(await statusOf(await authority.token('bob')), '200')
})

test('after an outage readiness is green for both token versions, or not yet', async (t) => {
  const time = createManualTime()
  const authority = await startAuthority(t, { now: () => time.nowMs })
  await breakDown(authority)
  const { statusOf, readiness } = await startInProcess(t, authority, time)
  const [v1, v2] = [
    await authority.token('alice', { audience: 'api://billing' }),
    await authority.token('alice'),
  ]
  assert.equal(await readiness(), 503)
  // The versions are out of step now: one has its next attempt long before the other.
  await authority.call('/dev/fault', { kind: 'none', target: 'metadata' })
  for (let second = 0; second < 5; second++) await time.advance(1_000)
  await authority.call('/dev/reset')
  await eventually(
    async () => {
      await time.advance(1_000)
      return readiness()
    },
    (status) => status === 200,
  )
  assert.equal(await statusOf(v1), '200')
  assert.equal(await statusOf(v2), '200')
})

test('a key rotation under load loses no request', async (t) => {
  const authority = await startAuthority(t)
  const service = await startService(t, environmentFor(authority))
  await untilReady(service)
  const load = startLoad({
    clients: 8,
    url: () => `${service.origin}/verify`,
    token: () => authority.token('alice'),
  })
  await load.more(50)
  await authority.call('/dev/rotate')
  await load.more(200)
  await load.end()
  assert.deepEqual([...load.results.keys()], ['200'])
})

/** Runs the service once, so that the folder has the keys of an authority, which is then closed. */
async function storeKeys(t: Life) {
  const authority = await startAuthority(t)
  const folder = makeFolder(t)
  const store = join(folder, 'keys')
  const config = join(folder, 'config.yaml')
  writeFileSync(
    config,
    `
keyStore: ${store}
tenants: { contoso: { id: ${contoso}, authority: ${authority.origin} } }
policies:
  default: { audiences: [${ordersId}], allow: [{ actor: user, scopes: any }] }
`,
  )
  const start = () => startService(t, { ENTRA_AUTH_CONFIG: config })
  const service = await start()
  const token = await authority.token('alice')
  const files = [`${contoso}-v1.0.json`, `${contoso}-v2.0.json`].map((name) => join(store, name))
  await eventually(
    () => files.filter((file) => existsSync(file)).length,
    (count) => count === files.length,
  )
  service.kill('SIGKILL')
  await service.exited
  await authority.entra.close()
  return { store, files, token, start }
}

test('a cold start during an outage uses the stored keys', async (t) => {
  const { store, files, token, start } = await storeKeys(t)
  assert.deepEqual(
    readdirSync(store)
      .map((name) => join(store, name))
      .toSorted(),
    files,
  )
  const service = await start()
  await untilReady(service)
  assert.equal((await verify(service, token)).status, 200)
  const used = service.log.filter(({ msg }) => msg === 'stored keys are used')
  assert.equal(used.length, 2)
})

interface Stored {
  readMs: number
  metadata: { issuer: string; jwks_uri: string }
  keys: { n: string; issuer?: string }[]
}

test('a folder of stored keys that cannot be read is no folder without keys', async (t) => {
  const { files, start } = await storeKeys(t)
  for (const file of files) {
    rmSync(file)
    mkdirSync(file)
  }
  const service = await start()
  const { error } = await service.waitForLog(({ msg }) => msg === 'stored keys not used')
  assert.equal(error, 'EISDIR')
})

const changes: readonly (readonly [string, (stored: Stored) => unknown])[] = [
  ['text that is no JSON', () => undefined],
  ['null', () => null],
  ['an age of a day', (stored) => ({ ...stored, readMs: Date.now() - 24 * hourMs })],
  ['a time to come', (stored) => ({ ...stored, readMs: Date.now() + hourMs })],
  ['a time that is text', (stored) => ({ ...stored, readMs: String(stored.readMs) })],
  ['no metadata', ({ readMs, keys }) => ({ readMs, keys })],
  [
    'the issuer of another tenant',
    ({ metadata, ...stored }) => ({
      ...stored,
      metadata: { ...metadata, issuer: metadata.issuer.replaceAll('1111', '2222') },
    }),
  ],
  [
    'a key address on another host',
    ({ metadata, ...stored }) => ({
      ...stored,
      metadata: { ...metadata, jwks_uri: 'https://keys.example.invalid/keys' },
    }),
  ],
  [
    'keys of another issuer',
    ({ keys, ...stored }) => ({
      ...stored,
      keys: keys.map((key) => ({ ...key, issuer: 'https://other.example/v2.0' })),
    }),
  ],
  ['keys that are no keys', ({ keys, ...stored }) => ({ ...stored, keys: keys.map(() => 'key') })],
  ['no keys', (stored) => ({ ...stored, keys: [] })],
]

test('stored files that were tampered with or are old are not used', async (t) => {
  const { files, token, start } = await storeKeys(t)
  const [v1, v2] = files.map((file) => readFileSync(file, 'utf8')) as [string, string]
  for (const [what, change] of changes) {
    await t.test(what, async () => {
      // Only the v2.0 keys matter for the token; those of v1.0 show that the store itself works.
      writeFileSync(files[0] ?? '', v1)
      writeFileSync(files[1] ?? '', JSON.stringify(change(JSON.parse(v2))) ?? v2.slice(0, 100))
      const service: ServiceProcess = await start()
      await service.waitForLog(({ msg }) => msg === 'authorities tried')
      assert.equal((await verify(service, token)).status, 503)
      const used = service.log.filter(({ msg }) => msg === 'stored keys are used')
      assert.deepEqual(
        used.map(({ version }) => version),
        ['1.0'],
      )
      assert.ok(service.log.find(({ msg }) => msg === 'stored keys not used')?.error)
      service.kill('SIGKILL')
      await service.exited
    })
  }
})

test('a store that cannot be written costs a warning and nothing else', async (t) => {
  const authority = await startAuthority(t)
  const folder = makeFolder(t)
  const config = join(folder, 'config.yaml')
  writeFileSync(join(folder, 'file'), '')
  writeFileSync(
    config,
    `
keyStore: ${join(folder, 'file', 'keys')}
tenants: { contoso: { id: ${contoso}, authority: ${authority.origin} } }
policies:
  default: { audiences: [${ordersId}], allow: [{ actor: user, scopes: any }] }
`,
  )
  const service = await startService(t, { ENTRA_AUTH_CONFIG: config })
  await untilReady(service)
  await service.waitForLog(({ msg }) => msg === 'keys not stored')
  assert.equal((await verify(service, await authority.token('alice'))).status, 200)
})

test('a cold start without stored keys answers 503, and stores the first that it reads', async (t) => {
  const authority = await createAuthority(t)
  const folder = makeFolder(t)
  const store = join(folder, 'keys')
  const config = join(folder, 'config.yaml')
  writeFileSync(
    config,
    `
keyStore: ${store}
tenants: { contoso: { id: ${contoso}, authority: ${authority.origin} } }
policies:
  default: { audiences: [${ordersId}], allow: [{ actor: user, scopes: any }] }
`,
  )
  const service = await startService(t, { ENTRA_AUTH_CONFIG: config })
  const token = await authority.token('alice')
  await service.waitForLog(({ msg }) => msg === 'authorities tried')
  assert.equal((await verify(service, token)).status, 503)
  await authority.listen()
  await untilReady(service)
  assert.equal((await verify(service, token)).status, 200)
  await eventually(
    () => existsSync(join(store, `${contoso}-v2.0.json`)),
    (exists) => exists,
  )
})
