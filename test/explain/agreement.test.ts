import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { personas } from '../../src/dev-entra/personas.ts'
import type { IssueRequest } from '../../src/dev-entra/token-issuer.ts'
import { formatExplanation } from '../../src/explain/format.ts'
import { verifySteps } from '../../src/verify/verifier.ts'
import { fc } from '../support/property.ts'
import {
  configText,
  ordersId,
  staffGroup,
  startAuthority,
  startService,
  type TestAuthority,
  type TestService,
} from './fixture.ts'

const policies = `
  strict:
    audiences: [${ordersId}, api://orders]
    requireIdtyp: true
    maxTokenLifetimeMinutes: 90
    allow:
      - { actor: user, scopes: [Orders.Read], guests: false, confidential: true }
      - { actor: user, groups: [${staffGroup}], authContext: c1 }
      - { actor: app, roles: [Orders.Process], clients: [55555555-5555-4555-8555-555555555555] }
    deny:
      - { users: [a4444444-4444-4444-8444-444444444444] }
      - { actor: agent, groups: [66666666-6666-4666-8666-666666666666] }
  wide:
    audiences: [${ordersId}, api://orders]
    groups: all
    allow:
      - { actor: user, scopes: any }
      - { actor: app, roles: any }
      - { actor: agent, scopes: [Orders.Read] }`
const policyNames = ['orders', 'strict', 'wide']

let authority: TestAuthority
let service: TestService

before(async () => {
  authority = await startAuthority()
  service = await startService(configText(authority.origin, { policies }))
})
after(async () => {
  await service.close()
  await authority.close()
})

/** Fails unless explain and /verify give the same reason; returns it. */
async function assertAgreement(policy: string, authorization: string | undefined) {
  const explanation = await service.explain(policy, authorization)
  const reason = await service.verify(policy, authorization)
  assert.equal(explanation.reason, reason)
  const failed = explanation.checks.filter(({ state }) => state === 'failed')
  assert.deepEqual(
    failed.map((check) => check.reason),
    reason === null ? [] : [reason],
  )
  for (const check of failed) assert.notEqual(check.changes.length, 0, `no advice for ${reason}`)
  // Whatever the token says can be put into words.
  assert.doesNotMatch(formatExplanation(explanation), /\b(undefined|NaN)\b|\[object/)
  return reason
}

describe('explain and /verify', () => {
  for (const { name } of personas) {
    for (const version of ['1.0', '2.0'] as const) {
      it(`agree on a v${version} token of ${name}`, async () => {
        const token = await authority.issue({ persona: name, version })
        for (const policy of policyNames) await assertAgreement(policy, `Bearer ${token}`)
      })
    }
  }

  it('agree on an ID token, an expired one, one without Bearer and none at all', async () => {
    const idToken = await authority.issue({ persona: 'alice', idToken: true })
    const expired = await authority.issue({ persona: 'alice', expiresInSeconds: -3600 })
    const unknown = await authority.issue({ persona: 'alice', key: 'unpublished' })
    assert.equal(await assertAgreement('orders', `Bearer ${idToken}`), 'not_an_access_token')
    assert.equal(await assertAgreement('orders', `Bearer ${expired}`), 'token_expired')
    assert.equal(await assertAgreement('orders', `Bearer ${unknown}`), 'key_unknown')
    assert.equal(await assertAgreement('orders', `Basic ${idToken}`), 'no_credentials')
    assert.equal(await assertAgreement('orders', 'Bearer '), 'malformed_credentials')
    assert.equal(await assertAgreement('orders', undefined), 'no_credentials')
  })

  it('agree on tokens with claims changed, removed and of the wrong type', async () => {
    const seen = new Set<unknown>()
    await fc.assert(
      fc.asyncProperty(mutations, fc.constantFrom(...policyNames), async (request, policy) => {
        const token = await authority.issue(request)
        seen.add(await assertAgreement(policy, `Bearer ${token}`))
      }),
      { numRuns: 400 },
    )
    // A property over tokens that all fail in the same way would prove little.
    assert.ok(seen.size > 10, [...seen].join())
  })

  it('agree on tokens with a character changed', async () => {
    const token = await authority.issue({ persona: 'alice' })
    await fc.assert(
      fc.asyncProperty(
        fc.nat(token.length - 1),
        fc.constantFrom(...'Aa0-_.= ,é'),
        async (at, character) => {
          const changed = `${token.slice(0, at)}${character}${token.slice(at + 1)}`
          await assertAgreement('orders', `Bearer ${changed}`)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('agree on payloads that no issuer would sign', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.json(), fc.string()), async (payload) => {
        await assertAgreement('orders', `Bearer ${await authority.sign(payload)}`)
      }),
      { numRuns: 200 },
    )
  })
})

describe('the checks of explain', () => {
  it('are all steps of the verification in their order, and all pass for an allow', async () => {
    const token = await authority.issue({ persona: 'alice' })
    const { checks, verdict } = await service.explain('orders', `Bearer ${token}`)
    assert.equal(verdict, 'allow')
    assert.deepEqual(
      checks.map(({ step, state }) => [step, state]),
      verifySteps.map((step) => [step, 'passed']),
    )
  })

  it('are observed in the order in which they are listed', async () => {
    const token = await authority.issue({ persona: 'bob' })
    const { checks } = await service.explain('orders', `Bearer ${token}`)
    const states = checks.map(({ state }) => state)
    const failedAt = states.indexOf('failed')
    assert.ok(states.slice(0, failedAt).every((state) => state === 'passed'))
    assert.ok(states.slice(failedAt + 1).every((state) => state === 'not_reached'))
  })
})

const values = fc.oneof(
  fc.constantFrom<unknown>('', 'app', 'user', '1.0', '2.0', 0, 1, -1, 1e300, true, null, 'c1'),
  fc.constantFrom<unknown>(
    ['c1'],
    ['cp1'],
    ['Orders.Process'],
    [staffGroup],
    [1],
    {},
    'Orders.Read',
  ),
  fc.constantFrom<unknown>(ordersId, 'api://orders', 'a1111111-1111-4111-8111-111111111111', '11'),
  fc.string({ maxLength: 8 }),
  fc.array(fc.string({ maxLength: 4 }), { maxLength: 2 }),
)
const claimNames = fc.constantFrom(
  ...['ver', 'tid', 'iss', 'aud', 'oid', 'sub', 'azp', 'appid', 'azpacr', 'idtyp', 'scp', 'roles'],
  ...['groups', 'acct', 'acrs', 'xms_cc', 'exp', 'iat', 'nbf', 'uti', 'name', 'email', 'cnf'],
  ...['_claim_names', 'hasgroups', 'xms_act_fct', 'xms_sub_fct', 'TID', 'constructor', 'upn'],
)
const mutations: fc.Arbitrary<IssueRequest> = fc.record(
  {
    persona: fc.constantFrom(...personas.map(({ name }) => name)),
    version: fc.constantFrom<'1.0' | '2.0'>('1.0', '2.0'),
    claims: fc.dictionary(claimNames, values, { maxKeys: 2 }),
    removeClaims: fc.array(claimNames, { maxLength: 1 }),
    header: fc.dictionary(fc.constantFrom('alg', 'typ', 'kid', 'nonce', 'crit', 'jku'), values, {
      maxKeys: 1,
    }),
  },
  { requiredKeys: ['persona'] },
)
