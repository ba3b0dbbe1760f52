/** Sign-outs that the store cannot take: nobody tries them again, so the service does. */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
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
    // What an administrator can try again is refused, as ever.
    await assert.rejects(one.add(session('by-hand')), /cannot be reached/)
    assert.equal(one.list.get('session', 'by-hand'), undefined)
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

  it('is one of a thousand at most', async () => {
    await begin()
    const one = await open({ clock: now() })
    await server.kill('SIGKILL')
    for (let i = 0; i < 1_000; i++) await one.add(session(`s${i}`), { isYielding: true })
    await assert.rejects(one.add(session('more'), { isYielding: true }), /cannot be reached/)
    assert.equal(one.list.size, 1_000)
    await server.start()
    await one.reload()
    assert.match(await server.ask('HLEN', '{entra-auth}:revocations'), /:1000/)
  })
})
