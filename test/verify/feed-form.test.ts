import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import Fastify from 'fastify'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { addRevocationFeed } from '../../src/verify/revocation-feed.ts'
import type { Rules } from '../../src/verify/rules.ts'
import { grants, startService } from '../support/service.ts'

async function feedOf(port: number, headers: Record<string, string>) {
  const reply = await fetch(`http://127.0.0.1:${port}/revocations`, { headers })
  return (await reply.json()) as { readonly challenges: Readonly<Record<string, string>> }
}

describe('the feed of an action that asks for form 2', () => {
  it('has the challenge of each policy, word for word as a refusal has it', async (t) => {
    const service = await startService({
      policy: { resource: 'https://api.contoso.example/orders' },
    })
    t.after(() => service.close())
    const refusal = await fetch(`http://127.0.0.1:${service.port}/verify`)
    const feed = await feedOf(service.port, { 'X-Entra-Auth-Feed': '2' })
    const challenge = feed.challenges.default ?? ''
    assert.match(challenge, /resource_metadata="https:\/\/api\.contoso\.example/)
    assert.equal(challenge, refusal.headers.get('www-authenticate'))
  })

  it("has that of a policy whose name is one of JavaScript's own", async (t) => {
    const names = ['__proto__', 'constructor', 'toString']
    const policy = { audiences: ['api://orders'], allow: [grants.user] }
    const entries = names.map((name) => [name, policy] as const)
    const service = await startService({ config: { policies: Object.fromEntries(entries) } })
    t.after(() => service.close())
    const { challenges } = await feedOf(service.port, { 'X-Entra-Auth-Feed': '2' })
    assert.deepEqual(Object.keys(challenges), names)
  })

  it('is unchanged for clients that request no form', async (t) => {
    const service = await startService()
    t.after(() => service.close())
    for (const headers of [{}, { 'X-Entra-Auth-Feed': '1' }] as Record<string, string>[]) {
      const feed = await feedOf(service.port, headers)
      assert.deepEqual(Object.keys(feed), ['version', 'revocations'])
    }
  })

  it('has none of a policy on probation until its time is over', async (t) => {
    const reportOnlyUntil = '2099-01-01T00:00:00Z'
    const policy = { reportOnlyUntil, allow: [grants.user] }
    const service = await startService({ policy })
    t.after(() => service.close())
    const feed = await feedOf(service.port, { 'X-Entra-Auth-Feed': '2' })
    assert.deepEqual(feed.challenges, {})
  })
})

describe('a feed of more than HAProxy takes', () => {
  it('is more than that in each form, whatever kinds it is made of', async (t) => {
    const app = Fastify()
    t.after(() => app.close())
    const recent = Array.from({ length: 10_001 }, (_, index) => ({
      revocation: { kind: 'session' as const, id: `s${index}`, before: 0, until: 4e9 },
      ending: 4e9,
      listedUntil: 4e9,
    }))
    const rules = { authorities: new Map(), policies: new Map(), callerKeys: [], version: 'v' }
    addRevocationFeed(app, {
      rules: () => rules as unknown as Rules,
      revocations: () => ({ ...createRevocationList([]), recent: () => recent }),
      clock: Date.now,
    })
    for (const form of ['1', '2']) {
      const url = { url: '/revocations', headers: { 'x-entra-auth-feed': form } }
      const { revocations } = (await app.inject(url)).json() as { revocations: unknown[] }
      assert.equal(revocations.length, 10_001)
    }
  })
})
