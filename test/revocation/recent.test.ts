/** What HAProxy is told where there is more than it takes. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createSharedRevocations } from '../../src/store/shared-revocations.ts'
import { createFakeStore } from '../support/fake-store.ts'
import { entry, nowMs as startMs } from './contract.ts'

async function open(count: number, describeOne: (index: number) => object) {
  let nowMs = startMs
  const store = createFakeStore(() => nowMs)
  const startSeconds = startMs / 1_000
  for (let i = 0; i < count; i++) {
    const stamp = startMs * 1_000 - count + i
    const one = { ...entry, kind: 'key', id: `k${i}`, until: startSeconds + 90_000 }
    store.values.set(`key k${i}`, `${stamp} ${JSON.stringify({ ...one, ...describeOne(i) })}`)
    store.announced.set(`key k${i}`, stamp)
  }
  const replica = createSharedRevocations({
    connect: async () => store.connect(),
    copy: undefined,
    former: async () => [],
    now: () => nowMs,
    monotonic: () => nowMs - startMs,
    onNotice() {},
  })
  replica.setVerdictLife?.(600)
  await replica.start()
  return {
    store,
    replica,
    wait(ms: number) {
      nowMs += ms
    },
    listed: () =>
      (replica.list.recent?.() ?? []).filter(({ ending }) => ending > nowMs / 1_000).length,
  }
}

describe('the revocations that HAProxy has to know', () => {
  it('are all there behind any number of ended ones', async () => {
    const { listed } = await open(10_200, (index) => (index < 100 ? {} : { removed: true }))
    assert.equal(listed(), 100)
  })

  it('are all there once so many have ended that HAProxy takes the rest', async () => {
    const soon = startMs / 1_000 + 10
    const { listed, wait } = await open(10_500, (index) => (index < 9_500 ? {} : { until: soon }))
    assert.equal(listed(), 10_001)
    wait(11_000)
    assert.equal(listed(), 9_500)
  })

  it('are more than HAProxy takes as long as that many are in force', async () => {
    const soon = startMs / 1_000 + 10
    const { listed, wait } = await open(10_500, (index) => (index < 10_100 ? {} : { until: soon }))
    wait(11_000)
    assert.equal(listed(), 10_001)
  })
})

describe('an end that was moved forward', () => {
  it('is remembered until the end before, and no longer', async () => {
    const { replica, store, wait } = await open(0, () => ({}))
    const key = { ...entry, kind: 'key', id: 'a' } as const
    const second = startMs / 1_000
    await replica.add({ ...key, until: second + 7_200 })
    await replica.add({ ...key, until: second + 60 })
    wait(300_000)
    await replica.reload()
    assert.deepEqual([replica.list.size, replica.list.entries.length], [0, 0])
    assert.equal(store.values.size, 1)
    wait(7_200_000)
    await replica.reload()
    assert.equal(store.values.size, 0)
  })
})

describe('a revocation without an end of its own', () => {
  it('that has ended is in force again once a reload lengthens the lifetime of tokens', async () => {
    const { replica, store, wait } = await open(0, () => ({}))
    replica.setLongest(3_600)
    const before = startMs / 1_000
    await replica.add(
      { ...entry, kind: 'key', id: 'a', before, until: before + 3_600 },
      { untilDefault: true },
    )
    await replica.add({ ...entry, kind: 'key', id: 'own-end', before, until: before + 3_600 })
    wait(7_200_000)
    for (let i = 0; i < 3; i++) await replica.reload()
    assert.equal(replica.list.size, 0)
    assert.equal(replica.list.get('key', 'a'), undefined)
    replica.setLongest(90_000)
    assert.ok(replica.list.get('key', 'a'))
    assert.equal(replica.list.size, 1)
    for (let i = 0; i < 3; i++) await replica.reload()
    assert.ok(replica.list.get('key', 'a'))
    assert.equal(await replica.remove('key', 'a'), true)
    assert.equal(replica.list.size, 0)
    wait(100_000_000)
    for (let i = 0; i < 3; i++) await replica.reload()
    assert.deepEqual([...store.values], [])
  })
})
