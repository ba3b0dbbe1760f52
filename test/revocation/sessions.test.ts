import assert from 'node:assert/strict'
import { join } from 'node:path'
import { it } from 'node:test'
import { createRevocationStore } from '../../src/revocation/revocation-store.ts'
import { makeFolder } from '../serve/process.ts'

const start = 1_800_000_000_000
const hour = 3_600_000
const entry = (id: string, until: number) => ({
  kind: 'session' as const,
  id,
  before: start / 1e3,
  until,
})

it('a wall clock that is ahead for one change loses no revocation', async (t) => {
  const clock = { wall: start }
  const file = join(makeFolder(t), 'revocations.json')
  const store = createRevocationStore(file, () => clock.wall, undefined, undefined, {
    monotonic: () => 1_000,
    wait: async () => {},
  })
  await store.start()
  await store.add(entry('thief', start / 1e3 + 3600))
  clock.wall += 6 * hour
  await store.add(entry('other', clock.wall / 1e3 + 3600), { isYielding: true })
  clock.wall = start + 500
  assert.ok(store.list.get('session', 'thief'), 'revoked still')
})

it('own revocations leave room for those of administrators, also all at once', async (t) => {
  const file = join(makeFolder(t), 'revocations.json')
  const store = createRevocationStore(file, () => start)
  await store.start()
  const made = await Promise.allSettled(
    Array.from({ length: 10_500 }, (_, i) =>
      store.add(entry(`s${i}`, start / 1e3 + 3600), { isYielding: true }),
    ),
  )
  assert.equal(made.filter(({ status }) => status === 'fulfilled').length, 8_000)
  await store.add(entry('admin', start / 1e3 + 3600))
})

it('an own revocation never shortens that of an administrator made meanwhile', async (t) => {
  const file = join(makeFolder(t), 'revocations.json')
  const store = createRevocationStore(file, () => start)
  await store.start()
  await Promise.all([
    store.add(entry('sid-of-entra', start / 1e3 + 30 * 86400)),
    store.add(entry('sid-of-entra', start / 1e3 + 60), { isYielding: true }),
  ])
  assert.equal(store.list.get('session', 'sid-of-entra')?.until, start / 1e3 + 30 * 86400)
})
