/** Two verifiers as processes, a real server between them, and what can happen to it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { checkStore } from '../../src/check/store.ts'
import { describeStore } from '../../src/commands/check.ts'
import { makeGate } from '../faults/gate.ts'
import { startAuthority } from '../serve/authority.ts'
import { makeFolder, verify } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { startRunningClock } from '../support/running-clock.ts'
import { startStoreServer } from './server.ts'
import {
  lastUser,
  nextUser,
  type Replica,
  reasonOf,
  revoke,
  revokeSomebody,
  startReplica,
  untilRefused,
  user,
} from './service.ts'

const readiness = async ({ service }: Replica) => {
  const reply = await fetch(`${service.origin}/readyz`)
  const { store } = (await reply.json()) as { store: { reachable: boolean } }
  return { status: reply.status, reachable: store.reachable }
}

describe('two replicas with one store', async () => {
  const authority = await startAuthority({ after })
  const folder = makeFolder({ after })
  const server = await startStoreServer({ after }, ['--maxmemory', '64mb'])
  const gate = await makeGate({ after })
  await gate.open(server.port)
  const own = { url: server.url }
  const gated = { url: gate.origin.replace('http:', 'redis:') }
  const one = await startReplica({ after }, authority, folder, 'one', own)
  const two = await startReplica({ after }, authority, folder, 'two', gated)
  const good = await authority.token('alice', { claims: { oid: user(999_999) } })

  it('enforce what was posted to either of them', async () => {
    await untilRefused([one, two], await revokeSomebody(one, authority))
    await untilRefused([one, two], await revokeSomebody(two, authority))
    assert.equal(await reasonOf(two, good), 'allowed')
  })

  /** What happens to the store, and how it ends. */
  const faults: Readonly<Record<string, () => Promise<() => Promise<void>>>> = {
    'killed and started again': async () => {
      await server.kill('SIGKILL')
      return () => server.start()
    },
    'restarted empty': async () => {
      await server.kill('SIGKILL')
      server.empty()
      return () => server.start()
    },
    'paused (SIGSTOP)': async () => {
      await server.kill('SIGSTOP')
      return () => server.kill('SIGCONT')
    },
    'cut off from one replica': async () => {
      await gate.shut()
      return () => gate.open(server.port)
    },
    'replaced by something that answers garbage': async () => {
      await server.kill('SIGKILL')
      const garbage = await answerGarbage(server.port)
      return async () => {
        await new Promise((done) => garbage.close(done))
        await server.start()
      }
    },
    'slow by 500 ms': async () => {
      await gate.shut()
      const slow = await delay(Number(new URL(gated.url).port), server.port, 500)
      return async () => {
        await slow.stop()
        await gate.open(server.port)
      }
    },
    'full, with an eviction policy that drops keys': async () => {
      await server.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-random')
      await server.ask('DEL', '{entra-auth}:revocations')
      await server.ask('CONFIG', 'SET', 'maxmemory', '1')
      return async () => {
        await server.ask('CONFIG', 'SET', 'maxmemory', '0')
        await server.ask('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
      }
    },
    'on a full disk': async () => {
      server.limitFiles(1)
      await eventually(
        () => server.ask('SET', 'something', 'else'),
        (answer) => answer.startsWith('-MISCONF'),
      )
      return async () => server.limitFiles('unlimited')
    },
    'full, and refuses to write': async () => {
      await server.ask('CONFIG', 'SET', 'maxmemory', '1')
      return async () => void (await server.ask('CONFIG', 'SET', 'maxmemory', '0'))
    },
  }
  for (const [fault, begin] of Object.entries(faults)) {
    it(`admit no revoked user while the store is ${fault}, do not block, and recover`, async (t) => {
      const clock = startRunningClock()
      t.after(() => clock.stop())
      const revoked = await revokeSomebody(one, authority)
      await untilRefused([one, two], revoked)
      const end = await begin()
      const accepted: string[] = []
      for (let round = 0; round < 25; round++) {
        for (const replica of [one, two]) {
          const began = clock.nowMs()
          assert.equal(await reasonOf(replica, revoked), 'user_revoked')
          assert.equal(await reasonOf(replica, good), 'allowed')
          const tookMs = clock.nowMs() - began
          assert.ok(tookMs < 1_000, `${tookMs} ms`)
        }
        if (round !== 12) continue
        // What is accepted meanwhile has to be in force afterwards.
        const oid = nextUser()
        const token = await authority.token('alice', { claims: { oid } })
        if ((await revoke(one, oid)) === 201) accepted.push(token)
      }
      assert.equal((await readiness(one)).status, 200)
      await end()
      const next = await revokeSomebody(two, authority)
      for (const token of [revoked, next, ...accepted]) await untilRefused([one, two], token)
      await eventually(
        async () =>
          [await readiness(one), await readiness(two)].every(({ reachable }) => reachable),
        (areReachable) => areReachable,
      )
    })
  }

  it('treat a copy cut short by a full disk as incomplete, and write it again once there is room', async () => {
    const { pid } = one.service
    const limitFiles = (bytes: string) =>
      execFileSync('prlimit', ['--pid', `${pid}`, `--fsize=${bytes}:`])
    limitFiles('64')
    const revoked = await revokeSomebody(one, authority)
    await untilRefused([one, two], revoked)
    const copy = join(folder, 'one.json.store')
    await eventually(
      () => readFileSync(copy, 'utf8').slice(0, 6),
      (first) => first === 'stale\n',
    )
    limitFiles('unlimited')
    await eventually(
      () => readFileSync(copy, 'utf8'),
      (text) => text.startsWith('whole\n') && text.includes(lastUser()),
    )
  })

  it('tell at /readyz that the store is away, refuse changes with 503 and are ready all the same', async () => {
    await server.kill('SIGKILL')
    await eventually(
      () => readiness(one),
      ({ reachable }) => !reachable,
    )
    assert.equal((await readiness(one)).status, 200)
    assert.equal(await revoke(one, nextUser()), 503)
    await server.start()
  })

  it('start while the store is away, and refuse whom they refused before', async () => {
    const revoked = await revokeSomebody(one, authority)
    await untilRefused([one, two], revoked)
    await eventually(
      () => readFileSync(join(folder, 'two.json.store'), 'utf8'),
      (text) => text.includes(lastUser()),
    )
    await server.kill('SIGKILL')
    two.service.kill('SIGKILL')
    await two.service.exited
    const again = await startReplica({ after }, authority, folder, 'two', gated)
    assert.equal(await reasonOf(again, revoked), 'user_revoked')
    const { headers } = await verify(again.service, good)
    // Nobody knows what was revoked meanwhile, so that HAProxy must ask each time.
    assert.match(headers.get('cache-control') ?? '', /max-age=0/)
    await server.start()
    await untilRefused([one, again], await revokeSomebody(again, authority))
    await eventually(
      async () => (await verify(again.service, good)).headers.get('cache-control') ?? '',
      (value) => value.includes('max-age=30'),
    )
  })
})

describe('check', () => {
  it('names the server, and the settings that would lose revocations', async (t) => {
    const server = await startStoreServer(t)
    const read = () => describeStore({ url: server.url })
    const sentences = async () =>
      (await checkStore({ url: server.url }, read)).map(
        ({ level, message }) => `${level} ${message}`,
      )
    const [version, ...rest] = await sentences()
    assert.match(version ?? '', /^note is (Redis|Valkey) \d/)
    assert.deepEqual(rest, [])
    await server.ask('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
    await server.ask('CONFIG', 'SET', 'appendonly', 'no')
    const warnings = (await sentences()).slice(1)
    assert.match(warnings[0] ?? '', /^warning may drop revocations: .* allkeys-lru/)
    assert.match(warnings[1] ?? '', /^warning loses revocations .* appendonly is off/)
    await server.kill('SIGKILL')
    assert.match((await sentences()).join(), /^unreachable does not answer/)
  })

  it('says that an address leads to a replica, to a node of a cluster or to a Sentinel', async (t) => {
    const [master, cluster] = [
      await startStoreServer(t),
      await startStoreServer(t, ['--cluster-enabled', 'yes']),
    ]
    const replica = await startStoreServer(t, ['--replicaof', '127.0.0.1', `${master.port}`])
    const sentinel = await startStoreServer(t, ['--sentinel'])
    const levels = async ({ url }: { readonly url: string }) =>
      (await checkStore({ url }, () => describeStore({ url }))).map(
        ({ level, message }) => `${level} ${message}`,
      )
    assert.match((await levels(replica)).join('\n'), /^problem leads to a replica/m)
    assert.match((await levels(cluster)).join('\n'), /^warning leads to a node of a cluster/m)
    assert.match((await levels(sentinel)).join('\n'), /^problem leads to a Sentinel/m)
    assert.doesNotMatch((await levels(master)).join('\n'), /leads to/)
  })
})

describe('a store with TLS and a user of its own', () => {
  it('is reached with a private authority and a password that rotates without a restart', async (t) => {
    const folder = makeFolder(t)
    const file = (name: string) => join(folder, name)
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=store'],
        ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', file('key'), '-out', file('ca')],
      ],
      { stdio: 'ignore' },
    )
    writeFileSync(file('user'), 'verifier\n')
    writeFileSync(file('password'), 'first-password\n')
    const rules = (password: string) => [
      ...['resetpass', `>${password}`, 'on', '~{entra-auth}:*', '&{entra-auth}:*'],
      ...['+@read', '+@write', '+@connection', '+@scripting', '+@pubsub', '+time'],
    ]
    writeFileSync(
      file('acl'),
      `user default on >default-password ~* &* +@all\nuser verifier ${rules('first-password').join(' ')}\n`,
    )
    const server = await startStoreServer(t, [
      ...['--tls-port', 'PORT', '--tls-cert-file', file('ca'), '--tls-key-file', file('key')],
      ...['--tls-ca-cert-file', file('ca'), '--tls-auth-clients', 'no', '--aclfile', file('acl')],
    ])
    const authority = await startAuthority(t)
    const store = {
      url: server.url,
      usernameFile: file('user'),
      passwordFile: file('password'),
      caFile: file('ca'),
    }
    const replica = await startReplica(t, authority, folder, 'tls', store)
    const first = await revokeSomebody(replica, authority)
    await untilRefused([replica], first)
    // Rotated at the server first: the password of the file is wrong for a while.
    const acl = readFileSync(file('acl'), 'utf8').replace('first-password', 'second-password')
    writeFileSync(file('acl'), acl)
    await server.kill('SIGKILL')
    await server.start()
    await eventually(
      () => readiness(replica),
      ({ reachable }) => !reachable,
    )
    assert.equal(await reasonOf(replica, first), 'user_revoked')
    writeFileSync(file('password'), 'second-password\n')
    await untilRefused([replica], await revokeSomebody(replica, authority))
    assert.doesNotMatch(JSON.stringify(replica.service.log), /(first|second)-password/)
  })
})

function answerGarbage(port: number): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n:)\r\n'))
  })
  return new Promise((done) => server.listen(port, '127.0.0.1', () => done(server)))
}

/** Leads from one port to another, and lets each piece wait. */
async function delay(from: number, to: number, ms: number): Promise<{ stop(): Promise<void> }> {
  const { connect } = await import('node:net')
  const sockets = new Set<{ destroy(): void }>()
  const server = createServer((near) => {
    const far = connect(to, '127.0.0.1')
    for (const [source, sink] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(source)
      source.on('error', () => sink.destroy())
      source.on('close', () => sink.destroy())
      source.on('data', (data) => setTimeout(() => sink.writable && sink.write(data), ms / 2))
    }
  })
  await new Promise<void>((done) => server.listen(from, '127.0.0.1', done))
  return {
    async stop() {
      const closed = new Promise((done) => server.close(done))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
