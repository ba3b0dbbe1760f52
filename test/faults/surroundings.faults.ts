import assert from 'node:assert/strict'
import { once } from 'node:events'
import { closeSync, openSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { fabrikam } from '../serve/authority.ts'
import type { Life } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { type Chain, type ChainOptions, startChain } from './chain.ts'
import {
  countInvalid,
  countResults,
  countValid,
  judge,
  type Kinds,
  revokeGina,
  sendOne,
  startTraffic,
  untilAdmitted,
  usualKinds,
} from './traffic.ts'

const perSecond = 80
const requests = 240

/** A server that accepts and never answers. */
async function startHanging(t: Life) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { origin: `http://127.0.0.1:${port}`, sockets }
}

/** Traffic of which each valid token is admitted and each other one refused. */
async function assertUndisturbed(chain: Chain, kinds: Kinds) {
  const traffic = startTraffic(chain, { kinds, perSecond })
  await traffic.more(requests)
  await traffic.end()
  assert.deepEqual(Object.keys(countValid(traffic)), ['200'])
  assert.deepEqual(Object.keys(countInvalid(traffic)), ['401'])
  return traffic
}

/** Ends the verifier as an operator does; it must come to its end by itself. */
async function assertEnds({ verifier }: Chain): Promise<void> {
  verifier.process.kill('SIGTERM')
  assert.deepEqual(await verifier.process.exited, { code: 0, signal: null })
}

// They mostly wait, so several stacks fit side by side.
describe('what surrounds the verifier fails:', { concurrency: 2 }, () => {
  const logs: readonly (readonly [string, (t: Life) => ChainOptions['stdout']])[] = [
    [
      'standard output is on a full disk',
      (t) => {
        const full = openSync('/dev/full', 'w')
        t.after(() => closeSync(full))
        return full
      },
    ],
    ['the reader of standard output stalls', () => 'unread'],
  ]
  for (const [name, open] of logs) {
    it(`${name}: requests and the end go on without it`, async (t) => {
      const stdout = open(t)
      const chain = await startChain(t, stdout === undefined ? {} : { stdout })
      const traffic = await assertUndisturbed(chain, await usualKinds(chain.authority))
      judge(t, chain, traffic)
      await assertEnds(chain)
    })
  }

  it('the collector of traces hangs: requests and the end go on without it', async (t) => {
    const collector = await startHanging(t)
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.origin, OTEL_BSP_SCHEDULE_DELAY: '100' }
    const chain = await startChain(t, { env })
    const traffic = await assertUndisturbed(chain, await usualKinds(chain.authority))
    assert.ok(collector.sockets.size > 0, 'no span was sent')
    judge(t, chain, traffic)
    await assertEnds(chain)
  })

  it('a tenant is added whose authority hangs: the others go on', async (t) => {
    const hanging = await startHanging(t)
    const chain = await startChain(t)
    const { verifier, authority } = chain
    const kinds = await usualKinds(authority)
    verifier.addTenant('fabrikam', fabrikam, hanging.origin)
    verifier.process.kill('SIGHUP')
    await verifier.process.waitForLog(({ msg }) => msg === 'configuration reloaded')
    await eventually(
      () => hanging.sockets.size,
      (asked) => asked > 0,
    )
    // Its own tokens are neither good nor bad as long as nobody can tell.
    assert.equal(await sendOne(chain, await authority.token('mallory')), '503')
    const { foreign: _, ...others } = kinds
    judge(t, chain, await assertUndisturbed(chain, others))
    await assertEnds(chain)
  })

  it('the revocation file is gone: who was revoked stays so, and a new one counts', async (t) => {
    const chain = await startChain(t)
    const { verifier } = chain
    const kinds = await usualKinds(chain.authority)
    rmSync(verifier.revocationFile)
    const during = await assertUndisturbed(chain, kinds)
    await eventually(
      () => revokeGina(chain),
      (status) => status === 201,
    )
    const { new: ofGina, ...rest } = kinds
    const gina = { token: ofGina?.token ?? (() => undefined) }
    await eventually(
      async () => sendOne(chain, await chain.authority.token('gina')),
      (result) => result === '401',
    )
    judge(t, chain, during, await assertUndisturbed(chain, { ...rest, gina }))
    verifier.process.kill('SIGKILL')
    await verifier.startAnew()
    await untilAdmitted(chain)
    await assertUndisturbed(chain, { ...rest, gina })
  })

  it('the machine of the verifier was suspended for a day: nobody passes until keys are confirmed', async (t) => {
    const chain = await startChain(t, { clock: 'wall' })
    const { authority, verifier, clock } = chain
    const lasting = { expiresInSeconds: 24.8 * 3_600 }
    const kinds = await usualKinds(authority)
    assert.ok(kinds.known && kinds.new)
    const tokens = await Promise.all(
      Array.from({ length: 4 }, () => authority.token('alice', lasting)),
    )
    let next = 0
    const dayLong: Kinds = {
      ...kinds,
      known: { ...kinds.known, token: () => tokens[next++ % tokens.length] },
      new: { ...kinds.new, token: () => authority.token('gina', lasting) },
    }
    const before = await assertUndisturbed(chain, dayLong)
    await chain.shutAuthority()
    verifier.process.kill('SIGSTOP')
    // The monotonic clock stands still meanwhile, as in a suspended machine.
    clock.set(24.5 * 3_600)
    verifier.process.kill('SIGCONT')
    await eventually(
      async () => sendOne(chain, await authority.token('gina', lasting)),
      (result) => result === '503',
    )
    const ready = await fetch(`${verifier.process.origin}/readyz`)
    assert.equal(ready.status, 503)
    const during = startTraffic(chain, { kinds: dayLong, perSecond })
    await during.more(requests)
    await during.end()
    assert.equal(countInvalid(during)['200'], undefined)
    // HAProxy's machine was awake: what it remembers goes on for as long as it may.
    assert.deepEqual(Object.keys(countResults(during.sent, 'new')), ['503'])
    await chain.openAuthority()
    await untilAdmitted(chain, lasting)
    judge(t, chain, before, during, await assertUndisturbed(chain, dayLong))
  })
})
