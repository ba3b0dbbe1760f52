/** The ID token after the library has let it through: each check, and what is read of it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { pass } from '../../src/failure.ts'
import type { Authorities } from '../../src/keys/authority.ts'
import { verifyIdToken } from '../../src/sign-in/id-token.ts'
import type { SignatureEngine } from '../../src/token/signature.ts'
import { ids, startMs, startSeconds } from '../support/ids.ts'
import { webClient } from '../support/sessions.ts'

const issuerOf = (tenant: string) => `https://login.microsoftonline.com/${tenant}/v2.0`
const claims = {
  ver: '2.0',
  tid: ids.contoso,
  iss: issuerOf(ids.contoso),
  aud: webClient,
  nonce: 'n',
  iat: startSeconds,
  nbf: startSeconds,
  exp: startSeconds + 3_600,
  oid: ids.user,
  sub: 'pairwise',
}

/** Each issuer has one key, with which everything is signed. */
const authorities = new Map(
  [ids.contoso, ids.fabrikam].map((tenant) => [
    tenant,
    {
      issuerKeys: (version: string) => ({
        issuer: version === '2.0' ? issuerOf(tenant) : `https://sts.windows.net/${tenant}/`,
        state: () => ({ state: 'ready', keys: 1 }),
        find: () => pass({ id: `key of ${tenant}` }),
      }),
    },
  ]),
) as unknown as Authorities
const engine: SignatureEngine = { verify: async () => true } as never

/** Verifies the claims above with others in their place. */
function check(more: Readonly<Record<string, unknown>>, at: { readonly nowMs?: number } = {}) {
  const parts = [
    { alg: 'RS256', kid: 'k', typ: 'JWT' },
    { ...claims, ...more },
  ]
  const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
  return verifyIdToken(`${text.join('.')}.${'A'.repeat(342)}`, {
    authorities,
    engine,
    tenantId: ids.contoso,
    clientId: webClient,
    nonce: 'n',
    nowMs: startMs,
    clockSkewSeconds: 300,
    ...at,
  })
}

describe('an ID token that the library has let through', () => {
  for (const [failure, claim, more] of [
    ['version_unknown', 'ver', { ver: '1.0', iss: `https://sts.windows.net/${ids.contoso}/` }],
    ['tenant_not_allowed', 'tid', { tid: ids.fabrikam, iss: issuerOf(ids.fabrikam) }],
    ['audience_mismatch', 'aud', { aud: ids.api }],
    ['claim_malformed', 'nonce', { nonce: 'm' }],
    ['audience_mismatch', 'azp', { azp: ids.client }],
  ] as const) {
    it(`is refused for ${claim}`, async () => {
      assert.deepEqual(await check(more), { ok: false, failure, claim })
    })
  }

  for (const claim of ['ver', 'tid', 'aud', 'nonce', 'oid', 'sub']) {
    it(`is refused without ${claim}`, async () => {
      assert.equal((await check({ [claim]: undefined })).ok, false)
    })
  }

  it('is refused with an unknown key or a wrong signature', async () => {
    const verified = await check({ tid: ids.stranger })
    assert.equal(verified.ok, false)
  })

  for (const claims of [
    { xms_sub_fct: '13' },
    { xms_act_fct: '3 11' },
    { xms_par_app_azp: ids.client },
  ]) {
    it(`of an agent makes no session: ${JSON.stringify(claims)}`, async () => {
      const verified = await check(claims)
      assert.equal(!verified.ok && verified.failure, 'actor_not_allowed')
    })
  }

  it('says who signed in, and nothing that it does not say', async () => {
    const least = {
      tenantId: ids.contoso,
      userId: ids.user,
      subject: 'pairwise',
      keyId: `key of ${ids.contoso}`,
      issuedAt: startSeconds,
      roles: [],
      groups: [],
      groupsOverage: false,
      guest: undefined,
      authContexts: [],
      name: undefined,
      preferredUsername: undefined,
      email: undefined,
      entraSessionId: undefined,
      loginHint: undefined,
    }
    assert.deepEqual(await check({}), { ok: true, value: least })
    const said = {
      roles: ['r'],
      groups: [ids.group],
      acct: 1,
      acrs: ['c1'],
      name: 'Adele Vance',
      preferred_username: 'adele@contoso.example',
      email: 'adele@mail.example',
      xms_edov: true,
      sid: 'sid-of-entra',
      login_hint: 'O.hint',
    }
    assert.deepEqual(await check(said), {
      ok: true,
      value: {
        ...least,
        roles: ['r'],
        groups: [ids.group],
        guest: true,
        authContexts: ['c1'],
        name: 'Adele Vance',
        preferredUsername: 'adele@contoso.example',
        email: 'adele@mail.example',
        entraSessionId: 'sid-of-entra',
        loginHint: 'O.hint',
      },
    })
    assert.deepEqual(await check({ azp: webClient }), { ok: true, value: least })
    const overage = await check({ hasgroups: true })
    assert.equal(overage.ok && overage.value.groupsOverage, true)
    const named = await check({ groups: [ids.group, 'CONTOSO\\Suspended'] })
    assert.equal(named.ok && named.value.groupsOverage, true)
    assert.equal((await check({ hasgroups: true, groups: [ids.group] })).ok, false)
  })

  it('counts until its end and as long as the clocks may differ', async () => {
    const end = (startSeconds + 3_600 + 300) * 1_000
    assert.equal((await check({}, { nowMs: end - 1 })).ok, true)
    assert.deepEqual(await check({}, { nowMs: end + 1_000 }), {
      ok: false,
      failure: 'token_expired',
      claim: 'exp',
    })
  })
})
