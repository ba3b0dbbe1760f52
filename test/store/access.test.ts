/** Servers that the service must not trust, or that do not let it do all: it says so, and fails closed. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { RevocationError, type RevocationStore } from '../../src/revocation/revocation-store.ts'
import { connectStore, type StoreAddress } from '../../src/store/connection.ts'
import { createSharedRevocations } from '../../src/store/shared-revocations.ts'
import { makeFolder } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { idsOf, keyNamed } from './replica.ts'
import { startStoreServer } from './server.ts'

const opened: RevocationStore[] = []
after(() => Promise.all(opened.map((store) => store.stop?.())))

async function open(address: StoreAddress): Promise<RevocationStore> {
  const store = createSharedRevocations({
    connect: (events) => connectStore(address, events),
    copy: undefined,
    former: async () => [],
    now: Date.now,
    monotonic: () => performance.now(),
    onNotice() {},
  })
  opened.push(store)
  await store.start()
  return store
}

/** Opens it where nothing but a busy machine can be in the way. */
async function openSurely(address: StoreAddress): Promise<RevocationStore> {
  const store = await eventually(
    () => open(address).catch((error: Error) => error),
    (answer) => !(answer instanceof Error),
  )
  return store as RevocationStore
}

/** While it loads the data of its master, a replica gives other errors. */
const untilRefused = (attempt: () => Promise<unknown>) =>
  eventually(
    () => attempt().catch((error: Error) => error.message),
    (answer) => typeof answer === 'string' && answer.includes('it is a replica'),
  )

const until = Math.floor(Date.now() / 1_000) + 3_600
const key = (id: string) => keyNamed(id, { until })

const untilReachable = (store: RevocationStore) =>
  eventually(
    () => store.reload().catch(() => undefined),
    () => store.state?.().reachable === true,
  )

describe('a server that became the replica of another one', () => {
  it('does not pass for the store, however up to date it may be, and counts again as a master', async (t) => {
    const [old, master] = [await startStoreServer(t), await startStoreServer(t)]
    const store = await openSurely({ url: old.url })
    await store.add(key('a'))
    await old.ask('REPLICAOF', '127.0.0.1', `${master.port}`)
    await untilRefused(() => store.reload())
    assert.equal(store.state?.().reachable, false)
    await assert.rejects(store.add(key('b')), RevocationError)
    // In force here, and given to whichever server is the store next.
    assert.deepEqual(idsOf(store), ['a', 'b'])
    // Whoever starts knows nothing of what its master has, or had.
    await untilRefused(() => open({ url: old.url }))
    await master.kill('SIGKILL')
    await assert.rejects(open({ url: old.url }), RevocationError)
    // Promoted with the data of its master, which had lost all.
    await old.ask('REPLICAOF', 'NO', 'ONE')
    await untilReachable(store)
    assert.deepEqual(idsOf(await openSurely({ url: old.url })), ['a', 'b'])
  })
})

describe('a user of the server that lacks a command', () => {
  it('admits nobody who was revoked: each change is refused or in force for all', async (t) => {
    const folder = makeFolder(t)
    const [user, password] = [join(folder, 'user'), join(folder, 'password')]
    writeFileSync(user, 'verifier')
    writeFileSync(password, 'a-password')
    const server = await startStoreServer(t)
    const rules = ['on', '>a-password', '~{entra-auth}:*', '&{entra-auth}:*', '+@all']
    const allow = async (...more: string[]) =>
      assert.match(await server.ask('ACL', 'SETUSER', 'verifier', 'reset', ...rules, ...more), /OK/)
    await allow()
    const address = { url: server.url, usernameFile: user, passwordFile: password }
    const store = await openSurely(address)
    const accepted = ['first']
    await store.add(key('first'))
    const denied = ['eval', 'hset', 'zadd', 'publish', 'hget', 'zrange', 'time', 'subscribe']
    for (const command of denied) {
      await allow(`-${command}`)
      await server.ask('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
      await server.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
      const answer = await store.add(key(command)).catch((error: unknown) => error)
      assert.ok(answer instanceof RevocationError && answer.isTemporary, command)
      assert.ok(store.list.get('key', 'first'))
      await allow()
      await untilReachable(store)
      await store.add(key(`after-${command}`))
      accepted.push(`after-${command}`)
      const seen = new Set(idsOf(await openSurely(address)))
      assert.deepEqual(
        accepted.filter((id) => !seen.has(id)),
        [],
      )
    }
    // Without this one it cannot be told whether the server is a replica.
    await allow('-info')
    await store.reload()
    await store.add(key('without-info'))
  })

  it('is not taken for another one where its file is empty', async (t) => {
    const folder = makeFolder(t)
    const file = join(folder, 'empty')
    writeFileSync(file, '\n')
    const { url } = await startStoreServer(t)
    for (const name of ['usernameFile', 'passwordFile', 'caFile'] as const) {
      await assert.rejects(open({ url, [name]: file }), /empty is empty/)
    }
  })
})

describe('two databases of a server', () => {
  it('share no revocation', async (t) => {
    const { url } = await startStoreServer(t)
    const [one, two] = [
      await openSurely({ url: `${url}/1` }),
      await openSurely({ url: `${url}/2` }),
    ]
    await one.add(key('a'))
    await two.add(key('b'))
    for (const store of [one, two]) await store.reload()
    assert.deepEqual([idsOf(one), idsOf(two)], [['a'], ['b']])
    assert.deepEqual(idsOf(await openSurely({ url: `${url}/1` })), ['a'])
    await assert.rejects(open({ url: `${url}/999` }), RevocationError)
  })
})

describe('TLS', () => {
  it('is not left out, and accepts neither another name nor another authority', async (t) => {
    const folder = makeFolder(t)
    const file = (name: string) => join(folder, name)
    const create = (name: string, subject: string) =>
      execFileSync(
        'openssl',
        [
          ...['req', '-x509', '-newkey', 'ec', '-nodes', '-days', '2', '-subj', '/CN=store'],
          ...['-pkeyopt', 'ec_paramgen_curve:P-256', '-addext', `subjectAltName=${subject}`],
          ...['-keyout', file(`${name}.key`), '-out', file(name)],
        ],
        { stdio: 'ignore' },
      )
    create('other-name', 'DNS:store.internal')
    create('right-name', 'IP:127.0.0.1')
    writeFileSync(file('password'), 'a-password')
    const start = (name: string) =>
      startStoreServer(t, [
        ...['--tls-port', 'PORT', '--tls-cert-file', file(name), '--tls-auth-clients', 'no'],
        ...['--tls-key-file', file(`${name}.key`), '--tls-ca-cert-file', file(name)],
      ])
    const [wrong, right, plain] = [
      await start('other-name'),
      await start('right-name'),
      await startStoreServer(t),
    ]
    await assert.rejects(open({ url: wrong.url, caFile: file('other-name') }), /altname/i)
    await assert.rejects(open({ url: right.url, caFile: file('other-name') }), /self-signed/)
    await assert.rejects(open({ url: right.url }), /self-signed/)
    const secure = plain.url.replace('redis:', 'rediss:')
    await assert.rejects(open({ url: secure, caFile: file('right-name') }), RevocationError)
    // Not even by a variable of the environment.
    const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    t.after(() => {
      if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
      else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before
    })
    await assert.rejects(open({ url: wrong.url, caFile: file('other-name') }), /altname/i)
    const store = await openSurely({ url: right.url, caFile: file('right-name') })
    await store.add(key('a'))
    assert.deepEqual(idsOf(store), ['a'])
  })
})
