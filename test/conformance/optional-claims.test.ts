import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import type { FailureCode } from '../../src/failure.ts'
import { assertAllowed, assertInsufficientScope, assertInvalidToken } from '../support/expect.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { startService, verify } from '../support/service.ts'
import {
  type Members,
  v1User,
  v2Agent,
  v2App,
  v2AutonomousAgent,
  v2User,
} from '../support/tokens.ts'

// Entra sends these claims only where the registration of the API asks for them, or where something
// holds. An attacker looks for a class of callers that is admitted where its claim is absent.

const audiences = [ids.api, appIdUri]
const scopes = ['Orders.Read']
const roles = ['Orders.Process']
const policies = {
  default: { audiences, allow: [{ actor: 'user', scopes }] },
  apps: { audiences, allow: [{ actor: 'app', roles }] },
  agents: { audiences, allow: [{ actor: 'agent', roles }] },
  'agents-of-users': { audiences, allow: [{ actor: 'agent', scopes }] },
  members: { audiences, allow: [{ actor: 'user', scopes, guests: false }] },
  'no-guests': { audiences, allow: [{ actor: 'user', scopes }], deny: [{ guests: true }] },
  'declared-apps': { audiences, requireIdtyp: true, allow: [{ actor: 'app', roles }] },
  group: { audiences, allow: [{ actor: 'user', groups: [ids.group] }] },
  confidential: { audiences, allow: [{ actor: 'user', scopes, confidential: true }] },
  'step-up': { audiences, allow: [{ actor: 'user', scopes, authContext: 'c1' }] },
  any: {
    audiences,
    allow: [
      { actor: 'user', scopes: 'any' },
      { actor: 'app', roles: 'any' },
    ],
  },
}
const service = await startService({ config: { policies } })
after(() => service.close())

const absent: readonly (readonly [string, keyof typeof policies, string, FailureCode])[] = [
  ['acct, where guests are refused', 'members', v2User({ acct: undefined }), 'guest_not_allowed'],
  ['acct, in a v1.0 token', 'members', v1User({ acct: undefined }), 'guest_not_allowed'],
  ['acct, where guests are denied', 'no-guests', v2User({ acct: undefined }), 'denied_by_rule'],
  ['groups', 'group', v2User({ groups: undefined }), 'group_missing'],
  ['groups, which are too many', 'group', v2User({ hasgroups: true }), 'groups_overage'],
  ['acrs', 'step-up', v2User({ acrs: undefined }), 'step_up_required'],
  ['azpacr', 'confidential', v2User({ azpacr: undefined }), 'client_not_confidential'],
  ['appidacr', 'confidential', v1User({ appidacr: undefined }), 'client_not_confidential'],
  [
    'azpacr, with the claim of v1.0',
    'confidential',
    v2User({ azpacr: undefined, appidacr: '2' }),
    'client_not_confidential',
  ],
  ['roles', 'apps', v2App({ roles: undefined }), 'role_missing'],
  [
    'roles, with directory roles (wids) in their place',
    'apps',
    v2App({ roles: undefined, wids: roles }),
    'role_missing',
  ],
]

describe('a token is refused that lacks', () => {
  for (const [what, policy, token, reason] of absent) {
    it(what, async () => assertInsufficientScope(await verify(service, policy, token), reason))
  }

  it('idtyp, where an app must say that it is one', async () =>
    assertInvalidToken(
      await verify(service, 'declared-apps', v2App({ idtyp: undefined })),
      'not_an_access_token',
    ))

  for (const claim of ['oid', 'sub', 'azp', 'aud', 'iat', 'exp']) {
    it(`${claim}, on every policy`, async () => {
      for (const policy of Object.keys(policies)) {
        const reply = await verify(service, policy, v2User({ [claim]: undefined }))
        assertInvalidToken(reply, 'claim_missing')
      }
    })
  }
})

describe('an agent is one by each of its claims alone', () => {
  const none = { xms_act_fct: undefined, xms_sub_fct: undefined, xms_par_app_azp: undefined }
  const each: readonly Members[] = [
    { xms_act_fct: '11' },
    { xms_act_fct: '9 13 3' },
    { xms_sub_fct: '11' },
    { xms_sub_fct: '13' },
    { xms_par_app_azp: ids.otherClient },
    { xms_par_app_azp: ids.otherClient, xms_act_fct: '3 9', xms_sub_fct: '1' },
  ]
  for (const claims of each) {
    for (const idtyp of [undefined, 'app']) {
      it(`${JSON.stringify(claims)}, autonomous, idtyp ${idtyp}`, async () => {
        const token = v2AutonomousAgent({ ...none, ...claims, idtyp })
        for (const policy of ['default', 'apps', 'any']) {
          assertInsufficientScope(await verify(service, policy, token), 'actor_not_allowed')
        }
        assertAllowed(await verify(service, 'agents', token))
      })
    }
    for (const idtyp of [undefined, 'user']) {
      it(`${JSON.stringify(claims)}, for a user, idtyp ${idtyp}`, async () => {
        const token = v2Agent({ ...none, ...claims, idtyp })
        for (const policy of ['default', 'apps', 'any']) {
          assertInsufficientScope(await verify(service, policy, token), 'actor_not_allowed')
        }
        assertAllowed(await verify(service, 'agents-of-users', token))
      })
    }
  }
})

describe('an absent claim is not read from another one', () => {
  it('a guest by another issuer (idp) is no member', async () => {
    const token = v2User({ acct: undefined, idp: 'https://sts.windows.net/other/' })
    assertInsufficientScope(await verify(service, 'members', token), 'guest_not_allowed')
  })

  it('a role of the directory (wids) is no group', async () => {
    const token = v2User({ groups: undefined, wids: [ids.group] })
    assertInsufficientScope(await verify(service, 'group', token), 'group_missing')
  })

  it('an authentication method (amr) or level (acr) is no authentication context', async () => {
    const token = v2User({ amr: ['pwd', 'mfa'], acr: 'c1' })
    assertInsufficientScope(await verify(service, 'step-up', token), 'step_up_required')
  })

  it('an email that nobody verified does not reach the application', async () => {
    const reply = await verify(service, 'default', v2User({ email: 'ceo@contoso.com' }))
    assertAllowed(reply)
    assert.equal(reply.headers['x-auth-request-email'], '')
  })
})
