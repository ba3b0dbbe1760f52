/** What somebody else wrote to a real server, by mistake or on purpose: nobody is admitted for it. */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { RevocationError, type RevocationStore } from '../../src/revocation/revocation-store.ts'
import type { StoreConnection } from '../../src/store/connection.ts'
import { eventually } from '../support/eventually.ts'
import { idsOf, keyNamed, prepareReplicas } from './replica.ts'
import { startStoreServer } from './server.ts'

const server = await startStoreServer({ after })
const { begin, open } = prepareReplicas(server, { after })
const [values, changes] = ['{entra-auth}:revocations', '{entra-auth}:changes']
const now = () => ({ wallMs: Date.now(), monotonicMs: performance.now() })
const tenant = '11111111-1111-4111-8111-111111111111'
const [alice, bob] = [`${tenant}/a${tenant.slice(1)}`, `${tenant}/b${tenant.slice(1)}`]

const stampNow = () => Date.now() * 1_000
const jsonOf = (kind: string, id: string, more = {}) =>
  JSON.stringify({ ...keyNamed(id), kind, madeAt: 1, ...more })

/** Where much is read at once, a busy machine may need more than one attempt. */
const reload = (store: RevocationStore) =>
  eventually(
    () => store.reload().catch((error: Error) => error),
    (answer) => !(answer instanceof Error),
  )

async function write(key: string, value: string, score = `${stampNow()}`): Promise<void> {
  await server.ask('HSET', values, key, value)
  await server.ask('ZADD', changes, score, key)
}

describe('a value that names somebody other than its key', () => {
  it('rejects whom the key names, for the verifier and for HAProxy', async () => {
    await begin()
    const store = await open({ clock: now(), longest: 90_000 })
    await write(`user ${alice}`, `${stampNow()} ${jsonOf('user', bob)}`)
    await store.reload()
    const entry = store.list.get('user', alice)
    assert.ok(entry && entry.before > Date.now() / 1_000 + 80_000)
    assert.equal(store.list.get('user', bob), undefined)
    assert.deepEqual(
      store.list.recent?.().map(({ revocation }) => revocation.id),
      [alice],
    )
  })

  it('and a key in capital letters reject the user that the key means', async () => {
    await begin()
    const store = await open({ clock: now(), longest: 90_000 })
    const key = `user ${alice.toUpperCase()}`
    await write(key, `${stampNow()} ${jsonOf('user', alice)}`)
    for (let i = 0; i < 3; i++) await store.reload()
    assert.ok(store.list.get('user', alice))
    // One that is known under its own name stays as it is.
    await store.remove('user', alice)
    await write(key, `${stampNow()} ${jsonOf('user', alice)}`, `${stampNow() + 9e6}`)
    await store.reload()
    assert.equal(store.list.get('user', alice), undefined)
  })
})

describe('a revocation whose value was lost', () => {
  it('rejects tokens of any time at a replica that knows no more, also those issued later', async () => {
    await begin()
    const before = Math.floor(Date.now() / 1_000) + 50_000
    const store = await open({ clock: now() })
    await store.add({ ...keyNamed('a'), kind: 'user', id: alice, before })
    await store.stop?.()
    await server.ask('DEL', values)
    const stranger = await open({ clock: now(), longest: 90_000 })
    const lost = stranger.list.get('user', alice)
    assert.ok(lost && lost.before >= before, `${lost?.before} is earlier than ${before}`)
  })

  it('is ended for all by an administrator, at whatever replica, and after a restart', async () => {
    await begin()
    const [one, two] = [await open({ clock: now() }), await open({ clock: now() })]
    await write('key a', `${stampNow()} [not a revocation]`)
    for (const store of [one, two]) {
      await store.reload()
      assert.deepEqual(idsOf(store), ['a'])
    }
    assert.equal(await one.remove('key', 'a'), true)
    await two.reload()
    for (const store of [one, two, await open({ clock: now() })]) {
      assert.deepEqual(idsOf(store), [])
      assert.equal(await store.remove('key', 'a'), false)
    }
  })

  it('counts although it was never announced', async () => {
    await begin()
    await server.ask('HSET', values, 'key a', 'garbage', 'key b', `7 ${jsonOf('key', 'b')}`)
    const store = await open({ clock: now() })
    assert.deepEqual(idsOf(store), ['a', 'b'])
    await store.reload()
    assert.deepEqual(idsOf(await open({ clock: now() })), ['a', 'b'])
  })
})

describe('times that no replica would write', () => {
  it('the same for more than one page hide nothing, in news and at a start', async () => {
    await begin()
    const store = await open({ clock: now() })
    await store.add(keyNamed('first'))
    const json = jsonOf('key', 'NAME')
    await server.ask(
      'EVAL',
      `for i = 1, 4500 do
        redis.call('HSET', '${values}', 'key k' .. i, '7 ' .. (ARGV[1]:gsub('NAME', 'k' .. i)))
        redis.call('ZADD', '${changes}', ARGV[2], 'key k' .. i)
      end`,
      ...['0', json, `${stampNow() + 1e6}`],
    )
    await reload(store)
    assert.equal(store.list.size, 4_501)
    const fresh = await open({ clock: now() })
    assert.equal(fresh.list.size, 4_501)
    assert.ok(fresh.list.get('key', 'k4500') && fresh.list.get('key', 'k999'))
  })

  it('zero and before hide nothing', async () => {
    await begin()
    await write('key zero', `7 ${jsonOf('key', 'zero')}`, '0')
    await write('key minus', `7 ${jsonOf('key', 'minus')}`, '-5')
    assert.deepEqual(idsOf(await open({ clock: now() })), ['minus', 'zero'])
  })

  it('earlier than what a replica has read already reach it all the same', async () => {
    await begin()
    const clock = now()
    const store = await open({ clock })
    store.setVerdictLife?.(600)
    await store.add(keyNamed('a'))
    await store.reload()
    await write('key late', `7 ${jsonOf('key', 'late')}`, '1000')
    clock.monotonicMs += 61_000
    await store.reload()
    assert.deepEqual(idsOf(store), ['a', 'late'])
    // Verdicts were given without it until now, and HAProxy may have them for as long as any.
    const listed = store.list.recent?.().find(({ revocation }) => revocation.id === 'late')
    assert.ok((listed?.listedUntil ?? 0) > clock.wallMs / 1_000 + 1_500, `${listed?.listedUntil}`)
    const fresh = await open({ clock })
    assert.ok(fresh.list.get('key', 'late'))
    assert.ok(!fresh.list.recent?.().some(({ revocation }) => revocation.id === 'late'))
  })

  for (const time of ['1e17', 'inf', '9007199254740993']) {
    it(`beyond all others (${time}) refuse changes, and spread to none of them`, async () => {
      await begin()
      const store = await open({ clock: now() })
      await store.add(keyNamed('a'))
      await server.ask('ZADD', changes, time, 'key nonsense')
      const changing = [store.add(keyNamed('b')), store.remove('key', 'a')]
      for (const change of changing) await assert.rejects(change, RevocationError)
      assert.match(await server.ask('HLEN', values), /:1\r/)
      assert.match(await server.ask('ZCARD', changes), /:2\r/)
      await server.ask('ZREM', changes, 'key nonsense')
      await eventually(
        () => store.add(keyNamed('b')).catch((error: RevocationError) => error),
        (answer) => answer === undefined,
      )
      assert.deepEqual(idsOf(await open({ clock: now() })), ['a', 'b'])
    })
  }

  it('beyond all others in a value leave it to administrators to revoke and to end', async () => {
    await begin()
    const store = await open({ clock: now(), longest: 90_000 })
    await write('key a', `99999999999999999 ${jsonOf('key', 'a', { removed: true })}`)
    await store.reload()
    assert.deepEqual(idsOf(store), ['a'])
    assert.equal(await store.remove('key', 'a'), true)
    assert.deepEqual(idsOf(await open({ clock: now() })), [])
    await store.add(keyNamed('a', { reason: 'again' }))
    assert.equal((await open({ clock: now() })).list.get('key', 'a')?.reason, 'again')
  })
})

describe('keys and values that are too long', () => {
  it('are not read, and the revocations beside them are in force', async () => {
    await begin()
    const said: string[] = []
    let longest = 0
    const wrap = (connection: StoreConnection): StoreConnection => ({
      ...connection,
      async poll(since, ...more) {
        const answer = await connection.poll(since, ...more)
        for (const { key, value } of answer.changes) {
          longest = Math.max(longest, key.length, value.length)
        }
        return answer
      },
    })
    const store = await open({ clock: now(), longest: 90_000, said, wrap })
    await store.add(keyNamed('before'))
    const long = 'x'.repeat(3_000_000)
    await write('key a', `${stampNow()} ${jsonOf('key', 'a', { reason: long })}`)
    await write(`key ${long}`, `${stampNow()} {}`)
    await server.ask('HSET', values, 'key never-announced', long)
    await store.add(keyNamed('behind'))
    for (let i = 0; i < 3; i++) await reload(store)
    const [fresh] = [await open({ clock: now(), longest: 90_000, wrap })]
    for (const each of [store, fresh]) {
      assert.deepEqual(idsOf(each), ['a', 'before', 'behind', 'never-announced'])
    }
    assert.ok(longest < 5_000, `${longest}`)
    assert.ok(said.join('').length < 5_000)
  })
})

describe('keys of another type, or taken away', () => {
  for (const key of [values, changes]) {
    it(`${key} as a text makes the store one that does not answer, until it is gone`, async () => {
      await begin()
      const store = await open({ clock: now() })
      await store.add(keyNamed('a'))
      await store.add(keyNamed('b'))
      await store.remove('key', 'b')
      await server.ask('SET', key, 'something else')
      await assert.rejects(store.reload(), /WRONGTYPE/)
      await assert.rejects(store.add(keyNamed('c')), RevocationError)
      assert.equal(store.state?.().reachable, false)
      assert.deepEqual(idsOf(store), ['a', 'c'])
      await assert.rejects(open({ clock: now() }), RevocationError)
      await server.ask('DEL', key)
      await eventually(
        () => store.reload().catch(() => undefined),
        () => store.state?.().reachable === true,
      )
      await store.reload()
      assert.deepEqual(idsOf(await open({ clock: now() })), ['a', 'c'])
    })
  }

  it('one revocation that was deleted by hand comes back, and an expiry ends none', async () => {
    await begin()
    const clock = now()
    const store = await open({ clock })
    for (const id of ['a', 'b', 'c']) await store.add(keyNamed(id))
    const losses = [
      async () => {
        await server.ask('HDEL', values, 'key b')
        await server.ask('ZREM', changes, 'key b')
      },
      () => server.ask('HDEL', values, 'key a'),
      () => server.ask('ZREM', changes, 'key a'),
      async () => {
        await server.ask('PEXPIRE', values, '1')
        await server.ask('PEXPIRE', changes, '1')
        await eventually(
          () => server.ask('EXISTS', values, changes),
          (answer) => answer.includes(':0'),
        )
      },
      () => server.ask('RENAME', values, 'elsewhere'),
      () => server.ask('SWAPDB', '0', '1'),
    ]
    for (const lose of losses) {
      await lose()
      clock.monotonicMs += 61_000
      await store.reload()
      assert.deepEqual(idsOf(await open({ clock: now() })), ['a', 'b', 'c'])
    }
  })

  it('FLUSHALL in the middle of a look at everything is made good within seconds', async () => {
    await begin()
    await server.ask(
      'EVAL',
      `for i = 1, 4500 do
        redis.call('HSET', '${values}', 'key k' .. i, '7 ' .. (ARGV[1]:gsub('NAME', 'k' .. i)))
        redis.call('ZADD', '${changes}', i, 'key k' .. i)
      end`,
      ...['0', jsonOf('key', 'NAME')],
    )
    let isFlushDue = false
    const wrap = (connection: StoreConnection): StoreConnection => ({
      ...connection,
      async poll(since, ...more) {
        const answer = await connection.poll(since, ...more)
        // The first page of a look at everything.
        if (isFlushDue && since.us === 0) {
          isFlushDue = false
          await server.ask('FLUSHALL')
        }
        return answer
      },
    })
    const clock = now()
    const store = await open({ clock, wrap })
    assert.equal(store.list.size, 4_500)
    isFlushDue = true
    await server.ask('HDEL', values, 'key k1')
    // Three seconds.
    for (let i = 0; i < 12; i++) {
      clock.monotonicMs += 250
      await reload(store)
    }
    assert.equal(isFlushDue, false)
    assert.equal(store.list.size, 4_500)
    assert.equal((await open({ clock: now() })).list.size, 4_500)
  })
})
