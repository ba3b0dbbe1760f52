import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DenyConfig, GrantConfig, PolicyConfig } from '../../src/config/config.ts'
import { compilePolicy } from '../../src/policy/compile.ts'
import { describePolicies } from '../../src/policy/description.ts'
import { grantConditions } from '../../src/policy/evaluate.ts'
import { wordCondition, wordDenyRule, wordGrant } from '../../src/policy/words.ts'
import { ids } from '../support/ids.ts'

const grants: readonly (readonly [GrantConfig, string])[] = [
  [{ actor: 'user', scopes: ['Orders.Read'] }, 'users with the scope Orders.Read'],
  [{ actor: 'app', roles: ['A', 'B'] }, 'apps with the role A or B'],
  [{ actor: 'user', scopes: 'any' }, 'users with any scope'],
  [{ actor: 'app', roles: 'any' }, 'apps with any role'],
  [{ actor: 'user', guests: false }, 'users, no guests'],
  [
    { actor: 'user', guests: false, authContext: 'c1' },
    'users, no guests, with the authentication context c1',
  ],
  [{ actor: 'user', session: true }, 'people who signed in with a browser'],
  [
    { actor: 'user', session: true, groups: ['g1', 'g2'], guests: false, authContext: 'c1' },
    'people who signed in with a browser in the group g1 or g2, no guests, with the authentication context c1',
  ],
  [
    { actor: 'agent', clients: ['x'], confidential: true },
    'agents through the client x, whose client has a secret or certificate',
  ],
]

const denyRules: readonly (readonly [DenyConfig, string])[] = [
  [{ users: ['u'] }, 'everybody with the object id u'],
  [{ actor: 'user', guests: true }, 'users, guests, or without the claim acct'],
  [
    { actor: 'app', clients: ['c'], scopes: ['s'], roles: ['r'], groups: ['g'] },
    'apps through the client c, with the scope s, with the role r, in the group g',
  ],
]

function policyOf(more: Partial<PolicyConfig> = {}): PolicyConfig {
  return {
    name: 'orders',
    tenants: [ids.contoso],
    audiences: [ids.api],
    cacheSeconds: 30,
    maxTokenLifetimeMinutes: 1500,
    groups: 'named',
    requireIdtyp: false,
    allow: grants.map(([grant]) => grant),
    deny: denyRules.map(([rule]) => rule),
    ...more,
  }
}

describe('the words of a rule', () => {
  for (const [grant, words] of grants) it(words, () => assert.equal(wordGrant(grant), words))
  for (const [rule, words] of denyRules) it(words, () => assert.equal(wordDenyRule(rule), words))

  it('are the same for the configuration and for the compiled rule', () => {
    const policy = compilePolicy(policyOf())
    assert.deepEqual(
      policy.allow.map(wordGrant),
      grants.map(([, words]) => words),
    )
    assert.deepEqual(
      policy.deny.map(wordDenyRule),
      denyRules.map(([, words]) => words),
    )
  })

  it('name what each condition of a grant wants', () => {
    const grant: GrantConfig = {
      actor: 'user',
      session: true,
      clients: ['c1', 'c2'],
      confidential: true,
      scopes: ['s'],
      roles: 'any',
      groups: ['g'],
      guests: false,
      authContext: 'c1',
    }
    assert.deepEqual(
      grantConditions.map(({ name }) => wordCondition(grant, name)),
      [
        'the actor user',
        'a session of a browser',
        'the client c1 or c2',
        'a client with a secret or certificate',
        'the scope s',
        'any role',
        'the group g',
        'no guest',
        'the authentication context c1',
      ],
    )
  })
})

describe('the description of a policy', () => {
  const tenants = [{ name: 'contoso', id: ids.contoso, authority: 'https://login.example' }]

  it('has each rule with its place and its words', () => {
    const [policy] = describePolicies({ policies: [policyOf()], tenants }, 0)
    assert.deepEqual(policy?.tenants, [{ name: 'contoso', id: ids.contoso }])
    assert.deepEqual(policy?.allow[1], {
      path: 'policies.orders.allow[1]',
      words: 'apps with the role A or B',
      rule: { actor: 'app', roles: ['A', 'B'] },
    })
    assert.deepEqual(policy?.deny[0], {
      path: 'policies.orders.deny[0]',
      words: 'everybody with the object id u',
      rule: { users: ['u'] },
    })
    assert.equal(policy?.reportOnlyUntil, undefined)
    assert.deepEqual(policy?.settings, [
      'HAProxy caches a verdict for at most 300 s, other caches for 30 s',
      'a token may be issued for at most 1500 min',
    ])
  })

  it('says one time for all caches where the policy does', () => {
    const policies = [policyOf({ cacheSeconds: 60 })]
    const [policy] = describePolicies({ policies, tenants }, 0)
    assert.equal(policy?.settings[0], 'HAProxy caches a verdict for at most 60 s')
  })

  it('says what else is set, and until when nothing is refused', () => {
    const policies = [
      policyOf({
        resource: 'https://api.example/orders',
        groups: 'all',
        requireIdtyp: true,
        crossSiteGuard: false,
        reportOnlyUntilMs: 1_000,
        tenants: [ids.fabrikam],
      }),
    ]
    const [policy] = describePolicies({ policies, tenants }, 999)
    assert.deepEqual(policy?.tenants, [{ name: ids.fabrikam, id: ids.fabrikam }])
    assert.equal(policy?.reportOnlyUntil, '1970-01-01T00:00:01.000Z')
    assert.deepEqual(policy?.settings.slice(2), [
      'resource https://api.example/orders',
      'all groups reach the application',
      'an app must say so with idtyp',
      'requests from other sites are let through',
    ])
    const [ended] = describePolicies({ policies, tenants }, 1_000)
    assert.equal(ended?.reportOnlyUntil, undefined)
  })
})
