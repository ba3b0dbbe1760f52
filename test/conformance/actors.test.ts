import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import type { FailureCode } from '../../src/failure.ts'
import { assertAllowed, assertInsufficientScope, assertInvalidToken } from '../support/expect.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { startService, verify } from '../support/service.ts'
import {
  managedIdentity,
  v1User,
  v2Agent,
  v2App,
  v2AutonomousAgent,
  v2User,
} from '../support/tokens.ts'

const audiences = [ids.api, appIdUri]
const roles = ['Orders.Process']
const policies = {
  users: { audiences, allow: [{ actor: 'user', scopes: ['Orders.Read'] }] },
  'users-by-role': { audiences, allow: [{ actor: 'user', roles }] },
  apps: { audiences, allow: [{ actor: 'app', roles }] },
  agents: { audiences, allow: [{ actor: 'agent', scopes: ['Orders.Read'] }] },
  'agents-by-role': { audiences, allow: [{ actor: 'agent', roles }] },
  'no-agents': {
    audiences,
    allow: [
      { actor: 'app', roles },
      { actor: 'agent', roles },
    ],
    deny: [{ actor: 'agent' }],
  },
}
const service = await startService({ config: { policies } })
after(() => service.close())

type Actor = 'user' | 'app' | 'agent'

function admitsAs(actor: Actor, what: string, policy: keyof typeof policies, token: string): void {
  it(`admits ${what} as ${actor}`, async () => {
    const reply = await verify(service, policy, token)
    assertAllowed(reply)
    assert.equal(reply.headers['x-auth-request-actor'], actor)
    assert.equal(reply.headers['x-entra-auth-actor'], actor)
  })
}

function refuses(what: string, policy: keyof typeof policies, token: string): void {
  it(`refuses ${what} where only ${policy} are admitted`, async () =>
    assertInsufficientScope(await verify(service, policy, token), 'actor_not_allowed'))
}

function isNoAccessToken(
  what: string,
  token: string,
  reason: FailureCode = 'not_an_access_token',
): void {
  it(`refuses ${what} on every policy`, async () => {
    for (const policy of Object.keys(policies)) {
      assertInvalidToken(await verify(service, policy, token), reason)
    }
  })
}

describe('users', () => {
  admitsAs('user', 'a v2.0 user token', 'users', v2User())
  admitsAs('user', 'a v1.0 user token', 'users', v1User())
  admitsAs('user', 'a user token that says idtyp user', 'users', v2User({ idtyp: 'user' }))
  admitsAs('user', 'a user whose app role is asked for', 'users-by-role', v2User({ roles }))
  refuses('a user with a role of the same name', 'apps', v2User({ roles }))
  refuses('a user', 'agents', v2User())
  isNoAccessToken(
    'a token with roles, no scp, no idtyp and sub other than oid',
    v2User({ scp: undefined, roles }),
  )
  isNoAccessToken('the same with an empty scp', v2User({ scp: '', roles }))
  isNoAccessToken('the same with a scp of spaces', v2User({ scp: '  ', roles }))
  isNoAccessToken('idtyp user without scp', v2User({ scp: undefined, idtyp: 'user', roles }))
  isNoAccessToken('idtyp user without scp where sub is oid', v2App({ idtyp: 'user' }))
})

describe('apps', () => {
  admitsAs('app', 'idtyp app with the role', 'apps', v2App())
  admitsAs('app', 'a managed identity', 'apps', managedIdentity())
  admitsAs('app', 'no idtyp, no scp and sub equal to oid', 'apps', v2App({ idtyp: undefined }))
  admitsAs('app', 'idtyp app with sub other than oid', 'apps', v2App({ sub: 'other' }))
  admitsAs('app', 'an empty scp beside idtyp app', 'apps', v2App({ scp: '' }))
  refuses('an app with a role of the same name', 'users-by-role', v2App())
  refuses('an app', 'users', v2App())
  refuses('an app', 'agents-by-role', v2App())
  isNoAccessToken('idtyp app with a scope', v2App({ scp: 'Orders.Read' }), 'claim_malformed')
  isNoAccessToken(
    'no idtyp and sub equal to oid but for letter case',
    v2App({ idtyp: undefined, sub: ids.app.toUpperCase() }),
  )
  isNoAccessToken('an app role of a token without sub', v2App({ sub: undefined }), 'claim_missing')
})

describe('agents', () => {
  admitsAs('agent', 'an agent on behalf of a user', 'agents', v2Agent())
  admitsAs('agent', 'an autonomous agent with scp "/"', 'agents-by-role', v2AutonomousAgent())
  admitsAs(
    'agent',
    'an autonomous agent with an empty scp',
    'agents-by-role',
    v2AutonomousAgent({ scp: '' }),
  )
  admitsAs(
    'agent',
    'an autonomous agent without scp',
    'agents-by-role',
    v2AutonomousAgent({ scp: undefined }),
  )
  admitsAs(
    'agent',
    'an agent user, whose subject has 13',
    'agents',
    v2Agent({ xms_act_fct: '9 3', xms_sub_fct: '13 7' }),
  )
  admitsAs(
    'agent',
    'the subject alone having 11',
    'agents-by-role',
    v2AutonomousAgent({ xms_act_fct: undefined }),
  )
  for (const facets of ['11', '3 9 11', '11 3 9', '3 11 9', '13', '11 13', '999999999 11']) {
    admitsAs('agent', `the facets "${facets}"`, 'agents', v2Agent({ xms_act_fct: facets }))
    refuses(`the facets "${facets}"`, 'users', v2Agent({ xms_act_fct: facets }))
  }
  for (const facets of ['3 9', '1 1', '111', '1', '3', '110', '12', '0 14']) {
    admitsAs(
      'user',
      `the facets "${facets}", which are no agent's`,
      'users',
      v2Agent({ xms_act_fct: facets }),
    )
    refuses(`the facets "${facets}"`, 'agents', v2Agent({ xms_act_fct: facets }))
  }
  const blueprint = { xms_par_app_azp: ids.otherClient }
  const byBlueprint = {
    ...blueprint,
    xms_act_fct: undefined,
    xms_sub_fct: undefined,
    scp: undefined,
  }
  admitsAs('agent', 'an app token with a blueprint alone', 'agents-by-role', v2App(blueprint))
  admitsAs('agent', 'a user token with a blueprint alone', 'agents', v2User(blueprint))
  admitsAs('agent', 'a v1.0 token with a blueprint alone', 'agents', v1User(blueprint))
  refuses('an agent that only its blueprint tells', 'apps', v2AutonomousAgent(byBlueprint))
  refuses('an app token with a blueprint alone', 'apps', v2App(blueprint))
  refuses('a user token with a blueprint alone', 'users', v2User(blueprint))
  for (const value of ['', 'x', ids.otherClient.toUpperCase(), null, [ids.otherClient]]) {
    isNoAccessToken(
      `the blueprint ${JSON.stringify(value)}, which is no id`,
      v2App({ xms_par_app_azp: value }),
      'claim_malformed',
    )
  }
  it('are denied by a rule on agents where only the blueprint tells them', async () =>
    assertInsufficientScope(await verify(service, 'no-agents', v2App(blueprint)), 'denied_by_rule'))
  refuses('an autonomous agent with the role', 'apps', v2AutonomousAgent())
  refuses('an agent on behalf of a user with the role', 'users-by-role', v2Agent({ roles }))
  it('are refused by a role that the agent lacks', async () =>
    assertInsufficientScope(
      await verify(service, 'agents-by-role', v2AutonomousAgent({ roles: ['Other'] })),
      'role_missing',
    ))
  it('do not turn scp "/" into a scope', async () =>
    assertInsufficientScope(await verify(service, 'agents', v2AutonomousAgent()), 'scope_missing'))
})
