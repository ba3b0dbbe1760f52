import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import {
  assertAllowed,
  assertInsufficientClaims,
  assertInsufficientScope,
  assertInvalidToken,
} from '../support/expect.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { startService, verify } from '../support/service.ts'
import { v1User, v2Agent, v2App, v2User } from '../support/tokens.ts'

const audiences = [ids.api, appIdUri]
const user = { actor: 'user', scopes: ['Orders.Read'] }
const policies = {
  members: { audiences, allow: [{ ...user, guests: false }] },
  everybody: { audiences, allow: [user] },
  'agents-of-members': {
    audiences,
    allow: [{ actor: 'agent', scopes: ['Orders.Read'], guests: false }],
  },
  'deny-guests': {
    audiences,
    allow: [user, { actor: 'app', roles: 'any' }],
    deny: [{ guests: true }],
  },
  'step-up': { audiences, allow: [{ ...user, authContext: 'c1' }] },
  group: { audiences, allow: [{ actor: 'user', groups: [ids.group] }] },
  'all-groups': { audiences, groups: 'all', allow: [user] },
  'deny-group': { audiences, allow: [user], deny: [{ groups: [ids.otherGroup] }] },
}
const service = await startService({ config: { policies } })
after(() => service.close())

const on = (policy: keyof typeof policies, token: string) => verify(service, policy, token)

describe('guests', () => {
  it('are refused where the grant refuses them', async () =>
    assertInsufficientScope(await on('members', v2User({ acct: 1 })), 'guest_not_allowed'))
  it('are refused by a v1.0 token too', async () =>
    assertInsufficientScope(await on('members', v1User({ acct: 1 })), 'guest_not_allowed'))
  it('may be whoever brings no acct claim, who is refused where guests are', async () =>
    assertInsufficientScope(await on('members', v2User({ acct: undefined })), 'guest_not_allowed'))
  it('are not members, who are admitted', async () =>
    assertAllowed(await on('members', v2User({ acct: 0 }))))
  it('are admitted where nothing is said of them', async () =>
    assertAllowed(await on('everybody', v2User({ acct: 1 }))))
  it('are refused also where an agent acts for them', async () =>
    assertInsufficientScope(
      await on('agents-of-members', v2Agent({ acct: 1 })),
      'guest_not_allowed',
    ))
  it('are denied by a rule, as is whoever may be one', async () => {
    assertInsufficientScope(await on('deny-guests', v2User({ acct: 1 })), 'denied_by_rule')
    assertInsufficientScope(await on('deny-guests', v2User({ acct: undefined })), 'denied_by_rule')
  })
  it('are not apps, which no rule on guests denies', async () =>
    assertAllowed(await on('deny-guests', v2App())))
})

describe('step-up', () => {
  const c1 = { access_token: { acrs: { essential: true, value: 'c1' } } }
  it('is done where acrs holds the context', async () =>
    assertAllowed(await on('step-up', v2User({ acrs: ['c1'] }))))
  it('is done where acrs holds the context among others', async () =>
    assertAllowed(await on('step-up', v2User({ acrs: ['p1', 'c2', 'c1'] }))))
  it('is asked of a client that can answer a claims challenge', async () => {
    const reply = await on('step-up', v2User({ xms_cc: ['cp1'] }))
    assert.deepEqual(assertInsufficientClaims(reply, 'step_up_possible'), c1)
  })
  it('is asked of a client that writes its capability in capitals', async () => {
    const reply = await on('step-up', v2User({ xms_cc: ['CP1'], acrs: ['c2'] }))
    assert.deepEqual(assertInsufficientClaims(reply, 'step_up_possible'), c1)
  })
  for (const [name, claims] of [
    ['no xms_cc', {}],
    ['another capability', { xms_cc: ['cp2', 'protapp'] }],
    ['an empty xms_cc', { xms_cc: [] }],
    ['c11 where c1 is required', { acrs: ['c11'] }],
    ['C1 where c1 is required', { acrs: ['C1'] }],
    ['an empty acrs', { acrs: [] }],
    ['the acr claim of the same value', { acr: 'c1' }],
  ] as const) {
    it(`refuses without a challenge a token with ${name}`, async () => {
      const reply = await on('step-up', v2User({ ...claims }))
      assertInsufficientScope(reply, 'step_up_required')
      assert.equal(reply.challenge?.claims, undefined)
    })
  }
  it('is not asked of somebody who lacks the scope too', async () =>
    assertInsufficientScope(
      await on('step-up', v2User({ scp: 'x', xms_cc: ['cp1'] })),
      'scope_missing',
    ))
})

describe('groups', () => {
  it('admit a member', async () =>
    assertAllowed(await on('group', v2User({ groups: [ids.otherGroup, ids.group] }))))
  it('refuse who is in none', async () =>
    assertInsufficientScope(await on('group', v2User()), 'group_missing'))
  it('refuse who is in others only', async () =>
    assertInsufficientScope(
      await on('group', v2User({ groups: [ids.otherGroup] })),
      'group_missing',
    ))
  it('refuse an empty list', async () =>
    assertInsufficientScope(await on('group', v2User({ groups: [] })), 'group_missing'))
  it('refuse names where the rule has an id', async () =>
    assertInsufficientScope(
      await on('group', v2User({ groups: ['Orders', 'CONTOSO\\Orders'] })),
      'group_missing',
    ))
  it('are compared letter by letter', async () =>
    assertInsufficientScope(
      await on('group', v2User({ groups: [ids.group.toUpperCase()] })),
      'group_missing',
    ))
  it('reach the application only where the policy names them', async () => {
    const token = v2User({ groups: [ids.otherGroup, ids.group] })
    assert.equal((await on('group', token)).headers['x-auth-request-groups'], ids.group)
    assert.equal((await on('everybody', token)).headers['x-auth-request-groups'], '')
    assert.equal(
      (await on('all-groups', token)).headers['x-auth-request-groups'],
      `${ids.otherGroup},${ids.group}`,
    )
  })
  it('deny a member of a denied one', async () =>
    assertInsufficientScope(
      await on('deny-group', v2User({ groups: [ids.otherGroup] })),
      'denied_by_rule',
    ))
  for (const [name, claims] of [
    ['by their names, of which nobody can tell which they are', { groups: ['CONTOSO\\Suspended'] }],
    ['by a name beside an id', { groups: [ids.group, 'Suspended'] }],
    ['by ids in another letter case', { groups: [ids.otherGroup.toUpperCase()] }],
    ['as roles', { roles: [ids.otherGroup] }],
  ] as const) {
    it(`deny where groups come ${name}`, async () =>
      assertInsufficientScope(await on('deny-group', v2User({ ...claims })), 'denied_by_rule'))
  }
})

describe('more groups than fit into a token', () => {
  const names = { _claim_names: { groups: 'src1' } }
  const sources = {
    _claim_sources: { src1: { endpoint: 'https://evil.test/collect' } },
  }
  for (const [name, claims] of [
    ['_claim_names', { ...names, ...sources }],
    ['_claim_names without sources', names],
    ['hasgroups', { hasgroups: true }],
    ['both markers', { ...names, hasgroups: true }],
  ] as const) {
    it(`are refused by a rule on groups: ${name}`, async () => {
      const before = service.authority.requests.length
      assertInsufficientScope(await on('group', v2User({ ...claims })), 'groups_overage')
      assert.equal(service.authority.requests.length, before)
    })
    it(`do not matter to a rule on scopes: ${name}`, async () =>
      assertAllowed(await on('everybody', v2User({ ...claims }))))
    it(`are denied by a rule that denies a group, since they may hold it: ${name}`, async () =>
      assertInsufficientScope(await on('deny-group', v2User({ ...claims })), 'denied_by_rule'))
    it(`are refused beside a list of groups: ${name}`, async () =>
      assertInvalidToken(
        await on('group', v2User({ ...claims, groups: [ids.group] })),
        'claim_malformed',
      ))
  }
  it('are not meant by a marker for another claim', async () =>
    assertInsufficientScope(
      await on('group', v2User({ _claim_names: { wids: 'src1' } })),
      'group_missing',
    ))
  it('are not meant by hasgroups false', async () =>
    assertAllowed(await on('group', v2User({ hasgroups: false, groups: [ids.group] }))))
  it('are not meant by a marker that only a prototype has', async () =>
    assertInsufficientScope(
      await on('group', v2User({ _claim_names: JSON.parse('{"__proto__":{"groups":"src1"}}') })),
      'group_missing',
    ))
})
