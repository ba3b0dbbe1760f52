/** What every store of revocations does; run against each implementation. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Revocation } from '../../src/revocation/revocation.ts'
import type { RevocationStore } from '../../src/revocation/revocation-store.ts'
import { eventually } from '../support/eventually.ts'

/** One place for revocations, empty at first, that any number of replicas use. */
export interface Place {
  /** A replica that has started. */
  open(): Promise<RevocationStore>
}

export const nowMs = 1_800_000_000_000
const nowSeconds = nowMs / 1000
const tenant = '11111111-1111-4111-8111-111111111111'
export const entry: Revocation = {
  kind: 'tenant',
  id: tenant,
  before: nowSeconds - 1_000,
  until: nowSeconds + 3_600,
}
const keyNamed = (id: string): Revocation => ({ ...entry, kind: 'key', id })

function idsOf({ list }: RevocationStore): string[] {
  return list.entries.map(({ id }) => id).toSorted()
}

/** Waits until a replica has heard of what another one changed. */
async function until(store: RevocationStore, ids: readonly string[]): Promise<void> {
  await eventually(
    async () => {
      await store.reload()
      return idsOf(store)
    },
    (seen) => JSON.stringify(seen) === JSON.stringify(ids.toSorted()),
  )
}

/** Runs the contract against one kind of place. */
export function testStore(name: string, createPlace: () => Promise<Place>): void {
  describe(`the contract of revocations, kept in ${name}`, () => {
    it('begins with none', async () => {
      const store = await (await createPlace()).open()
      assert.deepEqual(store.list.entries, [])
    })

    it('has a revocation in force once it was added, and after a restart', async () => {
      const place = await createPlace()
      const store = await place.open()
      await store.add({ ...entry, reason: 'breach' })
      assert.deepEqual(store.list.entries, [{ ...entry, reason: 'breach' }])
      assert.deepEqual((await place.open()).list.entries, [{ ...entry, reason: 'breach' }])
    })

    it('has a revocation of each kind', async () => {
      const place = await createPlace()
      const store = await place.open()
      for (const kind of ['token', 'session', 'key'] as const) {
        await store.add({ ...entry, kind, id: `Some-${kind}` })
      }
      for (const kind of ['user', 'client'] as const) {
        await store.add({ ...entry, kind, id: `${tenant}/${tenant}` })
      }
      await store.add(entry)
      const other = await place.open()
      assert.deepEqual(other.list.entries.map(({ kind }) => kind).toSorted(), [
        'client',
        'key',
        'session',
        'tenant',
        'token',
        'user',
      ])
      assert.equal(other.list.get('session', 'Some-session')?.until, entry.until)
    })

    it('tells the other replicas of what was added and of what was removed', async () => {
      const place = await createPlace()
      const [one, two] = [await place.open(), await place.open()]
      await one.add(keyNamed('a'))
      await until(two, ['a'])
      await two.add(keyNamed('b'))
      await two.remove('key', 'a')
      await until(one, ['b'])
      assert.deepEqual(idsOf(await place.open()), ['b'])
    })

    it('replaces the revocation of the same kind and id', async () => {
      const place = await createPlace()
      const [one, two] = [await place.open(), await place.open()]
      await one.add(entry)
      await two.reload()
      await two.add({ ...entry, reason: 'again' })
      assert.equal(two.list.size, 1)
      await eventually(
        async () => {
          await one.reload()
          return one.list.get('tenant', tenant)?.reason
        },
        (reason) => reason === 'again',
      )
    })

    it('removes only what is there', async () => {
      const store = await (await createPlace()).open()
      await store.add(entry)
      assert.equal(await store.remove('key', tenant), false)
      assert.equal(await store.remove('tenant', tenant), true)
      assert.equal(await store.remove('tenant', tenant), false)
      assert.deepEqual(store.list.entries, [])
    })

    it('loses nothing when replicas change it at the same time', async () => {
      const place = await createPlace()
      const replicas = await Promise.all([place.open(), place.open(), place.open()])
      const ids = Array.from({ length: 60 }, (_, i) => `key-${i}`)
      await Promise.all(ids.map((id, i) => (replicas[i % 3] as RevocationStore).add(keyNamed(id))))
      for (const store of [...replicas, await place.open()]) await until(store, ids)
    })

    it('gives the list another identity with each change, and only then', async () => {
      const store = await (await createPlace()).open()
      const before = store.list
      await store.reload()
      assert.equal(store.list, before)
      await store.add(entry)
      assert.notEqual(store.list, before)
    })

    it('ends a revocation without an end of its own with the longest lifetime, as it is now', async () => {
      const place = await createPlace()
      const store = await place.open()
      store.setLongest(1_000)
      await store.add({ ...entry, until: nowSeconds + 1_000 }, { untilDefault: true })
      await store.add({ ...keyNamed('given'), until: nowSeconds + 1_000 })
      const endsOf = ({ list }: RevocationStore) =>
        list.entries.map(({ kind, until: end }) => [kind, end - nowSeconds]).toSorted()
      assert.deepEqual(endsOf(store), [
        ['key', 1_000],
        ['tenant', 1_000],
      ])
      const [list] = [store.list]
      store.setLongest(5_000)
      assert.notEqual(store.list, list)
      assert.deepEqual(endsOf(store), [
        ['key', 1_000],
        ['tenant', 5_000],
      ])
      store.setLongest(500)
      const next = await place.open()
      next.setLongest(7_000)
      assert.deepEqual(endsOf(next), [
        ['key', 1_000],
        ['tenant', 7_000],
      ])
    })
  })
}
