/**
 * Class of advisory: a cached authentication that outlives what it rests on or answers for somebody
 * else (CWE-613, CWE-524): entries keyed by a part of the token, or not by the policy; verdicts kept
 * after the token expired; floods that push good entries out.
 */

import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { Policy } from '../../src/policy/compile.ts'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { createSignatureEngine } from '../../src/token/signature.ts'
import { compileRules } from '../../src/verify/rules.ts'
import { createTokenCache } from '../../src/verify/token-cache.ts'
import { createVerifier } from '../../src/verify/verifier.ts'
import { tenantKey } from '../support/authority.ts'
import {
  assertAllowed,
  assertInsufficientScope,
  assertInvalidToken,
  assertRefused,
} from '../support/expect.ts'
import { appIdUri, ids } from '../support/ids.ts'
import {
  fixtureConfig,
  grants,
  loadFile,
  type Service,
  type ServiceOptions,
  startService,
  verify,
} from '../support/service.ts'
import { impostorOf, jwkOf, signingKey } from '../support/signing-keys.ts'
import { v2App, v2User } from '../support/tokens.ts'

async function start(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  const service = await startService(options)
  t.after(() => service.close())
  return service
}

const audiences = [ids.api, appIdUri]

describe('a cached verdict', () => {
  it('ends with exp and the clock skew', async (t) => {
    const service = await start(t)
    const now = service.time.nowMs / 1000
    const token = v2User({ exp: now + 60 })
    assertAllowed(await verify(service, 'default', token))
    service.time.jump(359_999)
    assertAllowed(await verify(service, 'default', token))
    service.time.jump(1)
    assertInvalidToken(await verify(service, 'default', token), 'token_expired')
  })
  it('never promises HAProxy more than is left', async (t) => {
    const service = await start(t)
    const token = v2User({ exp: service.time.nowMs / 1000 + 60 })
    for (const [skipMs, maxAge] of [
      [0, 30],
      [330_000, 30],
      [1, 29],
      [25_000, 4],
      [4_000, 0],
    ] as const) {
      service.time.jump(skipMs)
      const reply = await verify(service, 'default', token)
      assertAllowed(reply)
      assert.equal(reply.headers['cache-control'], `private, max-age=${maxAge}`)
    }
  })
  it('never promises more than is left of the confirmation of its key', async (t) => {
    const service = await start(t)
    const token = v2User({ exp: service.time.nowMs / 1000 + 86_600 })
    service.time.jump(86_400_000 - 10_000)
    const reply = await verify(service, 'default', token)
    assert.equal(reply.headers['cache-control'], 'private, max-age=10')
  })
  it('comes back where the clock was set back', async (t) => {
    const service = await start(t)
    const token = v2User({ nbf: service.time.nowMs / 1000 })
    assertAllowed(await verify(service, 'default', token))
    service.time.jump(-301_000)
    assertInvalidToken(await verify(service, 'default', token), 'token_not_yet_valid')
    service.time.jump(301_000)
    assertAllowed(await verify(service, 'default', token))
  })
  it('ends when its key was withdrawn', async (t) => {
    const service = await start(t)
    const token = v2User({ exp: service.time.nowMs / 1000 + 7200 })
    assertAllowed(await verify(service, 'default', token))
    service.authority.contoso.v2.keys = [jwkOf(signingKey('successor'))]
    await service.time.advance(3_600_000)
    assertInvalidToken(await verify(service, 'default', token), 'key_withdrawn')
  })
  it('ends when its key turned unusable', async (t) => {
    const service = await start(t)
    const token = v2User()
    assertAllowed(await verify(service, 'default', token))
    service.authority.contoso.v2.keys = [
      jwkOf(tenantKey(ids.contoso), { use: 'enc' }),
      jwkOf(signingKey('successor')),
    ]
    await service.time.advance(600_000)
    assertInvalidToken(await verify(service, 'default', token), 'key_unusable')
    assertInvalidToken(await verify(service, 'default', v2User({ uti: 'another' })), 'key_unusable')
  })
})

describe('a cached verdict of another policy', () => {
  const policies = {
    users: { audiences, allow: [grants.user] },
    apps: { audiences, allow: [grants.app] },
    others: { audiences: [ids.otherApi], allow: [grants.user, grants.app] },
    fabrikam: { audiences, tenants: ['fabrikam'], allow: [grants.user, grants.app] },
  }
  it('is rejected, in any order of requests', async (t) => {
    const service = await start(t, { config: { policies } })
    const user = v2User()
    const app = v2App()
    for (let round = 0; round < 2; round++) {
      assertAllowed(await verify(service, 'users', user))
      assertInsufficientScope(await verify(service, 'apps', user), 'actor_not_allowed')
      assertInvalidToken(await verify(service, 'others', user), 'audience_mismatch')
      assertInvalidToken(await verify(service, 'fabrikam', user), 'tenant_not_allowed')
      assertInsufficientScope(await verify(service, 'users', app), 'actor_not_allowed')
      assertAllowed(await verify(service, 'apps', app))
    }
  })
  it('does not count where both are asked at once', async (t) => {
    const service = await start(t, { config: { policies } })
    const user = v2User()
    const names = ['users', 'apps', 'others', 'fabrikam']
    const statuses = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const reply = await verify(service, names[i % 4] ?? '', user)
        return reply.status
      }),
    )
    assert.deepEqual(statuses, Array.from({ length: 10 }, () => [200, 403, 401, 401]).flat())
  })
})

describe('a cached verdict of another token', () => {
  it('does not count for a token that differs in its signature only', async (t) => {
    const service = await start(t)
    const token = v2User()
    assertAllowed(await verify(service, 'default', token))
    const forged = v2User({}, { key: impostorOf(tenantKey(ids.contoso)) })
    assert.equal(forged.slice(0, forged.lastIndexOf('.')), token.slice(0, token.lastIndexOf('.')))
    assertInvalidToken(await verify(service, 'default', forged), 'signature_invalid')
    assertAllowed(await verify(service, 'default', token))
  })
  it('does not count for a token of the same id', async (t) => {
    const service = await start(t)
    assertAllowed(await verify(service, 'default', v2User({ uti: 'same' })))
    assertInsufficientScope(
      await verify(service, 'default', v2User({ uti: 'same', scp: 'Other' })),
      'scope_missing',
    )
  })
  it('gives each of many users who ask at once their own identity', async (t) => {
    const service = await start(t)
    const users = Array.from({ length: 100 }, (_, i) =>
      ids.user.replace(/...$/, String(i).padStart(3, '0')),
    )
    const tokens = users.map((oid) => v2User({ oid }))
    const seen = await Promise.all(
      [...tokens, ...tokens].map(async (token) => {
        const reply = await verify(service, 'default', token)
        return reply.headers['x-auth-request-user']
      }),
    )
    assert.deepEqual(seen, [...users, ...users])
  })
  it('of a wrong signature does not count for the genuine token', async (t) => {
    const service = await start(t)
    const forged = v2User({}, { key: impostorOf(tenantKey(ids.contoso)) })
    assertInvalidToken(await verify(service, 'default', forged), 'signature_invalid')
    assertInvalidToken(await verify(service, 'default', forged), 'signature_invalid')
    assertAllowed(await verify(service, 'default', v2User()))
  })
})

describe('a cached verdict after a reload', () => {
  const reloaded = async (t: TestContext, policy: object, config = {}) => {
    const service = await start(t)
    assertAllowed(await verify(service, 'default', v2User()))
    await service.reload(fixtureConfig(service.authority.url, { policy: { ...policy }, config }))
    return service
  }
  it('ends where the policy now forbids it', async (t) => {
    const service = await reloaded(t, { allow: [grants.app] })
    assertInsufficientScope(await verify(service, 'default', v2User()), 'actor_not_allowed')
  })
  it('ends where the policy now denies its user', async (t) => {
    const service = await reloaded(t, { deny: [{ users: [ids.user] }] })
    assertInsufficientScope(await verify(service, 'default', v2User()), 'denied_by_rule')
  })
  it('ends where the policy now has another audience', async (t) => {
    const service = await reloaded(t, { audiences: [ids.otherApi] })
    assertInvalidToken(await verify(service, 'default', v2User()), 'audience_mismatch')
  })
  it('ends where the tenant is no longer admitted by the policy', async (t) => {
    const service = await reloaded(t, { tenants: ['fabrikam'] })
    assertInvalidToken(await verify(service, 'default', v2User()), 'tenant_not_allowed')
  })
  it('ends where the clock skew became smaller', async (t) => {
    const service = await start(t)
    const token = v2User({ exp: service.time.nowMs / 1000 - 60 })
    assertAllowed(await verify(service, 'default', token))
    await service.reload(fixtureConfig(service.authority.url, { config: { clockSkewSeconds: 30 } }))
    assertInvalidToken(await verify(service, 'default', token), 'token_expired')
  })
  it('ends where the tenant is no longer configured', async (t) => {
    const service = await start(t)
    const token = v2User()
    assertAllowed(await verify(service, 'default', token))
    await service.reload(
      fixtureConfig(service.authority.url, {
        config: { tenants: { fabrikam: { id: ids.fabrikam, authority: service.authority.url } } },
        policy: { tenants: ['fabrikam'] },
      }),
    )
    const reply = await verify(service, 'default', token)
    assert.equal(reply.status, 401)
    assertInvalidToken(await verify(service, 'default', v2User({ uti: 'x' })), 'tenant_not_allowed')
  })
  it('ends where the policy is gone', async (t) => {
    const service = await start(t)
    assertAllowed(await verify(service, 'default', v2User()))
    const { tenants } = fixtureConfig(service.authority.url)
    await service.reload({ tenants, policies: { renamed: { audiences, allow: [grants.user] } } })
    assertRefused(await verify(service, 'default', v2User()), 404, undefined, 'unknown_policy')
    assertAllowed(await verify(service, 'renamed', v2User()))
  })
  it('carries another version', async (t) => {
    const service = await start(t)
    const before = await verify(service, 'default', v2User())
    await service.reload(fixtureConfig(service.authority.url, { policy: { cacheSeconds: 5 } }))
    const after = await verify(service, 'default', v2User())
    assert.notEqual(before.headers['x-entra-auth-version'], after.headers['x-entra-auth-version'])
    assert.equal(after.headers['cache-control'], 'private, max-age=5')
  })
})

describe('a flood of rubbish', () => {
  it('pushes out no token that was verified, so that it need not be verified again', async (t) => {
    const service = await start(t)
    const rules = compileRules(
      await loadFile(fixtureConfig(service.authority.url)),
      service.app.authorities,
    )
    const policy = rules.policies.get('default') as Policy
    const engine = createSignatureEngine()
    let signatures = 0
    const verifier = createVerifier({
      clock: () => service.time.nowMs,
      cache: createTokenCache(() => true),
      revocations: () => createRevocationList([]),
      engine: {
        verify(key, token) {
          signatures++
          return engine.verify(key, token)
        },
      },
    })
    const isAllowed = async (token: string) => {
      const authorization = `Bearer ${token}`
      const request = { authorization, ambiguous: false, callerKey: undefined, hasBody: false }
      return (await verifier.verify(rules, policy, request)).allow
    }
    const good = v2User()
    assert.equal(await isAllowed(good), true)
    const unsigned = good.slice(0, good.lastIndexOf('.'))
    for (let i = 0; i < 12_000; i++) {
      const signature = Buffer.alloc(256, `forged ${i}`).toString('base64url')
      assert.equal(await isAllowed(`${unsigned}.${signature}`), false)
    }
    assert.equal(signatures, 12_001)
    assert.equal(await isAllowed(good), true)
    assert.equal(signatures, 12_001)
  })
})
