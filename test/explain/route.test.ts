import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import fastify, { type FastifyInstance } from 'fastify'
import { addExplainRoute } from '../../src/admin/explain-route.ts'
import {
  configText,
  startAuthority,
  startService,
  type TestAuthority,
  type TestService,
} from './fixture.ts'

let authority: TestAuthority
let service: TestService
let token: string
const routes: FastifyInstance[] = []

before(async () => {
  authority = await startAuthority()
  service = await startService(configText(authority.origin))
  token = await authority.issue({ persona: 'bob' })
})
after(async () => {
  await Promise.all(routes.map((app) => app.close()))
  await service.close()
  await authority.close()
})

/** The route as it listens, since the headers as they came are what it reads. */
async function listen(isKeyed: boolean): Promise<string> {
  const app = fastify()
  addExplainRoute(app, {
    explainer: service.explainer,
    rules: () => service.rules,
    isKeyed: () => isKeyed,
  })
  routes.push(app)
  return app.listen({ host: '127.0.0.1', port: 0 })
}

describe('GET /explain/{policy}', () => {
  it('answers 200 with the explanation of a refusal', async () => {
    const origin = await listen(false)
    const headers = { authorization: `Bearer ${token}` }
    const reply = await fetch(`${origin}/explain/orders`, { headers })
    assert.equal(reply.status, 200)
    assert.equal(reply.headers.get('cache-control'), 'no-store')
    const { reason, checks } = (await reply.json()) as { reason: string; checks: object[] }
    assert.equal(reason, 'scope_missing')
    assert.ok(checks.length > 10)
  })

  it('answers 404 for an unknown policy', async () => {
    const reply = await fetch(`${await listen(false)}/explain/constructor`)
    assert.equal(reply.status, 404)
    assert.equal(reply.headers.get('x-entra-auth-reason'), 'unknown_policy')
  })

  it('explains a request without a token', async () => {
    const reply = await fetch(`${await listen(false)}/explain/orders`)
    assert.equal(((await reply.json()) as { reason: string }).reason, 'no_credentials')
  })

  it('takes the token from its own header where Authorization carries the admin key', async () => {
    const headers = { authorization: 'Bearer key', 'x-entra-auth-token': `Bearer ${token}` }
    const reply = await fetch(`${await listen(true)}/explain/orders`, { headers })
    assert.equal(((await reply.json()) as { reason: string }).reason, 'scope_missing')
  })

  it('does not take the admin key for a token', async () => {
    const headers = { authorization: `Bearer ${token}` }
    const reply = await fetch(`${await listen(true)}/explain/orders`, { headers })
    assert.equal(((await reply.json()) as { reason: string }).reason, 'no_credentials')
  })
})
