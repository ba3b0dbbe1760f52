/** The contract of revocations against a real server, and what is of the store alone. */
import assert from 'node:assert/strict'
import { appendFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { RevocationError } from '../../src/revocation/revocation-store.ts'
import { createDiskCopy } from '../../src/store/disk-copy.ts'
import { entry, testStore } from '../revocation/contract.ts'
import { eventually } from '../support/eventually.ts'
import { idsOf, keyNamed, prepareReplicas } from './replica.ts'
import { startStoreServer } from './server.ts'

const server = await startStoreServer({ after })
const { begin, folder, open } = prepareReplicas(server, { after })

testStore('a server', async () => {
  await begin()
  return { open: () => open() }
})

describe('the store that replicas share', () => {
  it('tells the others at once, without waiting for their next poll', async () => {
    await begin()
    const [one, two] = [await open(), await open()]
    await one.add(keyNamed('a'))
    await eventually(
      () => idsOf(two).join(),
      (ids) => ids === 'a',
      1_000,
    )
  })

  it('accepts no change while it is unreachable, enforces those that reject more, and gives the store all', async () => {
    await begin()
    const store = await open({ copy: 'lost' })
    await store.add(keyNamed('a'))
    await store.add(keyNamed('b'))
    await store.remove('key', 'b')
    await server.kill('SIGKILL')
    await assert.rejects(store.add(keyNamed('c')), (error: RevocationError) => error.isTemporary)
    await assert.rejects(store.remove('key', 'a'), (error: RevocationError) => error.isTemporary)
    await assert.rejects(store.reload(), RevocationError)
    assert.deepEqual(idsOf(store), ['a', 'c'])
    assert.equal(store.state?.().reachable, false)
    // A start meanwhile: the copy on disk says who was revoked.
    assert.deepEqual(idsOf(await open({ copy: 'lost' })), ['a', 'c'])
    await assert.rejects(open({ copy: 'none' }), /no copy on disk/)
    server.empty()
    await server.start()
    await eventually(
      () => store.reload().then(() => store.state?.().reachable),
      (isReachable) => isReachable === true,
    ).catch(() => {})
    await store.reload()
    const fresh = await open()
    assert.deepEqual(idsOf(fresh), ['a', 'c'])
    // What was ended does not come back, from whatever copy.
    const late = await open({ copy: 'lost', former: [keyNamed('b')] })
    assert.deepEqual(idsOf(late), ['a', 'c'])
  })

  it('imports an older file, once, without revocations that have ended since', async () => {
    await begin()
    const former = [keyNamed('x'), keyNamed('y')]
    const store = await open({ former })
    assert.deepEqual(idsOf(await open()), ['x', 'y'])
    await store.remove('key', 'x')
    assert.deepEqual(idsOf(await open({ former })), ['y'])
  })

  it('notices evicted revocations, and admits nobody because of it', async () => {
    await begin()
    const store = await open()
    await store.add(keyNamed('a'))
    await server.ask('DEL', '{entra-auth}:revocations')
    // A replica that starts now knows only that something was revoked.
    assert.deepEqual(idsOf(await open()), ['a'])
    await store.reload()
    assert.equal((await open()).list.get('key', 'a')?.until, entry.until)
    await server.ask('DEL', '{entra-auth}:changes')
    assert.deepEqual(idsOf(await open()), ['a'])
    await store.reload()
    assert.deepEqual(idsOf(store), ['a'])
  })

  it('tells HAProxy of recent revocations only, and of those that came back', async () => {
    await begin()
    const clock = { wallMs: Date.now(), monotonicMs: 0 }
    const store = await open({ clock })
    store.setVerdictLife?.(30)
    const until = Math.floor(clock.wallMs / 1_000) + 90_000
    await store.add({ ...keyNamed('a'), until })
    await store.reload()
    const listed = () => store.list.recent?.().map(({ revocation }) => revocation.id)
    assert.deepEqual(listed(), ['a'])
    const [first] = store.list.recent?.() ?? []
    assert.ok(Math.abs((first?.listedUntil ?? 0) - clock.wallMs / 1_000 - 4_530) < 10)
    assert.equal(store.list.recent?.(), store.list.recent?.())
    // A clock that is set ahead alone ends nothing; verdicts are kept for less, though.
    clock.wallMs += 3_600_000
    assert.deepEqual(listed(), ['a'])
    assert.ok((store.verdictLife?.() ?? 0) < 0)
    clock.monotonicMs += 3_600_000
    assert.deepEqual(listed(), [])
    assert.equal(store.list.get('key', 'a')?.until, until)
  })

  it('tells HAProxy of them in the same order, whichever replica heard of which one first', async () => {
    await begin()
    const [one, other] = [await open(), await open()]
    // Each knows of its own one before it hears of the other.
    await Promise.all([one.add(keyNamed('a')), other.add(keyNamed('b'))])
    for (const store of [one, other]) await store.reload()
    assert.equal(one.list.recent?.().length, 2)
    assert.deepEqual(one.list.recent?.(), other.list.recent?.())
  })

  it('shortens the life of verdicts the longer the store is silent', async () => {
    await begin()
    const clock = { wallMs: Date.now(), monotonicMs: 0 }
    const store = await open({ clock })
    store.setVerdictLife?.(30)
    assert.ok((store.verdictLife?.() ?? 0) > 800)
    clock.monotonicMs += 860_000
    const life = store.verdictLife?.() ?? 0
    assert.ok(life > 0 && life <= 10, `${life}`)
    clock.monotonicMs += 20_000
    assert.ok((store.verdictLife?.() ?? 0) < 0)
  })

  it('keeps the last additions on disk, even after a line that was cut off', async () => {
    await begin()
    const store = await open({ copy: 'cut' })
    await store.add(keyNamed('a'))
    const copy = createDiskCopy(join(folder, 'cut'))
    await appendFile(join(folder, 'cut'), 'key b\t7 {"kind":"key"')
    await copy.append((await copy.load()).lines)
    await appendFile(join(folder, 'cut'), 'key c\t8 {"kin')
    const { isWhole, lines } = await copy.load()
    assert.ok(isWhole)
    assert.equal(lines.length, 2)
    assert.match(await readFile(join(folder, 'cut'), 'utf8'), /^whole\n/)
    await server.kill('SIGKILL')
    assert.deepEqual(idsOf(await open({ copy: 'cut' })), ['a'])
    await server.start()
  })
})
