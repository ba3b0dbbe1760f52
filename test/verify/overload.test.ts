import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { bestOfThree } from '../support/best-of-three.ts'
import { block, keepBusy } from '../support/busy.ts'
import { eventually } from '../support/eventually.ts'
import { ask, fixtureConfig, startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const limit = (maxEventLoopLagMs: number) => ({ config: { overload: { maxEventLoopLagMs } } })

async function start(t: { after(cleanUp: () => unknown): void }, maxEventLoopLagMs: number) {
  const service = await startService(limit(maxEventLoopLagMs))
  t.after(() => service.close())
  return service
}

describe('a verifier whose event loop lags above the limit', () => {
  it('answers 503 at once, stays alive and ready, and recovers', async (t) => {
    const service = await start(t, 20)
    const token = v2User()
    const statusOf = async () => (await verify(service, 'default', token)).status
    const rest = keepBusy(60)
    const refused = await eventually(
      () => verify(service, 'default', token),
      ({ status }) => status === 503,
    )
    assert.equal(refused.reason, 'overloaded')
    assert.equal(refused.headers['x-entra-auth-verdict'], 'unavailable')
    assert.match(refused.headers['retry-after'] ?? '', /^\d+$/)
    assert.equal((await ask(service, '/livez')).status, 200)
    assert.equal((await ask(service, '/readyz')).status, 200)
    rest()
    await eventually(statusOf, (status) => status === 200)
    const { body } = await service.app.metrics.inject('/metrics')
    assert.match(
      body,
      /verdicts_total\{policy="",verdict="unavailable",reason="overloaded"\} [1-9]/,
    )
  })

  it('answers as ever where the limit is 0', async (t) => {
    const service = await start(t, 0)
    const rest = keepBusy(60)
    const statuses = new Set<number>()
    for (let count = 0; count < 15; count++) {
      statuses.add((await verify(service, 'default', v2User())).status)
    }
    rest()
    assert.deepEqual([...statuses], [200])
  })

  it('takes another limit from a reload', async (t) => {
    const service = await start(t, 0)
    const rest = keepBusy(60)
    const reload = (maxEventLoopLagMs: number) =>
      service.reload(fixtureConfig(service.authority.url, limit(maxEventLoopLagMs)))
    await reload(20)
    const statusOf = async () => (await verify(service, 'default', v2User())).status
    await eventually(statusOf, (status) => status === 503)
    await reload(0)
    await eventually(statusOf, (status) => status === 200)
    rest()
  })

  it('does not take a single pause for overload', async (t) => {
    const service = await start(t, 500)
    await bestOfThree(async () => {
      const statuses = new Set<number>()
      block(1_000)
      const untilMs = performance.now() + 300
      while (performance.now() < untilMs) {
        statuses.add((await verify(service, 'default', v2User())).status)
      }
      assert.deepEqual([...statuses], [200])
    })
  })
})
