import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type FailureCode, fail, pass, type Result } from '../../src/failure.ts'
import type { Authority } from '../../src/keys/authority.ts'
import type { IssuerKeysState } from '../../src/keys/issuer-keys.ts'
import type { Key } from '../../src/keys/key.ts'
import { type TokenStep, tokenSteps, verifyToken } from '../../src/token/verify-token.ts'
import { ids, startSeconds } from '../support/ids.ts'

const issuer = `https://login.microsoftonline.com/${ids.contoso}/v2.0`
const key: Key = { id: 'k', pem: '', lastSeenMs: 0, missingReplies: 0, withdrawn: false }
const claims = {
  ver: '2.0',
  tid: ids.contoso,
  iss: issuer,
  aud: ids.api,
  iat: startSeconds,
  exp: startSeconds + 60,
  oid: ids.user,
  sub: 'pairwise',
  azp: ids.client,
  scp: 'Orders.Read',
}

interface Setting {
  readonly header?: object
  readonly claims?: object
  readonly issuer?: string | undefined
  readonly state?: IssuerKeysState['state']
  readonly find?: Result<Key> | undefined
  readonly lookUp?: Result<Key>
  readonly signed?: boolean
}

/** Verifies a token with keys and a signature engine that answer as they are told. */
async function run(setting: Setting, token?: string) {
  const asked: string[] = []
  const answers = { issuer, state: 'ready' as const, find: pass(key), signed: true, ...setting }
  const authority = {
    issuerKeys: (version: string) => {
      asked.push(`keys of v${version}`)
      return {
        issuer: answers.issuer,
        state: () => ({ state: answers.state, keys: 1 }),
        find: (id: string) => {
          asked.push(`find ${id}`)
          return answers.find
        },
        lookUp: async (id: string) => {
          asked.push(`look up ${id}`)
          return answers.lookUp ?? pass(key)
        },
      }
    },
  } as unknown as Authority
  const parts = [
    { alg: 'RS256', kid: 'k', ...setting.header },
    { ...claims, ...setting.claims },
  ]
  const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
  const steps: [TokenStep, FailureCode | undefined, string | undefined][] = []
  const engine = {
    verify: async (used: Key, signed: string) => {
      asked.push(`verify ${used.id}`)
      assert.equal(signed, token ?? `${text.join('.')}.c2ln`)
      return answers.signed
    },
  }
  const result = await verifyToken(
    token ?? `${text.join('.')}.c2ln`,
    new Map([[ids.contoso, authority]]),
    engine,
    (step, failure, claim) => steps.push([step, failure, claim]),
  )
  return { result, steps, asked }
}

describe('the verification of a token', () => {
  it('tells of each step, and gives the claims with the key that signed', async () => {
    const { result, steps, asked } = await run({})
    assert.ok(result.ok)
    assert.equal(result.value.key, key)
    assert.equal(result.value.claims.userId, ids.user)
    assert.deepEqual(
      steps,
      tokenSteps.map((step) => [step, undefined, undefined]),
    )
    assert.deepEqual(asked, ['keys of v2.0', 'find k', 'verify k'])
  })
  it('asks for an unknown key, and for that alone', async () => {
    const { result, asked } = await run({ find: undefined })
    assert.equal(result.ok, true)
    assert.deepEqual(asked, ['keys of v2.0', 'find k', 'look up k', 'verify k'])
  })
  for (const [what, setting, step, failure, claim] of [
    ['a header', { header: { alg: 'none' } }, 'header', 'algorithm_not_allowed', 'alg'],
    ['an origin', { claims: { ver: '3.0' } }, 'origin', 'version_unknown', 'ver'],
    ['a tenant', { claims: { tid: ids.stranger } }, 'tenant', 'tenant_not_allowed', 'tid'],
    ['an issuer', { issuer: `${issuer}/` }, 'issuer', 'issuer_mismatch', 'iss'],
    ['a version', { issuer: undefined, state: 'absent' }, 'issuer', 'issuer_mismatch', undefined],
    [
      'keys that were not read',
      { issuer: undefined, state: 'failing' },
      'issuer',
      'keys_unavailable',
      undefined,
    ],
    ['a key', { find: fail('key_withdrawn') }, 'key', 'key_withdrawn', undefined],
    [
      'a key that was looked up',
      { find: undefined, lookUp: fail('key_unknown') },
      'key',
      'key_unknown',
      undefined,
    ],
    ['a signature', { signed: false }, 'signature', 'signature_invalid', undefined],
    ['a claim', { claims: { oid: undefined } }, 'claims', 'claim_missing', 'oid'],
  ] as const satisfies readonly (readonly [
    string,
    Setting,
    TokenStep,
    FailureCode,
    string | undefined,
  ])[]) {
    it(`ends with ${what} that does not hold`, async () => {
      const { result, steps } = await run(setting)
      assert.deepEqual(result, fail(failure, claim))
      const before = tokenSteps.slice(0, tokenSteps.indexOf(step))
      assert.deepEqual(steps, [
        ...before.map((good) => [good, undefined, undefined]),
        [step, failure, claim],
      ])
    })
  }
  it('ends with a text that is no token, and asks nobody', async () => {
    const { result, steps, asked } = await run({}, 'x')
    assert.deepEqual(result, fail('token_malformed'))
    assert.deepEqual(steps, [['form', 'token_malformed', undefined]])
    assert.deepEqual(asked, [])
  })
})
