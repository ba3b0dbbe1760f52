/** dev-entra, the verifier as a process and the shipped HAProxy: nothing of the way is a stand-in. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { findPersona } from '../../src/dev-entra/personas.ts'
import { contoso, ordersId } from '../serve/authority.ts'
import { makeFolder, startService, untilReady } from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { ask, values } from './client.ts'

const cleanUps: (() => unknown)[] = []
const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
const entra = buildDevEntra({ now: Date.now })
let app: EchoApp
let haproxy: Haproxy
let admin: string

before(async () => {
  life.after(() => entra.close())
  const authority = await entra.listen({ host: '127.0.0.1', port: 0 })
  const folder = makeFolder(life)
  const file = join(folder, 'config.yaml')
  const [adminPort = 0] = await freePorts(1)
  admin = `http://127.0.0.1:${adminPort}`
  writeFileSync(
    file,
    `
admin: { port: ${adminPort} }
revocationFile: ${JSON.stringify(join(folder, 'revocations.json'))}
tenants: { contoso: { id: ${contoso}, authority: ${authority} } }
policies:
  orders:
    audiences: [${ordersId}]
    groups: all
    allow: [{ actor: user, scopes: [Orders.Read] }]
`,
  )
  const service = await startService(life, {
    ENTRA_AUTH_CONFIG: file,
    ENTRA_AUTH_ADMIN_PORT: '',
  })
  await untilReady(service)
  app = await startEchoApp()
  life.after(() => app.stop())
  haproxy = await startHaproxy({ verifier: service.address, application: app.address })
  life.after(() => haproxy.stop())
})
after(async () => {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
})

/** A token of alice's with so many groups, filled up to so many characters. */
async function orderToken(groups: number, length: number): Promise<string> {
  const order = (padding: string) =>
    entra.inject({
      method: 'POST',
      url: '/dev/token',
      payload: {
        persona: 'alice',
        claims: { groups: Array.from({ length: groups }, (_, i) => groupId(i)), padding },
      },
    })
  const bare: string = (await order('')).json().token
  // Three characters of a claim take four of base64url.
  const missing = Math.max(0, Math.floor(((length - bare.length) * 3) / 4))
  return (await order('x'.repeat(missing))).json().token
}

function groupId(index: number): string {
  return `44444444-4444-4444-8444-${String(index).padStart(12, '0')}`
}

describe('a large identity', () => {
  for (const [groups, length] of [
    [1, 2_000],
    [100, 8_000],
    [200, 12_000],
    [200, 16_000],
  ] as const) {
    it(`of ${groups} groups in a token of ${length} characters arrives whole`, async () => {
      app.requests.length = 0
      const token = await orderToken(groups, length)
      assert.ok(Math.abs(token.length - length) < 8, `the token has ${token.length} characters`)
      const reply = await ask(haproxy.port, { headers: [['Authorization', `Bearer ${token}`]] })
      assert.equal(reply.status, 200)
      const [seen] = app.requests
      assert.ok(seen)
      const list = values(seen, 'x-auth-request-groups').join()
      assert.deepEqual(
        list.split(','),
        Array.from({ length: groups }, (_, i) => groupId(i)),
      )
      assert.deepEqual(values(seen, 'x-auth-request-scopes'), ['Orders.Read'])
    })
  }

  it('that does not fit into the headers is refused, and the application sees nothing', async () => {
    app.requests.length = 0
    const token = await orderToken(225, 14_000)
    const reply = await ask(haproxy.port, { headers: [['Authorization', `Bearer ${token}`]] })
    assert.equal(reply.status, 403)
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['identity_too_large'])
    assert.deepEqual(app.requests, [])
  })

  it('in a token over the limit is refused, and the application sees nothing', async () => {
    app.requests.length = 0
    const token = await orderToken(200, 16_500)
    const reply = await ask(haproxy.port, { headers: [['Authorization', `Bearer ${token}`]] })
    assert.equal(reply.status, 401)
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['token_too_long'])
    assert.deepEqual(app.requests, [])
  })
})

describe('a revocation', () => {
  it('ends what HAProxy remembers, of that user and of no other', async () => {
    const [alice, carol] = await Promise.all(
      ['alice', 'carol'].map(async (persona) => {
        const reply = await entra.inject({
          method: 'POST',
          url: '/dev/token',
          payload: { persona },
        })
        return reply.json().token as string
      }),
    )
    const askAs = (token = '') =>
      ask(haproxy.port, { headers: [['Authorization', `Bearer ${token}`]] })
    const isRemembered = async () => {
      const before = haproxy.logLines.length
      assert.equal((await askAs(carol)).status, 200)
      await haproxy.waitForLog(() => haproxy.logLines.length > before)
      return haproxy.logLines.slice(before).some((line) => line.includes('cache=hit'))
    }
    await eventually(isRemembered, (hit) => hit)

    const revoked = await fetch(`${admin}/revocations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ kind: 'user', id: `${contoso}/${findPersona('carol')?.oid}` }),
    })
    assert.equal(revoked.status, 201)
    // Each thread of HAProxy hears of it by itself, so one refusal is not the last word.
    let refusalsInARow = 0
    const refusal = await eventually(
      async () => {
        const reply = await askAs(carol)
        refusalsInARow = reply.status === 200 ? 0 : refusalsInARow + 1
        return reply
      },
      () => refusalsInARow === 50,
    )
    assert.equal(refusal.status, 401)
    assert.deepEqual(values(refusal, 'x-entra-auth-reason'), ['user_revoked'])
    assert.equal((await askAs(alice)).status, 200)
  })
})
