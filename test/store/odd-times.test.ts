import assert from 'node:assert/strict'
import { after, it } from 'node:test'
import { keyNamed, prepareReplicas } from './replica.ts'
import { startStoreServer } from './server.ts'

const server = await startStoreServer({ after })
const { begin, create, open } = prepareReplicas(server, { after })

it('a wall clock that is ahead for one poll loses no revocation', async () => {
  await begin()
  const clock = { wallMs: Date.now(), monotonicMs: performance.now() }
  const store = await open({ clock, copy: 'a' })
  await store.add(keyNamed('thief', { until: Math.floor(clock.wallMs / 1e3) + 3_600 }))
  clock.wallMs += 6 * 3_600_000
  clock.monotonicMs += 250
  await store.reload()
  clock.wallMs = Date.now()
  for (let i = 0; i < 5; i++) {
    clock.monotonicMs += 250
    await store.reload()
  }
  assert.match(await server.ask('HLEN', '{entra-auth}:revocations'), /:1/)
  assert.ok(store.list.get('key', 'thief'), 'revoked still')
})

it('a replica whose clock is behind or ahead hears what the clock of the store says', async () => {
  await begin()
  for (const offMs of [-180_000, 180_000]) {
    const clock = { wallMs: Date.now() + offMs, monotonicMs: performance.now() }
    const store = create({ clock })
    assert.equal(store.storeMs?.(), undefined)
    await store.start()
    const offBy = () => Math.abs(Number(store.storeMs?.()) - Date.now())
    assert.ok(offBy() < 60_000, `${offBy()} ms`)
    clock.monotonicMs += 600_000
    assert.ok(Math.abs(offBy() - 600_000) < 60_000, `${offBy()} ms`)
  }
})

it('a logout never shortens the revocation that an administrator makes meanwhile', async () => {
  await begin()
  const clock = { wallMs: Date.now(), monotonicMs: performance.now() }
  const [a, b] = [await open({ clock }), await open({ clock })]
  const s = Math.floor(clock.wallMs / 1e3)
  const sid = (until: number) => keyNamed('sid-of-entra', { kind: 'session', until })
  await a.add(sid(s + 30 * 86_400))
  await b.add(sid(s + 3_600), { isYielding: true })
  await a.reload()
  await b.reload()
  for (const each of [a, b])
    assert.equal(each.list.get('session', 'sid-of-entra')?.until, s + 30 * 86_400)
  await a.remove('session', 'sid-of-entra')
  await b.reload()
  await b.add(sid(s + 3_600), { isYielding: true })
  assert.equal(b.list.get('session', 'sid-of-entra')?.until, s + 3_600)
})

it('what cannot be read counts after a restart without the store, too', async () => {
  await begin()
  const clock = { wallMs: Date.now(), monotonicMs: performance.now() }
  const store = await open({ clock, copy: 'u', longest: 7200 })
  await store.add(keyNamed('thief', { until: Math.floor(clock.wallMs / 1e3) + 3_600 }))
  await store.remove('key', 'thief')
  assert.equal(store.list.get('key', 'thief'), undefined)
  const us = String((Date.now() + 5_000) * 1e3)
  await server.ask('HSET', '{entra-auth}:revocations', 'key thief', `${us} {"form":2}`)
  await server.ask('ZADD', '{entra-auth}:changes', us, 'key thief')
  await store.reload()
  assert.ok(store.list.get('key', 'thief'), 'enforced')
  await store.stop?.()
  await server.kill('SIGKILL')
  const again = await open({ clock, copy: 'u', longest: 7200 })
  assert.ok(again.list.get('key', 'thief'), 'enforced after the restart')
})
