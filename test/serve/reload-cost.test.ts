import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { contoso, ordersId, startAuthority } from './authority.ts'
import { startProber } from './prober.ts'
import { makeFolder, startService, untilReady } from './process.ts'

/** No request may wait longer because of a reload. */
const longestWaitMs = 50

/** A collection of garbage may fall into one of them; work that is not split up falls into each. */
const rounds = 3

const meter = new URL('./turn-meter.ts', import.meta.url).href

const id = (kind: number, index: number) =>
  `${String(kind).padStart(8, '0')}-1111-4111-8111-${String(index).padStart(12, '0')}`

/** As many policies and tenants; of another round all of them but one are others. */
function configOf(
  authority: string,
  round: number,
  policyCount = 1_000,
  tenantCount = 200,
): string {
  const tenants = Array.from(
    { length: tenantCount - 1 },
    (_, index) => `  tenant${index}: { id: ${id(100 + round, index)}, authority: "${authority}" }`,
  )
  const policies = Array.from(
    { length: policyCount - 1 },
    (_, index) => `
  policy${index}:
    audiences: [${id(1, index)}, api://policy${index}]
    resource: https://api.contoso.com/policy${index}
    allow:
      - { actor: user, scopes: [Orders.Read, Orders.V${round}], groups: [${id(2, index)}] }
      - { actor: app, roles: [Orders.Process] }
    deny: [{ users: [${id(3, index)}] }]`,
  )
  return [
    'tenants:',
    `  contoso: { id: ${contoso}, authority: "${authority}" }`,
    ...tenants,
    'policies:',
    `  orders: { audiences: [${ordersId}], allow: [{ actor: user, scopes: [Orders.Read] }] }`,
    ...policies,
    '',
  ].join('\n')
}

test('no request waits longer than 50 ms because of a reload of 1,000 policies and 200 tenants', async (t) => {
  const authority = await startAuthority(t)
  const file = join(makeFolder(t), 'config.yaml')
  writeFileSync(file, configOf(authority.origin, 0, 1, 1))
  const service = await startService(t, {
    ENTRA_AUTH_CONFIG: file,
    NODE_OPTIONS: `--disable-warning=ExperimentalWarning --import=${meter}`,
  })
  await untilReady(service)
  const longestTurnMs = async () => {
    const from = service.stderr.length
    service.kill('SIGWINCH')
    const text = await eventually(
      () => /longest turn (\d+) µs/.exec(service.stderr.slice(from))?.[1],
      (found) => found !== undefined,
    )
    return Number(text) / 1_000
  }
  const token = await authority.token('alice', { expiresInSeconds: 3_600 })
  const prober = startProber({ url: `${service.origin}/verify/orders`, token })
  t.after(() => prober.stop())
  const turns: number[] = []
  const waits: number[] = []
  for (let round = 1; round <= rounds; round++) {
    await prober.take()
    await longestTurnMs()
    const from = service.log.length
    writeFileSync(file, configOf(authority.origin, round))
    service.kill('SIGHUP')
    await service.waitForLog(({ msg }) => msg === 'configuration reloaded', from)
    const { count, longestMs, statuses } = await prober.take()
    assert.deepEqual(statuses, [200])
    assert.ok(count > 10, `only ${count} requests during the reload`)
    turns.push(await longestTurnMs())
    waits.push(longestMs)
  }
  const show = (times: readonly number[]) => times.map((ms) => ms.toFixed(1)).join(', ')
  t.diagnostic(`longest turns ${show(turns)} ms of processor; longest waits ${show(waits)} ms`)
  assert.ok(Math.min(...turns) <= longestWaitMs, `longest turns ${show(turns)} ms`)
})
