import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { ids } from '../support/ids.ts'
import { startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const group = '44444444-4444-4444-8444-444444444444'

describe('a refusal of a policy', () => {
  it('says in the log what the nearest grant wanted, and to the client the scope alone', async () => {
    const service = await startService()
    after(() => service.close())
    const reply = await verify(service, 'default', v2User({ scp: 'Other' }))
    const line = JSON.parse(service.log.at(-1) ?? '{}')
    assert.equal(line.grant, 'policies.default.allow[0]')
    assert.equal(line.wanted, 'the scope Orders.Read')
    assert.equal(line.had, 'the scope Other')
    assert.equal(JSON.parse(reply.body).detail, 'Needed: the scope Orders.Read.')
    assert.equal(line.requestId, JSON.parse(reply.body).request_id)
  })

  it('says nothing to the client that is not its own business', async () => {
    const allow = [
      { actor: 'user', groups: [group] },
      { actor: 'user', clients: [ids.otherClient] },
    ]
    const deny = [{ users: [ids.user] }]
    for (const policy of [{ allow }, { allow: [{ actor: 'user' }], deny }]) {
      const service = await startService({ policy })
      after(() => service.close())
      const reply = await verify(service, 'default', v2User())
      assert.equal(reply.status, 403)
      const line = JSON.parse(service.log.at(-1) ?? '{}')
      assert.match(line.wanted, /^(the group|not: everybody with the object id) /)
      const told = reply.body + JSON.stringify(reply.headers)
      for (const secret of [group, ids.otherClient, ids.user]) assert.ok(!told.includes(secret))
      assert.equal(JSON.parse(reply.body).detail, undefined)
    }
  })

  it('says nothing of a token that nobody signed', async () => {
    const service = await startService()
    after(() => service.close())
    const [header, payload] = v2User({ scp: 'Other' }).split('.')
    await verify(service, 'default', `${header}.${payload}.AAAA`)
    const line = JSON.parse(service.log.at(-1) ?? '{}')
    assert.deepEqual([line.wanted, line.had, line.grant], [undefined, undefined, undefined])
  })
})
