import assert from 'node:assert/strict'
import { test } from 'node:test'
import { haproxyCommand, haproxyVersions } from '../../scripts/haproxy-versions.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { eventually } from '../support/eventually.ts'
import { askMaster, untilMasterAnswers, untilNextWorker } from '../support/haproxy-master.ts'
import { startChain } from './chain.ts'
import { short } from './form.ts'
import {
  countInvalid,
  countResults,
  countValid,
  judge,
  revokeGina,
  startTraffic,
  untilAdmitted,
  untilRecovered,
  usualKinds,
} from './traffic.ts'

const reloads = short ? 2 : 6

/** `feed-stale-seconds`: what was heard of revocations is relied on for so long. */
const feedStaleMs = 10_000

for (const version of haproxyVersions) {
  test(`HAProxy ${version} is reloaded under load, by signal and over its master socket: no request is lost`, async (t) => {
    const [master = 0] = await freePorts(1)
    const args = ['-W', '-S', `127.0.0.1:${master}`]
    const binary = await haproxyCommand(version)
    const chain = await startChain(t, { haproxy: { binary, args } })
    const traffic = startTraffic(chain, {
      kinds: await usualKinds(chain.authority),
      // Many connections, most of them idle: those are what an old worker may close too soon.
      perSecond: 800,
      connections: 60,
    })
    await traffic.more(800)
    const workers = new Set([await untilMasterAnswers(master)])
    for (let round = 0; round < reloads; round++) {
      if (round % 2 === 0) process.kill(chain.haproxy.pid, 'SIGUSR2')
      else await askMaster(master, 'reload')
      workers.add(await untilNextWorker(master, workers))
      await traffic.more(1_200)
    }
    await traffic.end()
    judge(t, chain, traffic)
    assert.equal(workers.size, reloads + 1)
    assert.deepEqual(Object.keys(countValid(traffic)), ['200'])
    assert.deepEqual(Object.keys(countInvalid(traffic)), ['401'])
  })

  test(`HAProxy ${version} is restarted under load: nobody passes unseen, and recovery`, async (t) => {
    const binary = await haproxyCommand(version)
    const chain = await startChain(t, { haproxy: { binary } })
    const traffic = startTraffic(chain, {
      kinds: await usualKinds(chain.authority),
      perSecond: 200,
    })
    await traffic.more(300)
    await chain.restartHaproxy()
    await untilRecovered(chain, traffic, 300)
    await traffic.end()
    judge(t, chain, traffic)
  })
}

// All versions go on in the same way; what differs is how their clocks take it.
for (const version of short ? haproxyVersions.slice(0, 1) : haproxyVersions) {
  test(`HAProxy ${version} stands still and goes on: who was revoked meanwhile does not pass`, async (t) => {
    const binary = await haproxyCommand(version)
    const chain = await startChain(t, { haproxy: { binary } })
    const { known, new: fresh, ...never } = await usualKinds(chain.authority)
    assert.ok(known && fresh?.identity)
    const token = await chain.authority.token('gina')
    const gina = { token: () => token }
    const before = startTraffic(chain, {
      kinds: { known, gina: { ...gina, identity: fresh.identity }, ...never },
      perSecond: 200,
    })
    await before.more(400)
    await before.end()
    process.kill(chain.haproxy.pid, 'SIGSTOP')
    const stoppedMs = performance.now()
    assert.equal(await revokeGina(chain), 201)
    const after = startTraffic(chain, { kinds: { known, gina, ...never }, perSecond: 20 })
    await eventually(
      () => performance.now() - stoppedMs,
      (ms) => ms > feedStaleMs + 2_000,
    )
    process.kill(chain.haproxy.pid, 'SIGCONT')
    await untilAdmitted(chain)
    await after.more(100)
    await after.end()
    judge(t, chain, before, after)
    assert.deepEqual(Object.keys(countValid(before)), ['200'])
    assert.deepEqual(Object.keys(countResults(after.sent, 'known')), ['200'])
    assert.deepEqual(Object.keys(countInvalid(after)), ['401'])
  })
}
