/** Changes that the store cannot take: they are in force here, and the service gives them to the store later. */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { eventually } from '../support/eventually.ts'
import { keyNamed, prepareReplicas } from './replica.ts'
import { startStoreServer } from './server.ts'

const server = await startStoreServer({ after })
const { begin, open } = prepareReplicas(server, { after })
const now = () => ({ wallMs: Date.now(), monotonicMs: performance.now() })
const until = Math.floor(Date.now() / 1e3) + 3_600
const session = (id: string) => keyNamed(id, { kind: 'session', until })

describe('a sign-out while the store is down', () => {
  it('is in force here at once, and everywhere once the store is back', async () => {
    await begin()
    const clock = now()
    const [one, other] = [await open({ clock }), await open({ clock })]
    await one.add(keyNamed('before', { until }))
    await server.kill('SIGKILL')
    await one.add(session('left'), { isYielding: true })
    assert.ok(one.list.get('session', 'left'), 'here')
    assert.ok(
      one.list.recent?.().some(({ revocation }) => revocation.id === 'left'),
      'in the feed',
    )
    await server.start()
    await one.reload()
    await other.reload()
    assert.ok(other.list.get('session', 'left'), 'at the other')
    assert.ok(
      other.list.recent?.().some(({ revocation }) => revocation.id === 'left'),
      'feed',
    )
    // Later changes are dated as before.
    await other.remove('session', 'left')
    await one.reload()
    assert.equal(one.list.get('session', 'left'), undefined)
  })

  it('is kept over a restart of the service', async () => {
    await begin()
    const clock = now()
    const one = await open({ clock, copy: 'kept' })
    await server.kill('SIGKILL')
    await one.add(session('left'), { isYielding: true })
    await one.stop?.()
    const again = await open({ clock, copy: 'kept' })
    assert.ok(again.list.get('session', 'left'), 'from the copy')
    await server.start()
    const other = await open({ clock })
    await again.reload()
    await other.reload()
    assert.ok(other.list.get('session', 'left'), 'given to the store')
  })

  it('finds room where a thousand ids were made up', async () => {
    await begin()
    const one = await open({ clock: now() })
    await server.kill('SIGKILL')
    const guess = (id: string) => one.add(session(id), { isYielding: true, isGuess: true })
    for (let i = 0; i < 1_000; i++) await guess(`made-up-${i}`)
    await assert.rejects(guess('made-up'), /1000 changes wait/)
    await one.add(session('person'), { isYielding: true })
    assert.ok(one.list.get('session', 'person'))
    await server.start()
  })

  it('is one of two thousand at most', async () => {
    await begin()
    const clock = now()
    const one = await open({ clock })
    await server.kill('SIGKILL')
    for (let i = 0; i < 2_000; i++) await one.add(session(`s${i}`), { isYielding: true })
    await assert.rejects(one.add(session('more'), { isYielding: true }), /2000 changes wait/)
    // Those that have ended by now make room.
    clock.wallMs = until * 1_000
    const later = { ...session('later'), until: until + 3_600 }
    await one.add(later, { isYielding: true })
    assert.ok(one.list.get('session', 'later'))
    clock.wallMs = Date.now()
    await server.start()
    await one.reload()
    assert.match(await server.ask('HLEN', '{entra-auth}:revocations'), /:2001\r/)
  })
})

describe('a change of an administrator while the store is down', () => {
  const user = '22222222-2222-4222-8222-222222222222/33333333-3333-4333-8333-333333333333'
  const revoked = (more: object) => keyNamed(user, { kind: 'user', until, before: 1_000, ...more })
  const counts = /the change counts on this replica, and the others get it later/

  it('is an error, in force here, and everywhere once the store is back', async () => {
    await begin()
    const [one, other] = [await open({ clock: now() }), await open({ clock: now() })]
    await server.kill('SIGKILL')
    await assert.rejects(one.add(revoked({})), counts)
    assert.equal(one.list.get('user', user)?.before, 1_000)
    await assert.rejects(one.add(revoked({ before: 2_000 })), counts)
    assert.equal(one.list.get('user', user)?.before, 2_000)
    assert.ok(one.list.recent?.().some(({ revocation }) => revocation.id === user))
    await server.start()
    await one.reload()
    await other.reload()
    assert.equal(other.list.get('user', user)?.before, 2_000)
  })

  it('that would admit somebody is an error and changes nothing', async () => {
    await begin()
    const one = await open({ clock: now() })
    await one.add(revoked({}))
    await server.kill('SIGKILL')
    for (const more of [{ before: 999 }, { until: until - 1 }]) {
      await assert.rejects(one.add(revoked(more)), /cannot be confirmed/)
    }
    await assert.rejects(one.remove('user', user), /cannot be confirmed/)
    assert.deepEqual([one.list.get('user', user)?.before, one.list.size], [1_000, 1])
    await server.start()
    await one.reload()
    assert.equal(one.list.get('user', user)?.before, 1_000)
  })

  it('that was a mistake can be ended there', async () => {
    await begin()
    const [one, other] = [await open({ clock: now() }), await open({ clock: now() })]
    await server.kill('SIGKILL')
    await assert.rejects(one.add(revoked({})), counts)
    await assert.rejects(one.remove('user', user), counts)
    assert.equal(one.list.get('user', user), undefined)
    await assert.rejects(one.remove('user', user), /cannot be confirmed/)
    await server.start()
    for (const replica of [one, other, one]) await replica.reload()
    for (const replica of [one, other]) assert.equal(replica.list.get('user', user), undefined)
  })

  it('finds room where 2,000 signed out, up to 3,000 in all', async () => {
    await begin()
    const one = await open({ clock: now() })
    await server.kill('SIGKILL')
    for (let i = 0; i < 2_000; i++) await one.add(session(`s${i}`), { isYielding: true })
    for (let i = 0; i < 1_000; i++)
      await assert.rejects(one.add(keyNamed(`k${i}`, { until })), counts)
    await assert.rejects(one.add(keyNamed('more', { until })), /3000 changes wait/)
    assert.equal(one.list.size, 3_000)
    await server.start()
    await one.reload()
    assert.match(await server.ask('HLEN', '{entra-auth}:revocations'), /:3000/)
  })
})

describe('a sign-out while the store is full', () => {
  it('is in force here, and what others revoke still comes', async () => {
    await begin()
    const [one, other] = [await open({ clock: now() }), await open({ clock: now() })]
    const limit = (bytes: number) => server.ask('CONFIG', 'SET', 'maxmemory', `${bytes}`)
    await limit(1)
    await one.add(session('left'), { isYielding: true })
    assert.ok(one.list.get('session', 'left'))
    await limit(0)
    await other.add(keyNamed('stolen', { until }))
    await limit(1)
    await assert.rejects(one.reload(), /cannot be reached/)
    assert.ok(one.list.get('key', 'stolen'))
    await limit(0)
    await one.reload()
    await other.reload()
    assert.ok(other.list.get('session', 'left'))
  })
})

describe('a sign-out while the store hangs', () => {
  const running = {
    get wallMs() {
      return Date.now()
    },
    get monotonicMs() {
      return performance.now()
    },
  }
  /** What becomes of a promise within a time that is far below that of one question to a store that hangs. */
  const soon = (promise: Promise<unknown>, ms: number) =>
    Promise.race([promise.then(() => 'done'), wait(ms, 'late')])

  it('is in force here at once, however many come, and no two of them wait one after the other', async () => {
    await begin()
    const [one, other] = [await open({ clock: running }), await open({ clock: running })]
    await server.kill('SIGSTOP')
    const ids = Array.from({ length: 50 }, (_, i) => `left-${i}`)
    const polled = one.reload().catch((error: Error) => error.message)
    const added = ids.map((id) => one.add(session(id), { isYielding: true }))
    for (const id of ids) assert.ok(one.list.get('session', id), id)
    assert.equal(await soon(Promise.all(added), 1_900), 'done')
    assert.match(String(await polled), /no answer within 2000 ms/)
    // From now on it is known: neither a person nor an administrator waits for it again.
    const again = one.add(session('later'), { isYielding: true })
    assert.ok(one.list.get('session', 'later'))
    assert.equal(await soon(again, 400), 'done')
    const byHand = one.add(session('by-hand')).catch((error: Error) => error.message)
    assert.equal(await soon(byHand, 400), 'done')
    assert.match(String(await byHand), /cannot be reached \(no answer within 2000 ms\)/)
    assert.ok(one.list.get('session', 'by-hand'))
    await server.kill('SIGCONT')
    await eventually(
      async () => {
        for (const replica of [one, other]) await replica.reload().catch(() => {})
        return [...ids, 'later'].filter((id) => !other.list.get('session', id))
      },
      (missing) => missing.length === 0,
    )
  })

  it('holds up a change of an administrator behind it for no longer than one answer', async () => {
    await begin()
    const one = await open({ clock: running })
    await server.kill('SIGSTOP')
    const changes = Array.from({ length: 20 }, (_, i) =>
      one.add(session(`by-hand-${i}`)).catch((error: Error) => error.message),
    )
    assert.equal(await soon(Promise.all(changes), 3_000), 'done')
    await server.kill('SIGCONT')
  })

  it('leaves alone what an administrator made longer or ended elsewhere meanwhile', async () => {
    await begin()
    const [one, other] = [await open({ clock: now() }), await open({ clock: now() })]
    await server.kill('SIGKILL')
    await one.add(session('longer'), { isYielding: true })
    await one.add(session('ended'), { isYielding: true })
    await server.start()
    await other.add({ ...session('longer'), until: until + 3_600 })
    await other.add(session('ended'))
    await other.remove('session', 'ended')
    for (const replica of [one, other, one]) await replica.reload()
    for (const replica of [one, other]) {
      assert.equal(replica.list.get('session', 'longer')?.until, until + 3_600)
      assert.equal(replica.list.get('session', 'ended'), undefined)
    }
  })
})
