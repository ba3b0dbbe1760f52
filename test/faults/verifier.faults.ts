import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { test } from 'node:test'
import { contoso } from '../serve/authority.ts'
import { eventually } from '../support/eventually.ts'
import { startChain } from './chain.ts'
import {
  between,
  countInvalid,
  countResults,
  countValid,
  judge,
  revokeGina,
  sendOne,
  startTraffic,
  untilRecovered,
  usualKinds,
} from './traffic.ts'

/** `feedStaleSeconds`: how long the action's cache outlives the last answer of a verifier. */
const feedStaleMs = 10_000

/** What a busy machine may add between a moment and a request that began then. */
const slackMs = 500

for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
  test(`the only verifier ends by ${signal}: cached verdicts go on for 10 s, then nobody passes`, async (t) => {
    // One thread, so one cache: a known token is known.
    const chain = await startChain(t, { haproxyThreads: 1 })
    const kinds = await usualKinds(chain.authority)
    const traffic = startTraffic(chain, { kinds, perSecond: 100 })
    await traffic.more(200)
    const killedMs = performance.now()
    chain.verifier.process.kill(signal)
    await chain.verifier.process.exited
    const goneMs = performance.now()
    await eventually(
      () => countResults(between(traffic, goneMs + feedStaleMs + slackMs), 'known')['503'] ?? 0,
      (refused) => refused >= 50,
    )
    const backMs = performance.now()
    await chain.verifier.startAnew()
    await untilRecovered(chain, traffic, 200)
    await traffic.end()
    judge(t, chain, traffic)

    const onGrace = between(traffic, killedMs, killedMs + feedStaleMs - 3_000)
    assert.deepEqual(Object.keys(countResults(onGrace, 'known')), ['200'])
    const stale = between(traffic, goneMs + feedStaleMs + slackMs, backMs)
    assert.deepEqual(Object.keys(countResults(stale)), ['503'])
    assert.deepEqual(Object.keys(countResults(between(traffic, goneMs, backMs), 'new')), ['503'])
  })
}

test('the only verifier is paused and goes on: refusals in time, and recovery', async (t) => {
  const chain = await startChain(t, { shippedTimeouts: true })
  const traffic = startTraffic(chain, {
    kinds: await usualKinds(chain.authority),
    perSecond: 100,
  })
  await traffic.more(200)
  chain.verifier.process.kill('SIGSTOP')
  const pausedMs = performance.now()
  await traffic.more(500)
  const resumedMs = performance.now()
  chain.verifier.process.kill('SIGCONT')
  await untilRecovered(chain, traffic, 200)
  await traffic.end()
  judge(t, chain, traffic)
  assert.deepEqual(
    Object.keys(countResults(between(traffic, pausedMs + 50, resumedMs - 1_500), 'new')),
    ['503'],
  )
})

test('one verifier of two is killed: no valid token is turned away', async (t) => {
  const chain = await startChain(t, { verifiers: 2 })
  const traffic = startTraffic(chain, {
    kinds: await usualKinds(chain.authority),
    perSecond: 200,
  })
  await traffic.more(300)
  chain.verifier.process.kill('SIGKILL')
  await traffic.more(600)
  await chain.verifier.startAnew()
  await traffic.more(600)
  await traffic.end()
  judge(t, chain, traffic)
  assert.deepEqual(Object.keys(countValid(traffic)), ['200'])
  assert.deepEqual(Object.keys(countInvalid(traffic)), ['401'])
})

test('one verifier of two is paused: the other one takes over', async (t) => {
  const chain = await startChain(t, { verifiers: 2, shippedTimeouts: true })
  const traffic = startTraffic(chain, {
    kinds: await usualKinds(chain.authority),
    perSecond: 200,
  })
  await traffic.more(300)
  chain.verifier.process.kill('SIGSTOP')
  const pausedMs = performance.now()
  await traffic.more(1_500)
  const resumedMs = performance.now()
  chain.verifier.process.kill('SIGCONT')
  await traffic.more(600)
  await traffic.end()
  judge(t, chain, traffic)
  // Two failed checks, and a second for what waited.
  assert.deepEqual(Object.keys(countValid(traffic, pausedMs + 5_000, resumedMs)), ['200'])
  assert.equal(countInvalid(traffic)['200'], undefined)
})

test('file descriptors run out: refusals in time, and recovery once there are some again', async (t) => {
  const chain = await startChain(t)
  const { process: verifier } = chain.verifier
  const traffic = startTraffic(chain, {
    kinds: await usualKinds(chain.authority),
    perSecond: 100,
  })
  await traffic.more(200)
  const open = readdirSync(`/proc/${verifier.pid}/fd`).length
  limit(verifier.pid, `--nofile=${open + 20}:`)
  const port = Number(new URL(verifier.origin).port)
  // Connections that say nothing, more than there are descriptors.
  const idle = Array.from({ length: 200 }, () => connect(port, '127.0.0.1').on('error', () => {}))
  t.after(() => {
    for (const socket of idle) socket.destroy()
  })
  await eventually(
    () => readdirSync(`/proc/${verifier.pid}/fd`).length,
    (count) => count >= open + 18,
  )
  const shortMs = performance.now()
  await eventually(
    () => countResults(between(traffic, shortMs), 'new')['503'] ?? 0,
    (refused) => refused >= 1,
  )
  await traffic.more(300)
  for (const socket of idle) socket.destroy()
  await untilRecovered(chain, traffic, 200)
  await traffic.end()
  judge(t, chain, traffic)
})

test('the disk is full for the revocation file: it stays whole, verdicts go on, later it works', async (t) => {
  const chain = await startChain(t)
  const { process: verifier, revocationFile } = chain.verifier
  const before = readFileSync(revocationFile, 'utf8')
  const traffic = startTraffic(chain, {
    kinds: await usualKinds(chain.authority),
    perSecond: 100,
  })
  await traffic.more(100)
  // No file may grow beyond nothing: what a full disk says, without a disk to fill.
  limit(verifier.pid, '--fsize=0:')
  assert.equal(await revokeGina(chain), 409)
  await traffic.more(200)
  assert.equal(readFileSync(revocationFile, 'utf8'), before)
  await traffic.end()
  assert.deepEqual(Object.keys(countValid(traffic)), ['200'])
  assert.deepEqual(Object.keys(countInvalid(traffic)), ['401'])

  limit(verifier.pid, '--fsize=unlimited:')
  assert.equal(await revokeGina(chain), 201)
  const { known, new: ofGina, ...others } = traffic.kinds
  const gina = { token: ofGina?.token ?? (() => undefined) }
  const kinds = { ...(known && { known }), gina, ...others }
  const afterwards = startTraffic(chain, { kinds, perSecond: 100 })
  await afterwards.more(200)
  await afterwards.end()
  judge(t, chain, traffic, afterwards)
  assert.deepEqual(Object.keys(countResults(afterwards.sent, 'gina')), ['401'])
  assert.deepEqual(Object.keys(countValid(afterwards)), ['200'])
})

test("the verifier's clock steps by an hour, ahead and back: each token counts by that clock", async (t) => {
  const chain = await startChain(t, { clock: 'wall' })
  const { authority, clock } = chain
  const shortLived = () => authority.token('gina', { expiresInSeconds: 600 })
  const longLived = () => authority.token('alice', { expiresInSeconds: 3 * 3_600 })
  const { forged, foreign, revoked, new: fresh } = await usualKinds(authority)
  assert.ok(forged && foreign && revoked && fresh?.identity)
  const alice = `${contoso}/a1111111-1111-4111-8111-111111111111`
  const never = { forged, foreign, revoked, old: { token: longExpired() } }
  const phase = async (valid: object, invalid: object) => {
    const traffic = startTraffic(chain, {
      kinds: { ...valid, ...never, ...invalid },
      perSecond: 60,
    })
    await traffic.more(150)
    await traffic.end()
    if (Object.keys(valid).length > 0) {
      assert.deepEqual(Object.keys(countValid(traffic)), ['200'])
    }
    assert.deepEqual(Object.keys(countInvalid(traffic)), ['401'])
    return traffic
  }
  function longExpired() {
    return () => authority.token('alice', { expiresInSeconds: -4 * 3_600 })
  }
  const short = { identity: fresh.identity, token: shortLived }
  const long = { identity: alice, token: longLived }
  const until = (token: () => Promise<string>, wanted: string) =>
    eventually(
      async () => sendOne(chain, await token()),
      (result) => result === wanted,
    )

  const phases = [await phase({ short, long }, {})]
  clock.set(3_600)
  await until(shortLived, '401')
  phases.push(await phase({ long }, { ended: { token: shortLived } }))
  clock.set(0)
  await until(shortLived, '200')
  phases.push(await phase({ short, long }, {}))
  clock.set(-3_600)
  await until(longLived, '401')
  phases.push(await phase({}, { early: { token: longLived }, earlyToo: { token: shortLived } }))
  clock.set(0)
  await until(longLived, '200')
  phases.push(await phase({ short, long }, {}))
  judge(t, chain, ...phases)
})

/** Changes a resource limit of a process of ours; the soft one, so that no privilege is needed. */
function limit(pid: number, option: string): void {
  execFileSync('prlimit', ['--pid', String(pid), option])
}
