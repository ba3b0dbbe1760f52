import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DenyConfig, GrantConfig, PolicyConfig } from '../../src/config/config.ts'
import { compilePolicy, scopePrefix } from '../../src/policy/compile.ts'
import {
  chooseGrant,
  denyConditions,
  evaluatePolicy,
  findFailure,
  grantConditions,
  type PolicyStep,
  policySteps,
} from '../../src/policy/evaluate.ts'
import { type AccessToken, checkTimes, readClaims } from '../../src/token/claims.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { readToken, v2User } from '../support/tokens.ts'

function policyOf(allow: readonly GrantConfig[], deny: readonly DenyConfig[] = []): PolicyConfig {
  return {
    name: 'orders',
    tenants: [ids.contoso],
    audiences: [ids.api, appIdUri],
    cacheSeconds: 30,
    maxTokenLifetimeMinutes: 1500,
    groups: 'named',
    requireIdtyp: false,
    allow,
    deny,
  }
}

function tokenOf(claims: Record<string, unknown> = {}): AccessToken {
  const read = readClaims(readToken(v2User(claims)).claims)
  if (!read.ok) throw new Error(read.failure)
  return read.value
}

const reasonOf = (config: PolicyConfig, claims: Record<string, unknown> = {}) => {
  const verdict = evaluatePolicy(compilePolicy(config), tokenOf(claims))
  return verdict.allow ? 'allow' : verdict.failure
}

describe('a policy', () => {
  it('that allows nobody refuses everybody', () =>
    assert.equal(reasonOf(policyOf([])), 'actor_not_allowed'))
  it('whose grant has no conditions allows its actor', () =>
    assert.equal(reasonOf(policyOf([{ actor: 'user' }])), 'allow'))
  it('denies before it allows', () =>
    assert.equal(reasonOf(policyOf([{ actor: 'user' }], [{ actor: 'user' }])), 'denied_by_rule'))
  it('says what the nearest grant lacks, in any order of grants', () => {
    const grants: GrantConfig[] = [
      { actor: 'app' },
      { actor: 'user', clients: [ids.otherClient] },
      { actor: 'user', scopes: ['Orders.Read'], roles: ['Admin'] },
      { actor: 'user', scopes: ['Orders.Write'] },
    ]
    assert.equal(reasonOf(policyOf(grants)), 'role_missing')
    assert.equal(reasonOf(policyOf(grants.toReversed())), 'role_missing')
  })
  it('says what the first of two lacks that came equally far', () => {
    const verdict = evaluatePolicy(
      compilePolicy(
        policyOf([
          { actor: 'user', scopes: ['First'] },
          { actor: 'user', scopes: ['Second'] },
        ]),
      ),
      tokenOf(),
    )
    assert.deepEqual(verdict, {
      allow: false,
      failure: 'scope_missing',
      scope: `${appIdUri}/First`,
    })
  })
  it('has no scope to suggest where any will do', () => {
    const policy = compilePolicy(policyOf([{ actor: 'user', scopes: 'any' }]))
    assert.equal(policy.allow[0]?.scopeHint, undefined)
  })
  it('judges tenant, audience and lifetime before any grant', () => {
    const config = policyOf([{ actor: 'user' }])
    assert.equal(reasonOf({ ...config, tenants: [ids.fabrikam] }), 'tenant_not_allowed')
    assert.equal(reasonOf({ ...config, audiences: [ids.otherApi] }), 'audience_mismatch')
    assert.equal(reasonOf({ ...config, maxTokenLifetimeMinutes: 1 }), 'token_lifetime_too_long')
  })
})

describe('the steps of an evaluation', () => {
  function stepsOf(config: PolicyConfig, claims: Record<string, unknown> = {}) {
    const steps: [PolicyStep, string | undefined][] = []
    evaluatePolicy(compilePolicy(config), tokenOf(claims), (step, failure) =>
      steps.push([step, failure]),
    )
    return steps
  }
  const open = policyOf([{ actor: 'user' }, { actor: 'app' }])
  const app = { idtyp: undefined, scp: undefined, sub: ids.user }
  it('are all told of where the policy allows', () =>
    assert.deepEqual(
      stepsOf(open),
      policySteps.map((step) => [step, undefined]),
    ))
  for (const [step, failure, config, claims] of [
    ['policy_tenant', 'tenant_not_allowed', { ...open, tenants: [] }, {}],
    ['audience', 'audience_mismatch', { ...open, audiences: [`${ids.api}/`] }, {}],
    ['lifetime', 'token_lifetime_too_long', { ...open, maxTokenLifetimeMinutes: 74 }, {}],
    ['app_only', 'not_an_access_token', { ...open, requireIdtyp: true }, app],
    ['deny', 'denied_by_rule', { ...open, deny: [{ actor: 'user' }] }, {}],
    ['allow', 'actor_not_allowed', { ...open, allow: [{ actor: 'agent' }] }, {}],
  ] as const) {
    it(`end with ${step} where that fails`, () => {
      const before = policySteps.slice(0, policySteps.indexOf(step))
      assert.deepEqual(stepsOf(config, claims), [
        ...before.map((good) => [good, undefined]),
        [step, failure],
      ])
    })
  }
  it('admit a token of exactly the longest lifetime', () =>
    assert.equal(reasonOf({ ...open, maxTokenLifetimeMinutes: 75 }), 'allow'))
  it('admit an app that only its sub tells, unless idtyp is required', () =>
    assert.equal(reasonOf(open, app), 'allow'))
  it('admit an app by idtyp where that is required', () =>
    assert.equal(
      reasonOf({ ...open, requireIdtyp: true }, { ...app, idtyp: 'app', acct: undefined }),
      'allow',
    ))
  it('ask no user for idtyp', () =>
    assert.equal(reasonOf({ ...open, requireIdtyp: true }), 'allow'))
})

describe('a deny rule', () => {
  const held = { roles: ['Admin', 'Other'], groups: [ids.group], scp: 'Orders.Read Orders.Write' }
  for (const [name, holds, fails] of [
    ['actor', 'user', 'agent'],
    ['users', [ids.app, ids.user], [ids.client]],
    ['clients', [ids.otherClient, ids.client], [ids.user]],
    ['scopes', ['Orders.Write', 'x'], ['orders.write']],
    ['roles', ['x', 'Other'], ['other']],
    ['groups', [ids.group], [ids.otherGroup]],
  ] as const) {
    const other = name === 'actor' ? { users: [ids.user] } : { actor: 'user' as const }
    const denied = (rule: DenyConfig) => reasonOf(policyOf([{ actor: 'user' }], [rule]), held)
    it(`on ${name} denies who has one of them`, () =>
      assert.equal(denied({ [name]: holds }), 'denied_by_rule'))
    it(`on ${name} lets others pass`, () => assert.equal(denied({ [name]: fails }), 'allow'))
    it(`on ${name} denies only where its other conditions hold`, () => {
      assert.equal(denied({ ...other, [name]: holds }), 'denied_by_rule')
      assert.equal(denied({ ...other, [name]: fails }), 'allow')
    })
  }
  for (const [acct, expected] of [
    [0, 'allow'],
    [1, 'denied_by_rule'],
    [undefined, 'denied_by_rule'],
  ] as const) {
    it(`on guests judges acct ${acct}: ${expected}`, () =>
      assert.equal(reasonOf(policyOf([{ actor: 'user' }], [{ guests: true }]), { acct }), expected))
  }
  it('on a group denies who has too many to tell', () =>
    assert.equal(
      reasonOf(policyOf([{ actor: 'user' }], [{ groups: [ids.group] }]), { hasgroups: true }),
      'denied_by_rule',
    ))
  it('has conditions under the names of the configuration', () => {
    const names = denyConditions.map(({ name }) => name)
    assert.deepEqual(names, ['actor', 'users', 'clients', 'scopes', 'roles', 'groups', 'guests'])
    const lists = { users: [], clients: [], scopes: [], roles: [], groups: [] }
    const [full] = compilePolicy(policyOf([], [{ actor: 'user', guests: true, ...lists }])).deny
    const [empty] = compilePolicy(policyOf([], [{}])).deny
    assert.ok(full && empty)
    assert.deepEqual(
      denyConditions.filter((condition) => condition.isSet(full)).map(({ name }) => name),
      names,
    )
    assert.equal(denyConditions.filter((condition) => condition.isSet(empty)).length, 0)
  })
})

describe('a grant', () => {
  const conditions: readonly (readonly [
    string,
    Omit<GrantConfig, 'actor'>,
    string,
    Record<string, unknown>,
  ])[] = [
    ['clients', { clients: [ids.client] }, 'client_not_allowed', { azp: ids.otherClient }],
    ['confidential', { confidential: true }, 'client_not_confidential', { azpacr: '0' }],
    ['scopes', { scopes: ['Orders.Read', 'x'] }, 'scope_missing', { scp: 'orders.read' }],
    ['roles', { roles: ['Admin', 'x'] }, 'role_missing', { roles: ['admin'] }],
    ['any role', { roles: 'any' }, 'role_missing', { roles: [] }],
    ['any role', { roles: 'any' }, 'role_missing', { roles: [ids.group, ids.otherGroup] }],
    ['groups', { groups: [ids.group] }, 'group_missing', { groups: [ids.otherGroup] }],
    ['groups', { groups: [ids.group] }, 'groups_overage', { groups: undefined, hasgroups: true }],
    ['guests', { guests: false }, 'guest_not_allowed', { acct: 1 }],
    ['guests', { guests: false }, 'guest_not_allowed', { acct: undefined }],
    ['authContext', { authContext: 'c1' }, 'step_up_required', { acrs: ['c2'] }],
    ['authContext', { authContext: 'c1' }, 'step_up_possible', { acrs: [], xms_cc: ['cp1'] }],
  ]
  const good = { roles: ['Admin'], groups: [ids.group], acrs: ['c1'] }
  for (const [name, grant, failure, claims] of conditions) {
    const policy = compilePolicy(policyOf([{ actor: 'user', ...grant }]))
    const [compiled] = policy.allow
    it(`on ${name} refuses ${JSON.stringify(claims)} with ${failure}`, () => {
      assert.ok(compiled)
      const token = tokenOf({ ...good, ...claims })
      assert.equal(findFailure(compiled, token), failure)
      assert.deepEqual(chooseGrant(policy, token), { grant: compiled, failure })
    })
    it(`on ${name} allows who has it, and nobody is asked for it without`, () => {
      assert.ok(compiled)
      assert.equal(findFailure(compiled, tokenOf(good)), undefined)
      assert.deepEqual(chooseGrant(policy, tokenOf(good)), { grant: compiled, failure: undefined })
      assert.equal(reasonOf(policyOf([{ actor: 'user' }]), claims), 'allow')
    })
  }
  it('on any scope takes each user, who has one', () =>
    assert.equal(reasonOf(policyOf([{ actor: 'user', scopes: 'any' }])), 'allow'))
  for (const azpacr of ['1', '2']) {
    it(`on confidential clients takes the proof ${azpacr}`, () =>
      assert.equal(
        reasonOf(policyOf([{ actor: 'user', confidential: true }]), { azpacr }),
        'allow',
      ))
  }
  for (const config of [{ confidential: false }, { guests: true }]) {
    it(`takes everybody with ${JSON.stringify(config)}`, () =>
      assert.equal(
        reasonOf(policyOf([{ actor: 'user', ...config }]), { azpacr: '0', acct: 1 }),
        'allow',
      ))
  }
  it('has conditions under the names of the configuration, the actor always among them', () => {
    const names = grantConditions.map(({ name }) => name)
    const isSet = (grant: GrantConfig) => {
      const [compiled] = compilePolicy(policyOf([grant])).allow
      assert.ok(compiled)
      return grantConditions
        .filter((condition) => condition.isSet(compiled))
        .map(({ name }) => name)
    }
    assert.deepEqual(names, [
      'actor',
      'session',
      'clients',
      'confidential',
      'scopes',
      'roles',
      'groups',
      'guests',
      'authContext',
    ])
    assert.deepEqual(isSet({ actor: 'user' }), ['actor'])
    assert.deepEqual(
      isSet({
        actor: 'user',
        session: true,
        clients: [],
        confidential: true,
        scopes: [],
        roles: [],
        groups: [],
        guests: false,
        authContext: 'c1',
      }),
      names,
    )
  })
  it('says in its challenge which scopes or which claims would help, and nothing else', () => {
    const refusal = (grant: Omit<GrantConfig, 'actor'>, claims: Record<string, unknown>) =>
      evaluatePolicy(compilePolicy(policyOf([{ actor: 'user', ...grant }])), tokenOf(claims))
    const both = { scopes: ['A', 'B'], authContext: 'c1' }
    assert.deepEqual(refusal(both, {}), {
      allow: false,
      failure: 'scope_missing',
      scope: `${appIdUri}/A ${appIdUri}/B`,
    })
    const claims = Buffer.from('{"access_token":{"acrs":{"essential":true,"value":"c1"}}}')
    assert.deepEqual(refusal(both, { scp: 'B', xms_cc: ['cp1'] }), {
      allow: false,
      failure: 'step_up_possible',
      claims: claims.toString('base64'),
    })
    assert.deepEqual(refusal(both, { scp: 'B' }), { allow: false, failure: 'step_up_required' })
  })
})

describe('a grant for sessions', () => {
  const session = { id: 'a session', entraSessionId: undefined }
  const sessionOf = (claims: Partial<AccessToken> = {}): AccessToken => ({
    ...tokenOf({ scp: 'None' }),
    scopes: [],
    session,
    ...claims,
  })
  const policy = (grant: Omit<GrantConfig, 'actor'> = {}) =>
    compilePolicy({
      ...policyOf([
        { actor: 'user', scopes: ['A'] },
        { actor: 'user', session: true, ...grant },
      ]),
      audiences: [],
    })

  it('takes a session of any audience and length, and no token', () => {
    const week = { audience: 'x', issuedAt: 1_000, expiresAt: 1_000_000 }
    assert.equal(evaluatePolicy(policy(), sessionOf(week)).allow, true)
    const [tokens, sessions] = policy().allow
    if (!tokens || !sessions) throw new Error('two grants')
    assert.equal(findFailure(sessions, tokenOf()), 'actor_not_allowed')
    assert.equal(findFailure(sessions, sessionOf()), undefined)
    const condition = grantConditions.find(({ name }) => name === 'session')
    assert.equal(condition?.check(sessions, tokenOf()), 'actor_not_allowed')
    assert.equal(condition?.check(sessions, sessionOf()), undefined)
    assert.equal(findFailure(tokens, sessionOf({ scopes: ['A'] })), 'actor_not_allowed')
    assert.equal(chooseGrant(policy(), tokenOf({ scp: 'B' })).failure, 'scope_missing')
  })
  it('says which authentication context another sign-in would have to bring', () => {
    assert.deepEqual(evaluatePolicy(policy({ authContext: 'c2' }), sessionOf()), {
      allow: false,
      failure: 'step_up_required',
      authContext: 'c2',
    })
  })
  it('names no authentication context in a refusal for something else', () => {
    assert.deepEqual(evaluatePolicy(policy({ roles: ['R'], authContext: 'c2' }), sessionOf()), {
      allow: false,
      failure: 'role_missing',
    })
  })
  it('makes its policy one that sends browsers to sign in', () => {
    assert.equal(policy().admitsSessions, true)
    assert.equal(compilePolicy(policyOf([{ actor: 'user' }])).admitsSessions, false)
    assert.equal(policy().allowsCrossSite, false)
    assert.equal(compilePolicy({ ...policyOf([]), crossSiteGuard: false }).allowsCrossSite, true)
    assert.deepEqual([...policy({ groups: [ids.group] }).groupsNamed], [ids.group])
  })
})

describe('a compiled policy', () => {
  it('has the times in the units of its names, and no end of its trial run', () => {
    const policy = compilePolicy({ ...policyOf([]), resource: 'https://api.contoso.example' })
    assert.equal(policy.maxTokenLifetimeSeconds, 90_000)
    assert.equal(policy.reportOnlyUntilMs, 0)
    assert.deepEqual(policy.cacheLife, { action: 300, others: 30 })
    const said = compilePolicy({ ...policyOf([]), cacheSeconds: 7 })
    assert.deepEqual(said.cacheLife, { action: 7, others: 7 })
    const usual = compilePolicy({ ...policyOf([]), cacheSeconds: 30, actionCacheSeconds: 30 })
    assert.deepEqual(usual.cacheLife, { action: 30, others: 30 })
    assert.equal(policy.resource, 'https://api.contoso.example')
    assert.equal(compilePolicy({ ...policyOf([]), reportOnlyUntilMs: 7 }).reportOnlyUntilMs, 7)
  })
  it('passes the groups on that it names, or all', () => {
    const config = policyOf(
      [{ actor: 'user', groups: [ids.group] }, { actor: 'app' }],
      [{ groups: [ids.otherGroup] }],
    )
    assert.deepEqual([...(compilePolicy(config).namedGroups ?? [])], [ids.group, ids.otherGroup])
    assert.equal(compilePolicy({ ...config, groups: 'all' }).namedGroups, undefined)
  })
  it('shares the set of tenants with each policy that has the same list', () => {
    const tenants = [ids.contoso, ids.fabrikam]
    const compiled = () => compilePolicy({ ...policyOf([]), tenants })
    assert.equal(compiled().tenants, compiled().tenants)
  })
  it('is not made of a rule with a key that no condition looks at', () => {
    const grant = { actor: 'user', department: 'sales' } as unknown as GrantConfig
    assert.throws(() => compilePolicy(policyOf([grant])), /no condition named department/)
  })
  it('suggests scopes of the identifier URI that is the resource', () => {
    const audiences = [ids.api, appIdUri, 'https://api.contoso.example']
    assert.equal(scopePrefix(audiences, 'https://api.contoso.example'), audiences[2])
    assert.equal(scopePrefix(audiences, 'https://other.example'), appIdUri)
    assert.equal(scopePrefix(['https://api.example/v1/'], undefined), 'https://api.example/v1')
    const [grant] = compilePolicy({
      ...policyOf([{ actor: 'user', scopes: ['A'] }]),
      audiences,
      resource: 'https://api.contoso.example',
    }).allow
    assert.equal(grant?.scopeHint, 'https://api.contoso.example/A')
  })
})

describe('the prefix of a scope', () => {
  for (const [audiences, prefix] of [
    [[ids.api, appIdUri], appIdUri],
    [['https://api.contoso.example/'], 'https://api.contoso.example'],
    [[ids.api], ids.api],
    [[], ''],
  ] as const) {
    it(`of ${JSON.stringify(audiences)} is ${JSON.stringify(prefix)}`, () =>
      assert.equal(scopePrefix(audiences), prefix))
  }
})

describe('claims', () => {
  it('without an origin are refused for that', () => {
    const read = readClaims({})
    assert.equal(!read.ok && read.failure, 'version_unknown')
  })
  it('may be judged at any time: the skew counts on both sides', () => {
    const token = { issuedAt: 1_000, notBefore: 1_000, expiresAt: 2_000 }
    assert.equal(checkTimes(token, 699.999, 300), 'token_not_yet_valid')
    assert.equal(checkTimes(token, 700, 300), undefined)
    assert.equal(checkTimes(token, 2_299.999, 300), undefined)
    assert.equal(checkTimes(token, 2_300, 300), 'token_expired')
  })
})
