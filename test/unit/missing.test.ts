import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DenyConfig, GrantConfig } from '../../src/config/config.ts'
import type { FailureCode } from '../../src/failure.ts'
import { compilePolicy } from '../../src/policy/compile.ts'
import { evaluatePolicy } from '../../src/policy/evaluate.ts'
import { findMissing, tellCaller } from '../../src/policy/missing.ts'
import { type AccessToken, readClaims } from '../../src/token/claims.ts'
import { ids } from '../support/ids.ts'
import { readToken, v2User } from '../support/tokens.ts'

function policyOf(allow: readonly GrantConfig[], deny: readonly DenyConfig[] = []) {
  return compilePolicy({
    name: 'orders',
    tenants: [ids.contoso],
    audiences: [ids.api],
    cacheSeconds: 30,
    maxTokenLifetimeMinutes: 1500,
    groups: 'named',
    requireIdtyp: false,
    allow,
    deny,
  })
}

function tokenOf(claims: Record<string, unknown> = {}, more: Partial<AccessToken> = {}) {
  const read = readClaims(readToken(v2User(claims)).claims)
  if (!read.ok) throw new Error(read.failure)
  return { ...read.value, audience: ids.api, ...more }
}

/** What is missing where the policy refuses; fails where it does not. */
function missing(policy: ReturnType<typeof policyOf>, token: AccessToken) {
  const verdict = evaluatePolicy(policy, token)
  assert.ok(!verdict.allow)
  return findMissing(policy, token, verdict.failure)
}

const groupId = '44444444-4444-4444-8444-444444444444'

describe('what a refused token lacks', () => {
  const cases: readonly (readonly [string, GrantConfig, Partial<AccessToken>, string, string])[] = [
    [
      'a scope',
      { actor: 'user', scopes: ['X'] },
      { scopes: ['Y', 'Z'] },
      'the scope X',
      'the scope Y, Z',
    ],
    ['any scope', { actor: 'user', scopes: 'any' }, { scopes: [] }, 'any scope', 'no scope'],
    ['a role', { actor: 'user', roles: ['R', 'S'] }, { roles: [] }, 'the role R or S', 'no role'],
    ['the kind of caller', { actor: 'app' }, {}, 'the actor app', 'the actor user'],
    [
      'the client',
      { actor: 'user', clients: ['c'] },
      { clientId: 'd' },
      'the client c',
      'the client d',
    ],
    [
      'a client that proved itself',
      { actor: 'user', confidential: true },
      { clientAuthentication: '0' },
      'a client with a secret or certificate',
      'a public client',
    ],
    [
      'a client that says how it proved itself',
      { actor: 'user', confidential: true },
      { clientAuthentication: undefined },
      'a client with a secret or certificate',
      'a client of unknown kind',
    ],
    [
      'a group',
      { actor: 'user', groups: [groupId] },
      { groups: [] },
      `the group ${groupId}`,
      'no group',
    ],
    [
      'that group',
      { actor: 'user', groups: [groupId] },
      { groups: ['a'] },
      `the group ${groupId}`,
      '1 other group',
    ],
    [
      'those groups',
      { actor: 'user', groups: [groupId] },
      { groups: ['a', 'b'] },
      `the group ${groupId}`,
      '2 other groups',
    ],
    [
      'groups that Entra left out',
      { actor: 'user', groups: [groupId] },
      { groupsOverage: true },
      `the group ${groupId}`,
      'more groups than Entra puts into a token',
    ],
    ['membership', { actor: 'user', guests: false }, { guest: true }, 'no guest', 'a guest'],
    [
      'the claim acct',
      { actor: 'user', guests: false },
      { guest: undefined },
      'no guest',
      'no claim acct, so it counts as guest',
    ],
    [
      'a stronger sign-in',
      { actor: 'user', authContext: 'c1' },
      { authContexts: ['c2'] },
      'the authentication context c1',
      'the authentication context c2',
    ],
  ]
  for (const [what, grant, more, wanted, had] of cases) {
    it(what, () => {
      const policy = policyOf([grant])
      assert.deepEqual(missing(policy, tokenOf({}, more)), {
        grant: 'policies.orders.allow[0]',
        wanted,
        had,
      })
    })
  }

  it('is told of the grant that came furthest', () => {
    const policy = policyOf([
      { actor: 'app' },
      { actor: 'user', scopes: ['Orders.Read'], roles: ['Admin'] },
      { actor: 'user', scopes: ['Orders.Write'] },
    ])
    const found = missing(policy, tokenOf({}, { scopes: ['Orders.Read'], roles: ['Reader'] }))
    assert.deepEqual(found, {
      grant: 'policies.orders.allow[1]',
      wanted: 'the role Admin',
      had: 'the role Reader',
    })
  })

  it('is a session if no grant accepts tokens, and a token if none accepts sessions', () => {
    const session = { id: 's', entraSessionId: undefined }
    const portal = policyOf([{ actor: 'user', session: true }])
    assert.deepEqual(missing(portal, tokenOf()), { wanted: 'a session', had: 'an access token' })
    const api = policyOf([{ actor: 'user', scopes: ['X'] }])
    const found = missing(api, tokenOf({}, { session }))
    assert.deepEqual(found, { wanted: 'an access token', had: 'a session' })
  })

  it('names the deny rule', () => {
    const policy = policyOf([{ actor: 'user' }], [{ roles: ['Other'] }, { scopes: ['Bad'] }])
    assert.deepEqual(missing(policy, tokenOf({}, { scopes: ['Bad'] })), {
      denyRule: 'policies.orders.deny[1]',
      wanted: 'not: everybody with the scope Bad',
    })
    assert.equal(findMissing(policy, tokenOf({}, { scopes: [] }), 'denied_by_rule'), undefined)
  })

  it('names audience, tenant and lifetime of a token that is meant for something else', () => {
    const policy = policyOf([{ actor: 'user' }])
    const two = {
      ...policy,
      audiences: new Set(['api://a', 'api://b']),
      tenants: new Set([ids.contoso, groupId]),
    }
    assert.deepEqual(missing(two, tokenOf({}, { audience: 'api://other' })), {
      wanted: 'the audience api://a or api://b',
      had: 'api://other',
    })
    assert.deepEqual(missing(two, tokenOf({}, { tenantId: ids.fabrikam })), {
      wanted: `the tenant ${ids.contoso} or ${groupId}`,
      had: ids.fabrikam,
    })
    assert.deepEqual(missing(policy, tokenOf({}, { issuedAt: 1_000, expiresAt: 101_000 })), {
      wanted: 'a lifetime of at most 90000 s',
      had: '100000 s',
    })
  })

  it('is undefined if the policy did not cause the refusal', () => {
    const policy = policyOf([{ actor: 'user' }])
    const others: FailureCode[] = ['token_expired', 'user_revoked', 'identity_too_large']
    for (const failure of others) assert.equal(findMissing(policy, tokenOf(), failure), undefined)
  })

  it('stays short, whatever the token holds', () => {
    const scopes = Array.from({ length: 5_000 }, (_, i) => `${i}-${'x'.repeat(500)}`)
    const policy = policyOf([{ actor: 'user', scopes: ['X'] }])
    const found = missing(policy, tokenOf({}, { scopes }))
    assert.match(found?.had ?? '', / and 4990 more$/)
    assert.ok((found?.had ?? '').length < 1_500)
  })
})

describe('what the caller is told', () => {
  const detail = (grant: GrantConfig, more: Partial<AccessToken>) => {
    const [policy, token] = [policyOf([grant]), tokenOf({}, more)]
    const verdict = evaluatePolicy(policy, token)
    assert.ok(!verdict.allow)
    return tellCaller(findMissing(policy, token, verdict.failure), verdict.failure)
  }
  it('is the scope or the role that it can ask for', () => {
    const scoped = detail({ actor: 'user', scopes: ['X', 'Y'] }, { scopes: [] })
    assert.equal(scoped, 'Needed: the scope X or Y.')
    assert.equal(detail({ actor: 'user', roles: ['R'] }, {}), 'Needed: the role R.')
  })
  it('is undefined if the policy did not cause the refusal', () =>
    assert.equal(tellCaller(undefined, 'scope_missing'), undefined))
  it('is neither a group nor a client', () => {
    assert.equal(detail({ actor: 'user', groups: [groupId] }, { groups: [] }), undefined)
    assert.equal(detail({ actor: 'user', clients: ['c'] }, { clientId: 'd' }), undefined)
  })
})
