import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DenyConfig, GrantConfig } from '../../src/config/config.ts'
import { denyRuleSchema, grantSchema } from '../../src/config/schema.ts'
import { compilePolicy } from '../../src/policy/compile.ts'
import { denies, denyConditions, findFailure, grantConditions } from '../../src/policy/evaluate.ts'
import { readClaims } from '../../src/token/claims.ts'
import { configOf, yaml } from '../config/fixture.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { readToken, v2User } from '../support/tokens.ts'

/** A condition as a file has it, and one that the user token of these tests does not fulfil. */
interface Sample {
  readonly met: unknown
  readonly unmet: unknown
}

// One sample for each key: the compiler and the first test refuse a key of the schema without one.
const grants: Readonly<Record<keyof GrantConfig, Sample>> = {
  actor: { met: 'user', unmet: 'app' },
  // A session below; the token without one does not fulfil it.
  session: { met: true, unmet: true },
  scopes: { met: ['Orders.Read'], unmet: ['Orders.Write'] },
  roles: { met: ['Admin'], unmet: 'any' },
  groups: { met: [ids.group.toUpperCase()], unmet: [ids.otherGroup] },
  clients: { met: [ids.client.toUpperCase()], unmet: [ids.otherClient] },
  guests: { met: true, unmet: false },
  confidential: { met: false, unmet: true },
  authContext: { met: 'c1', unmet: 'c2' },
}
const denyRules: Readonly<Record<keyof DenyConfig, Sample>> = {
  actor: { met: 'user', unmet: 'agent' },
  scopes: { met: ['Orders.Read'], unmet: ['Orders.Write'] },
  roles: { met: ['Admin'], unmet: ['Other'] },
  groups: { met: [ids.group.toUpperCase()], unmet: [ids.otherGroup] },
  clients: { met: [ids.client.toUpperCase()], unmet: [ids.otherClient] },
  users: { met: [ids.user.toUpperCase()], unmet: [ids.otherClient] },
  guests: { met: true, unmet: true },
}

function tokenOf(claims: Record<string, unknown>) {
  const read = readClaims(readToken(v2User(claims)).claims)
  if (!read.ok) throw new Error(read.failure)
  return read.value
}

const session = { id: 'a session', entraSessionId: undefined }
const member = { roles: ['Admin'], groups: [ids.group], acrs: ['c1'], azpacr: '0', acct: 1 }
const other = { ...member, acct: 0, roles: undefined }

async function compile(grant: object, deny?: object) {
  const signIn = {
    clientId: ids.client,
    tenant: 'contoso',
    credential: { clientSecretFile: '/secret' },
    hosts: ['portal.contoso.example'],
    sealingKeys: '/var/lib/sealing',
  }
  const text = yaml({
    ...('session' in grant && { head: `signIn: ${JSON.stringify(signIn)}` }),
    audience: appIdUri,
    grant: JSON.stringify(grant),
    ...(deny && { policy: `deny: [${JSON.stringify(deny)}]` }),
  })
  const [policy] = (await configOf(text)).policies
  assert.ok(policy)
  return compilePolicy(policy)
}

describe('every condition of the schema reaches the verdict', () => {
  it('has a sample and an evaluation, in grants', () => {
    const keys = Object.keys(grantSchema.properties).sort()
    assert.deepEqual(Object.keys(grants).sort(), keys)
    assert.deepEqual(grantConditions.map(({ name }) => name).sort(), keys)
  })
  it('has a sample and an evaluation, in deny rules', () => {
    const keys = Object.keys(denyRuleSchema.properties).sort()
    assert.deepEqual(Object.keys(denyRules).sort(), keys)
    assert.deepEqual(denyConditions.map(({ name }) => name).sort(), keys)
  })
  for (const [key, { met, unmet }] of Object.entries(grants)) {
    it(`admits by a grant with ${key} who fulfils it, and nobody else`, async () => {
      // An app grant must have roles, and no condition that only users can fulfil.
      const rest = key === 'actor' ? { clients: [ids.client] } : { actor: 'user' }
      for (const [value, admits] of [
        [met, true],
        [unmet, false],
      ] as const) {
        const [grant] = (await compile({ ...rest, [key]: value })).allow
        assert.ok(grant)
        assert.ok(Object.hasOwn(grant, key))
        const claims = tokenOf(key === 'roles' && !admits ? other : member)
        const token = key === 'session' && admits ? { ...claims, session } : claims
        assert.equal(findFailure(grant, token) === undefined, admits)
      }
    })
  }
  for (const [key, { met, unmet }] of Object.entries(denyRules)) {
    it(`denies by a rule with ${key} who fulfils it, and nobody else`, async () => {
      for (const [value, isDenied] of [
        [met, true],
        [unmet, false],
      ] as const) {
        const [rule] = (await compile({ actor: 'user' }, { [key]: value })).deny
        assert.ok(rule)
        assert.ok(Object.hasOwn(rule, key))
        assert.equal(denies(rule, tokenOf(isDenied ? member : other)), isDenied)
      }
    })
  }
  it('throws for a condition that nothing evaluates, in place of leaving it out', () => {
    const policy = {
      name: 'orders',
      tenants: [],
      audiences: [],
      cacheSeconds: 30,
      maxTokenLifetimeMinutes: 60,
      groups: 'named',
      requireIdtyp: false,
    } as const
    const unknown = { actor: 'user', daytime: true } as GrantConfig
    assert.throws(() => compilePolicy({ ...policy, allow: [unknown], deny: [] }), /daytime/)
    assert.throws(
      () => compilePolicy({ ...policy, allow: [], deny: [{ daytime: true } as DenyConfig] }),
      /daytime/,
    )
  })
})
