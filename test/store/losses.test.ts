/** What a store, a disk or a start can lose, and that nobody is admitted for it. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { RevocationError } from '../../src/revocation/revocation-store.ts'
import type { StoreConnection } from '../../src/store/connection.ts'
import type { DiskCopy } from '../../src/store/disk-copy.ts'
import { eventually } from '../support/eventually.ts'
import { idsOf, keyNamed, prepareReplicas } from './replica.ts'
import { startStoreServer } from './server.ts'

const server = await startStoreServer({ after })
const { begin, create, folder, open } = prepareReplicas(server, { after })
const [values, changes] = ['{entra-auth}:revocations', '{entra-auth}:changes']

/** Keeps what the server has now; the function returned brings it back, whatever was written since. */
async function backUp(): Promise<() => Promise<void>> {
  for (const key of [values, changes]) await server.ask('COPY', key, `${key}-then`, 'REPLACE')
  return async () => {
    for (const key of [values, changes]) {
      await server.ask('DEL', key)
      await server.ask('COPY', `${key}-then`, key, 'REPLACE')
    }
  }
}

/** Counts the reads of everything, where there is something. */
function countingReads() {
  const seen = { reads: 0 }
  const wrap = (connection: StoreConnection): StoreConnection => ({
    ...connection,
    async poll(since, ...more) {
      const answer = await connection.poll(since, ...more)
      if (since.us === 0 && answer.announced > 0) seen.reads++
      return answer
    },
  })
  return { seen, wrap }
}

const now = () => ({ wallMs: Date.now(), monotonicMs: performance.now() })

describe('a store that comes back as it once was', () => {
  for (const how of ['with a new connection', 'behind the same connection'] as const) {
    it(`${how}, and was written since, gets the later states back`, async () => {
      await begin()
      const store = await open()
      for (const id of ['a', 'c']) await store.add(keyNamed(id))
      const restore = await backUp()
      await store.remove('key', 'c')
      await store.add(keyNamed('a', { reason: 'later' }))
      await restore()
      if (how === 'with a new connection') {
        await server.kill('SIGKILL')
        await server.start()
      }
      // Somebody who never knew what was lost.
      const stranger = await open()
      await stranger.add(keyNamed('d'))
      await eventually(
        () => store.reload().then(() => idsOf(store).join()),
        (ids) => ids === 'a,d',
      )
      const fresh = await open()
      assert.deepEqual(idsOf(fresh), ['a', 'd'])
      assert.equal(fresh.list.get('key', 'a')?.reason, 'later')
      await stranger.reload()
      assert.deepEqual(idsOf(stranger), ['a', 'd'])
    })
  }

  it('empty, and was written before anybody looked, gets everything back', async () => {
    await begin()
    const store = await open()
    await store.add(keyNamed('a'))
    await server.ask('FLUSHALL')
    const stranger = await open()
    await stranger.add(keyNamed('b'))
    await store.reload()
    assert.deepEqual(idsOf(await open()), ['a', 'b'])
  })

  it('has an ended revocation ended, also where it lacks it', async () => {
    await begin()
    const store = await open()
    await store.add(keyNamed('a'))
    await server.ask('FLUSHALL')
    assert.equal(await store.remove('key', 'a'), true)
    await store.reload()
    assert.deepEqual(idsOf(store), [])
    assert.deepEqual(idsOf(await open()), [])
  })
})

describe('a change', () => {
  it('counts for the others also where the clock of the store was set back', async () => {
    await begin()
    const stamp = (Date.now() + 3_600_000) * 1_000
    for (const id of ['a', 'b']) {
      const json = JSON.stringify({ ...keyNamed(id), madeAt: 1 })
      await server.ask('HSET', values, `key ${id}`, `${stamp} ${json}`)
      await server.ask('ZADD', changes, id === 'a' ? '1' : '2', `key ${id}`)
    }
    const [one, two] = [await open(), await open()]
    await one.remove('key', 'a')
    await one.add(keyNamed('b', { reason: 'later' }))
    await two.reload()
    assert.deepEqual(idsOf(two), ['b'])
    assert.equal(two.list.get('key', 'b')?.reason, 'later')
  })

  it('reaches the other replicas even if the store lost earlier revocations', async () => {
    await begin()
    const stamp = (Date.now() + 3_600_000) * 1_000
    const json = JSON.stringify({ ...keyNamed('a'), madeAt: 1 })
    await server.ask('HSET', values, 'key a', `${stamp} ${json}`)
    await server.ask('ZADD', changes, '1', 'key a')
    const [one, two] = [await open(), await open()]
    await server.ask('FLUSHALL')
    await one.add(keyNamed('a', { reason: 'later' }))
    await two.reload()
    assert.equal(two.list.get('key', 'a')?.reason, 'later')
  })
})

describe('a store that lost values for good', () => {
  it('is not read from the beginning with each poll', async () => {
    await begin()
    const clock = now()
    const { seen, wrap } = countingReads()
    const store = await open({ clock, wrap })
    const second = Math.floor(clock.wallMs / 1_000)
    await store.add(keyNamed('a', { until: second - 1 }))
    await server.ask('ZADD', changes, '7', 'future of-another-version')
    await server.ask('DEL', values)
    const before = seen.reads
    for (let i = 0; i < 8; i++) {
      clock.wallMs += 30_000
      clock.monotonicMs += 250
      await store.reload()
    }
    assert.ok(seen.reads - before <= 2, `${seen.reads - before} reads of everything`)
  })
})

describe('a revocation without an end of its own', () => {
  it('stays for replicas with longer lifetimes when it has ended for the others', async () => {
    await begin()
    const real = now()
    const [clock, later] = [{ ...real, wallMs: real.wallMs - 2_000_000 }, { ...real }]
    const short = await open({ clock, longest: 1_000 })
    const until = Math.floor(clock.wallMs / 1_000) + 1_000
    await short.add(keyNamed('a', { before: until - 1_000, until }), { untilDefault: true })
    const long = await open({ clock: later, longest: 5_000 })
    assert.deepEqual(idsOf(long), ['a'])
    clock.wallMs = real.wallMs
    await short.reload()
    await short.reload()
    assert.deepEqual(idsOf(short), [])
    assert.deepEqual(idsOf(await open({ clock: later, longest: 5_000 })), ['a'])
    // A reload of the configuration lengthens those that are known already.
    await begin()
    clock.wallMs = real.wallMs - 2_000_000
    const one = await open({ clock, longest: 1_000 })
    await one.add(keyNamed('b', { before: until - 1_000, until }), { untilDefault: true })
    const two = await open({ clock, longest: 1_000 })
    two.setLongest(5_000)
    await two.reload()
    clock.wallMs = real.wallMs
    await one.reload()
    assert.deepEqual(idsOf(await open({ clock: later, longest: 5_000 })), ['b'])
  })
})

describe('what HAProxy has to know', () => {
  it('grows at once with the time for which verdicts are kept', async () => {
    await begin()
    const clock = now()
    const store = await open({ clock })
    store.setVerdictLife?.(30)
    await store.add(keyNamed('a', { until: Math.floor(clock.wallMs / 1_000) + 90_000 }))
    const listed = () => store.list.recent?.().map(({ revocation }) => revocation.id)
    clock.wallMs += 1_000_000
    clock.monotonicMs += 1_000_000
    assert.deepEqual(listed(), [])
    store.setVerdictLife?.(3_600)
    assert.deepEqual(listed(), ['a'])
  })

  it('is nothing that was there long before a start', async () => {
    await begin()
    const clock = now()
    const second = Math.floor(clock.wallMs / 1_000)
    const json = JSON.stringify({
      ...keyNamed('a', { until: second + 9_000 }),
      madeAt: second - 7_200,
    })
    await server.ask('HSET', values, 'key a', `${(second - 7_200) * 1e6} ${json}`)
    await server.ask('ZADD', changes, `${(second - 7_200) * 1e6}`, 'key a')
    const store = await open({ clock })
    store.setVerdictLife?.(30)
    assert.deepEqual(idsOf(store), ['a'])
    assert.deepEqual(store.list.recent?.(), [])
  })

  it('does not shrink when the clock of the store is set ahead', async () => {
    await begin()
    const clock = now()
    let aheadUs = 0
    const wrap = (connection: StoreConnection): StoreConnection => ({
      ...connection,
      async poll(since, ...more) {
        const answer = await connection.poll(since, ...more)
        return { ...answer, timeUs: answer.timeUs + aheadUs }
      },
    })
    const [store, other] = [await open({ clock, wrap }), await open({ clock })]
    const until = Math.floor(clock.wallMs / 1_000) + 90_000
    await store.add(keyNamed('a', { until }))
    await other.add(keyNamed('b', { until }))
    aheadUs = 7_200e6
    await store.reload()
    const listed = () => store.list.recent?.().map(({ revocation }) => revocation.id)
    assert.deepEqual(listed(), ['a', 'b'])
    clock.wallMs += 3_700_000
    clock.monotonicMs += 3_700_000
    assert.deepEqual(listed(), [])
  })
})

describe('a start that failed half way', () => {
  it('does not overwrite newer revocations with the copy on disk', async () => {
    await begin()
    const seed = await open()
    await seed.add(keyNamed('a'))
    const old = JSON.stringify({ ...keyNamed('a'), removed: true })
    writeFileSync(join(folder, 'half'), `key a\t5 ${old}\n`)
    let failures = 1
    const wrap = (connection: StoreConnection): StoreConnection => ({
      ...connection,
      async merge(pairs, floorUs) {
        const count = await connection.merge(pairs, floorUs)
        if (failures-- > 0) throw new Error('the answer was lost')
        return count
      },
    })
    const store = create({ copy: 'half', former: [keyNamed('x')], wrap })
    await assert.rejects(store.start(), /the answer was lost/)
    await store.start()
    assert.deepEqual(idsOf(store), ['a', 'x'])
  })
})

describe('the copy on disk', () => {
  it('that could not be written does not pass for all, and is written once there is room', async () => {
    await begin()
    const clock = now()
    let isFull = false
    const full = <T>(write: () => Promise<T>) =>
      isFull ? Promise.reject(Object.assign(new Error(), { code: 'ENOSPC' })) : write()
    const wrapCopy = (copy: DiskCopy): DiskCopy => ({
      ...copy,
      get length() {
        return copy.length
      },
      append: (lines) => full(() => copy.append(lines)),
      rewrite: (lines) => full(() => copy.rewrite(lines)),
    })
    const said: string[] = []
    const store = await open({ clock, copy: 'full', wrapCopy, said })
    const until = Math.floor(clock.wallMs / 1_000) + 3_600
    await store.add(keyNamed('a', { until }))
    isFull = true
    await store.add(keyNamed('b', { until }))
    assert.match(said.join(), /cannot be written \(ENOSPC\)/)
    await server.kill('SIGKILL')
    await assert.rejects(open({ clock, copy: 'full' }), RevocationError)
    await server.start()
    isFull = false
    clock.monotonicMs += 60_000
    await eventually(
      () => store.reload().then(() => store.state?.().reachable),
      (isReachable) => isReachable === true,
    )
    await store.reload()
    await store.stop?.()
    await server.kill('SIGKILL')
    assert.deepEqual(idsOf(await open({ clock, copy: 'full' })), ['a', 'b'])
    await server.start()
  })
})
