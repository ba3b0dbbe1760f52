import assert from 'node:assert/strict'
import { test } from 'node:test'
import { untilReady } from '../serve/process.ts'
import { startChain } from './chain.ts'
import { short } from './form.ts'
import { countInvalid, countValid, judge, startTraffic, usualKinds } from './traffic.ts'

const rounds = short ? 2 : 10

test(`two verifiers are replaced one after the other, ${rounds} times, at 200 requests/s: none fails`, async (t) => {
  const chain = await startChain(t, { verifiers: 2 })
  const traffic = startTraffic(chain, {
    kinds: await usualKinds(chain.authority),
    perSecond: 200,
  })
  await traffic.more(400)
  for (let round = 0; round < rounds; round++) {
    for (const verifier of chain.verifiers) {
      verifier.process.kill('SIGTERM')
      assert.deepEqual(await verifier.process.exited, { code: 0, signal: null })
      await verifier.startAnew()
      await untilReady(verifier.process)
      // HAProxy asks a server that is down every half second.
      await traffic.more(400)
    }
  }
  await traffic.end()
  judge(t, chain, traffic)
  assert.deepEqual(Object.keys(countValid(traffic)), ['200'])
  assert.deepEqual(Object.keys(countInvalid(traffic)), ['401'])
})
