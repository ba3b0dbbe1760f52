import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
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
