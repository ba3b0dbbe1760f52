import assert from 'node:assert/strict'
import { after, describe, it, type TestContext } from 'node:test'
import { createAuthority } from '../../src/keys/authority.ts'
import { createHttp } from '../../src/keys/http.ts'
import { refreshIntervalMs } from '../../src/keys/issuer-keys.ts'
import { type FakeEndpoint, startAuthority, tenantKey } from '../support/authority.ts'
import { eventually } from '../support/eventually.ts'
import { ids, startMs } from '../support/ids.ts'
import { createManualTime } from '../support/time.ts'

const http = createHttp({
  connectTimeoutMs: 10_000,
  deadlineMs: 20_000,
  maxReplyBytes: 1024 * 1024,
})
after(() => http.close())
const known = tenantKey(ids.contoso).id

async function createBench(t: TestContext) {
  const fake = await startAuthority()
  t.after(() => fake.close())
  const time = createManualTime()
  const tenant = { name: 'contoso', id: ids.contoso, authority: fake.url }
  const authority = createAuthority(tenant, http, {
    clock: () => time.nowMs,
    random: () => 0.5,
    schedule: time.schedule,
    log: { info() {}, warn() {} },
  })
  t.after(() => authority.stop())
  const { v1, v2 } = fake.contoso as { v1: FakeEndpoint; v2: FakeEndpoint }
  return { authority, fake, time, tenant, v1, v2 }
}

describe('the authority of a tenant', () => {
  it('is untried and not ready before it is started', async (t) => {
    const { authority, tenant, fake } = await createBench(t)
    assert.deepEqual(authority.tenant, tenant)
    assert.deepEqual(authority.state(), {
      tenant: 'contoso',
      id: ids.contoso,
      ready: false,
      tried: false,
      versions: { '1.0': { state: 'untried', keys: 0 }, '2.0': { state: 'untried', keys: 0 } },
    })
    assert.deepEqual(fake.requests, [])
  })
  it('serves the same tenant under another name, and no other', async (t) => {
    const { authority, tenant } = await createBench(t)
    assert.equal(authority.serves({ ...tenant, name: 'renamed' }), true)
    for (const change of [
      { id: ids.fabrikam },
      { authority: 'https://login.example' },
      { cloud: 'public' },
      { appId: ids.api },
    ] as const) {
      assert.equal(authority.serves({ ...tenant, ...change }), false, JSON.stringify(change))
    }
    authority.rename('renamed')
    assert.equal(authority.state().tenant, 'renamed')
    assert.equal(tenant.name, 'contoso')
  })
  it('has the keys of both versions once it was started', async (t) => {
    const { authority, v1, v2, time } = await createBench(t)
    await authority.start()
    const read = { state: 'ready', keys: 1, lastReadMs: startMs }
    assert.deepEqual(authority.state(), {
      tenant: 'contoso',
      id: ids.contoso,
      ready: true,
      tried: true,
      versions: { '1.0': read, '2.0': read },
    })
    assert.equal(authority.issuerKeys('1.0').issuer, v1.issuer)
    assert.equal(authority.issuerKeys('2.0').issuer, v2.issuer)
    assert.deepEqual(time.delays(), [refreshIntervalMs, refreshIntervalMs])
  })
  it('is not tried before both versions were', async (t) => {
    const { authority } = await createBench(t)
    await authority.issuerKeys('1.0').refresh()
    assert.equal(authority.state().tried, false)
    assert.equal(authority.state().ready, true)
  })
  it('is tried where nothing could be read, and ready with the keys of one version', async (t) => {
    const { authority, v1, v2, time } = await createBench(t)
    v1.metadataFault = v2.metadataFault = 'error'
    await authority.start()
    assert.equal(authority.state().tried, true)
    assert.equal(authority.state().ready, false)
    v2.metadataFault = undefined
    await time.advance(500)
    assert.equal(authority.state().ready, true)
  })
  it('stops refreshing, and keeps its keys', async (t) => {
    const { authority, time } = await createBench(t)
    await authority.start()
    authority.stop()
    assert.deepEqual(time.delays(), [])
    assert.equal(authority.state().ready, true)
  })
  it('refreshes both versions at once where none of their keys is confirmed any more', async (t) => {
    const { authority, time } = await createBench(t)
    await authority.start()
    time.jump(25 * 3_600_000)
    assert.equal(authority.state().ready, false)
    authority.refreshIfStale()
    await eventually(
      () => Object.values(authority.state().versions).map(({ keys }) => keys),
      (counts) => counts.every((count) => count === 1),
    )
  })
  it('tells of no retired keys at no cost: each thread of HAProxy asks every second', async (t) => {
    const { authority } = await createBench(t)
    assert.deepEqual(authority.retiredKeys(0), [])
    assert.equal(authority.retiredKeys(0), authority.retiredKeys(1))
  })
  it('withdraws the keys of both versions when it is retired, and tells of them', async (t) => {
    const { authority, time } = await createBench(t)
    await authority.start()
    assert.deepEqual(authority.retiredKeys(0), [])
    const keys = (['1.0', '2.0'] as const).map((version) => {
      const found = authority.issuerKeys(version).find(known)
      assert.ok(found?.ok)
      return found.value
    })
    authority.retire()
    assert.deepEqual(
      keys.map((key) => key.withdrawn),
      [true, true],
    )
    const retired = { id: known, atMs: startMs }
    assert.deepEqual(authority.retiredKeys(startMs), [retired, retired])
    assert.deepEqual(authority.retiredKeys(startMs + 1), [])
    assert.deepEqual(time.delays(), [])
    assert.equal(authority.state().ready, false)
  })
})

describe('an authority that comes back after an outage', () => {
  for (const [first, other] of [
    ['v1', 'v2'],
    ['v2', 'v1'],
  ] as const) {
    it(`is asked for ${other} at once where ${first} was read`, async (t) => {
      const bench = await createBench(t)
      const { authority, time } = bench
      bench.v1.metadataFault = bench.v2.metadataFault = 'error'
      await authority.start()
      // Some failures further on the next try is far away.
      await time.advance(20_000)
      const otherKeys = authority.issuerKeys(other === 'v1' ? '1.0' : '2.0')
      bench.v1.metadataFault = bench.v2.metadataFault = undefined
      await authority.issuerKeys(first === 'v1' ? '1.0' : '2.0').refresh()
      assert.equal(otherKeys.state().state, 'untried')
      await otherKeys.refresh()
      assert.equal(otherKeys.state().state, 'ready')
      assert.equal(authority.state().ready, true)
    })
  }
  it('is not asked for the other version where that could be read', async (t) => {
    const { authority, fake, v1, time } = await createBench(t)
    v1.metadataFault = 'error'
    await authority.start()
    v1.metadataFault = undefined
    const before = fake.requests.length
    await time.advance(500)
    assert.equal(fake.requests.length, before + 2)
  })
})
