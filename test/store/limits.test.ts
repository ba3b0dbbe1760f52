/** Very many revocations, ends that move, and values that make no sense, at a real server. */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { openRevocations } from '../../src/commands/revocation-place.ts'
import type { Config } from '../../src/config/config.ts'
import { eventually } from '../support/eventually.ts'
import { idsOf, keyNamed, prepareReplicas } from './replica.ts'
import { startStoreServer } from './server.ts'

const server = await startStoreServer({ after })
const { begin, open } = prepareReplicas(server, { after })
const [values, changes] = ['{entra-auth}:revocations', '{entra-auth}:changes']
const now = () => ({ wallMs: Date.now(), monotonicMs: performance.now() })

/** Writes revocations straight to the server; `score` is in Lua, `i` counts from 1. */
function fill(count: number, score: string, json: string): Promise<string> {
  return server.ask(
    'EVAL',
    `for i = 1, ${count} do
      redis.call('HSET', '${values}', 'key k' .. i, '1 ' .. (ARGV[1]:gsub('NAME', 'k' .. i)))
      redis.call('ZADD', '${changes}', ${score}, 'key k' .. i)
    end return 1`,
    '0',
    json,
  )
}

describe('more than 10,000 revocations', () => {
  const justNow = "redis.call('TIME')[1] * 1000000 - 1000000 + i"
  const json = JSON.stringify({ ...keyNamed('NAME'), madeAt: 1 })

  it('that a store was given back at once are all in force, and administrators add more', async () => {
    await begin()
    await fill(10_500, 'i', json)
    const said: string[] = []
    const store = await open({ said, clock: now() })
    assert.equal(store.list.recent?.().length, 0)
    await server.ask('FLUSHALL')
    await store.reload()
    await store.reload()
    for (const kind of ['user', 'token', 'session', 'client', 'tenant', 'key'] as const) {
      const tenant = '22222222-2222-4222-8222-222222222222'
      const pair = kind === 'user' || kind === 'client'
      await store.add({ ...keyNamed('a'), kind, id: pair ? `${tenant}/${tenant}` : tenant })
    }
    const fresh = await open({ clock: now() })
    assert.equal(fresh.list.size, 10_506)
    assert.equal(fresh.list.entries.length, 10_506)
    // One more than HAProxy takes: it caches nothing, and says so.
    await store.reload()
    assert.equal(store.list.recent?.().length, 10_001)
    assert.match(said.join('\n'), /more than 10000 revocations are recent: all are in force/)
  })

  it('come in full to a replica that polls, whatever it knew before', async () => {
    await begin()
    const store = await open({ clock: now() })
    await fill(10_500, justNow, json)
    await store.reload()
    assert.equal(store.list.size, 10_500)
    assert.ok(store.list.get('key', 'k1') && store.list.get('key', 'k10500'))
  })

  it('leave room for those of administrators, where signing out made 8,000', async () => {
    await begin()
    await fill(8_000, justNow, json)
    const store = await open({ clock: now() })
    await assert.rejects(store.add(keyNamed('out'), { isYielding: true }), /for administrators/)
    await store.add(keyNamed('administrator'))
    await store.add(keyNamed('administrator'), { isYielding: true })
    await fill(10_001, justNow, json)
    await store.reload()
    // HAProxy caches nothing any more, so one more does no harm.
    await store.add(keyNamed('out'), { isYielding: true })
    assert.ok(store.list.get('key', 'out'))
  })
})

describe('a revocation that ends earlier than it did', () => {
  const second = Math.floor(Date.now() / 1_000)
  const [long, short] = [{ until: second + 3_600 }, { until: second - 180 }]

  for (const shorten of [
    'by a new one',
    'after it was ended',
    'that this store had lost',
  ] as const) {
    it(`${shorten} does not come back from an old copy or a late replica`, async () => {
      await begin()
      const clock = now()
      const one = await open({ clock })
      await one.add(keyNamed('a', long))
      const late = await open({ clock, copy: `late ${shorten}` })
      assert.deepEqual(idsOf(late), ['a'])
      await late.stop?.()
      if (shorten === 'after it was ended') await one.remove('key', 'a')
      if (shorten === 'that this store had lost') await server.ask('FLUSHALL')
      await one.add(keyNamed('a', short))
      for (let i = 0; i < 3; i++) await one.reload()
      assert.deepEqual(idsOf(one), [])
      assert.equal(one.list.size, 0)
      assert.equal(one.list.get('key', 'a'), undefined)
      const back = await open({ clock, copy: `late ${shorten}` })
      for (const store of [back, one, await open({ clock }), back]) {
        await store.reload()
        assert.deepEqual(idsOf(store), [])
      }
    })
  }

  it('can be lengthened again, and be ended', async () => {
    await begin()
    const clock = now()
    const [one, two] = [await open({ clock }), await open({ clock })]
    await one.add(keyNamed('a', long))
    await one.add(keyNamed('a', short))
    for (let i = 0; i < 3; i++) await one.reload()
    await two.reload()
    await two.add(keyNamed('a', { until: second + 9_000 }))
    await one.reload()
    assert.equal(one.list.get('key', 'a')?.until, second + 9_000)
    assert.equal(one.list.size, 1)
    assert.equal(await one.remove('key', 'a'), true)
    await two.reload()
    assert.deepEqual([idsOf(two), two.list.size], [[], 0])
  })
})

describe('a command that only looks', () => {
  it('writes nothing to the store, and sees what a service would enforce', async () => {
    await begin()
    const second = Math.floor(Date.now() / 1_000)
    const put = async (id: string, until: number, isAnnounced = true) => {
      const stamp = `${(second - 100) * 1e6}`
      const json = JSON.stringify({ ...keyNamed(id, { until }), madeAt: second - 100 })
      await server.ask('HSET', values, `key ${id}`, `${stamp} ${json}`)
      if (isAnnounced) await server.ask('ZADD', changes, stamp, `key ${id}`)
    }
    await put('in-force', second + 3_600)
    await put('ended', second - 1_000)
    await put('not-announced', second + 3_600, false)
    await server.ask('ZADD', changes, '5', 'key without-value')
    const written = async () =>
      /rdb_changes_since_last_save:(\d+)/.exec(await server.ask('INFO', 'persistence'))?.[1]
    const before = await written()
    const config = { store: { url: server.url }, revocationFile: '/nowhere' }
    const look = await openRevocations(config as unknown as Config, Date.now, () => {}, {
      readOnly: true,
    })
    look.setLongest(90_000)
    await look.start()
    const ids = idsOf(look)
    await look.reload()
    await look.stop?.()
    assert.equal(await written(), before)
    assert.ok(ids.includes('in-force') && ids.includes('not-announced'), ids.join())
  })
})

describe('a store that somebody wrote nonsense to', () => {
  it('with a time that would hide all later changes is one that does not answer, until it is gone', async () => {
    for (const time of ['1e17', 'inf', '9007199254740993']) {
      await begin()
      const store = await open({ clock: now() })
      await store.add(keyNamed('a'))
      await server.ask('ZADD', changes, time, 'key nonsense')
      await assert.rejects(store.reload(), /a time that cannot be right/)
      assert.deepEqual(idsOf(store), ['a'])
      assert.equal(store.state?.().reachable, false)
      await server.ask('ZREM', changes, 'key nonsense')
      const other = await open({ clock: now() })
      await other.add(keyNamed('b'))
      await eventually(
        async () => {
          await store.reload().catch(() => {})
          return idsOf(store).join()
        },
        (ids) => ids === 'a,b',
      )
    }
  })

  it('with a value that cannot be read rejects whom it names, also who was ended before', async () => {
    await begin()
    const said: string[] = []
    const store = await open({ clock: now(), longest: 90_000, said })
    await store.add(keyNamed('a'))
    await store.remove('key', 'a')
    assert.deepEqual(idsOf(store), [])
    const stamp = `${(Date.now() + 5_000) * 1_000}`
    await server.ask('HSET', values, 'key a', `${stamp} {"kind":"key","id":"a","new":1}`)
    await server.ask('ZADD', changes, stamp, 'key a')
    await store.reload()
    assert.deepEqual(idsOf(store), ['a'])
    await server.ask('HSET', values, 'device a', `${stamp} {}`)
    await server.ask('ZADD', changes, `${stamp}1`.slice(0, 16), 'device a')
    await server.ask('ZADD', changes, `${Number(stamp) + 10}`, 'device a')
    await store.reload()
    assert.match(said.join('\n'), /"device a", which this version cannot read/)
  })
})
