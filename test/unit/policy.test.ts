import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DenyConfig, GrantConfig, PolicyConfig } from '../../src/config/config.ts'
import { compilePolicies, compilePolicy, scopePrefix } from '../../src/policy/compile.ts'
import { evaluatePolicy } from '../../src/policy/evaluate.ts'
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
  it('is found by its exact name', () => {
    const policies = compilePolicies([policyOf([])])
    assert.deepEqual([...policies.keys()], ['orders'])
    assert.equal(policies.get('Orders'), undefined)
  })
  it('denies before it allows', () =>
    assert.equal(reasonOf(policyOf([{ actor: 'user' }], [{ actor: 'user' }])), 'denied_by_rule'))
  it('says what the grant that came furthest lacks, in whatever order they stand', () => {
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
