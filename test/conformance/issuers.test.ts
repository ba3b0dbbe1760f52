import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import type { FailureCode } from '../../src/failure.ts'
import { startAuthority, tenantKey } from '../support/authority.ts'
import { assertAllowed, assertInsufficientScope, assertInvalidToken } from '../support/expect.ts'
import { ids } from '../support/ids.ts'
import { createRoutedHttp } from '../support/routed-http.ts'
import { grants, startService, verify } from '../support/service.ts'
import { jwkOf, type SigningKey, signingKey } from '../support/signing-keys.ts'
import { v1User, v2App, v2User } from '../support/tokens.ts'

const service = await startService()
after(() => service.close())

const v2Issuer = (tenant: string, host = 'login.microsoftonline.com') =>
  `https://${host}/${tenant}/v2.0`
const v1Issuer = (tenant: string, host = 'sts.windows.net') => `https://${host}/${tenant}/`

/** Refused, and nobody was asked about it. */
function refuses(what: string, token: string, reason: FailureCode): void {
  it(`refuses ${what}, and fetches nothing`, async () => {
    const before = service.authority.requests.length
    assertInvalidToken(await verify(service, 'default', token), reason)
    assert.equal(service.authority.requests.length, before)
  })
}

describe('the tenant', () => {
  refuses(
    'a genuine token of a tenant that is not configured',
    v2User({}, { tenant: ids.stranger }),
    'tenant_not_allowed',
  )
  refuses(
    'a genuine v1.0 token of a tenant that is not configured',
    v1User({}, { tenant: ids.stranger }),
    'tenant_not_allowed',
  )
  refuses(
    'a token of the consumer tenant',
    v2User({}, { tenant: ids.consumers }),
    'tenant_not_allowed',
  )
  refuses(
    'a tenant id in capital letters',
    v2User({ tid: 'ABCDEF00-0000-4000-8000-000000000000' }),
    'claim_malformed',
  )
  for (const tid of [
    'contoso.example',
    'common',
    'organizations',
    '',
    '__proto__',
    `${ids.contoso}/`,
  ]) {
    refuses(`tid ${JSON.stringify(tid)}`, v2User({ tid }), 'claim_malformed')
  }
  refuses('tid in an array', v2User({ tid: [ids.contoso] }), 'claim_malformed')
  refuses('tid missing', v2User({ tid: undefined }), 'claim_missing')
  refuses('tid beside TID', v2User({ TID: ids.stranger }), 'token_malformed')
  it('may be configured and still not admitted by the policy', async () =>
    assertInvalidToken(
      await verify(service, 'default', v2User({}, { tenant: ids.fabrikam })),
      'tenant_not_allowed',
    ))
  it('decides, not the role of the same name issued in another tenant', async () => {
    const token = v2App({}, { tenant: ids.fabrikam })
    assertInvalidToken(await verify(service, 'default', token), 'tenant_not_allowed')
  })
})

describe('the issuer', () => {
  refuses(
    'iss of a configured tenant with tid of another',
    v2User({ tid: ids.stranger }),
    'tenant_not_allowed',
  )
  refuses(
    'iss of one configured tenant with tid of the other',
    v2User({ tid: ids.fabrikam }),
    'issuer_mismatch',
  )
  refuses(
    'tid of a configured tenant with iss of another',
    v2User({ iss: v2Issuer(ids.stranger) }),
    'issuer_mismatch',
  )
  for (const [name, iss] of [
    ['on a look-alike host', v2Issuer(ids.contoso, 'login.microsoftonline.com.evil.test')],
    ['with a host as user name', v2Issuer(ids.contoso, 'login.microsoftonline.com@evil.test')],
    ['on a subdomain', v2Issuer(ids.contoso, 'evil.login.microsoftonline.com')],
    ['with a trailing dot in its host', v2Issuer(ids.contoso, 'login.microsoftonline.com.')],
    ['with a port', v2Issuer(ids.contoso, 'login.microsoftonline.com:443')],
    ['with its host in capitals', v2Issuer(ids.contoso, 'LOGIN.MICROSOFTONLINE.COM')],
    ['over http', v2Issuer(ids.contoso).replace('https:', 'http:')],
    ['with a slash at the end', `${v2Issuer(ids.contoso)}/`],
    ['with a query', `${v2Issuer(ids.contoso)}?x`],
    ['with a fragment', `${v2Issuer(ids.contoso)}#x`],
    ['with a space at the end', `${v2Issuer(ids.contoso)} `],
    ['with a line feed at the end', `${v2Issuer(ids.contoso)}\n`],
    ['with the placeholder', 'https://login.microsoftonline.com/{tenantid}/v2.0'],
    ['of v1.0', v1Issuer(ids.contoso)],
    ['of the alias host', v2Issuer(ids.contoso, 'login.windows.net')],
    ['of the US Government cloud', v2Issuer(ids.contoso, 'login.microsoftonline.us')],
    ['of the cloud in China', v2Issuer(ids.contoso, 'login.partner.microsoftonline.cn')],
    ['of an External ID tenant', v2Issuer(ids.contoso, `${ids.contoso}.ciamlogin.com`)],
  ] as const) {
    refuses(`a v2.0 issuer ${name}`, v2User({ iss }), 'issuer_mismatch')
  }
  for (const [name, iss] of [
    ['without the slash at the end', v1Issuer(ids.contoso).slice(0, -1)],
    ['with two slashes at the end', `${v1Issuer(ids.contoso)}/`],
    ['of v2.0', v2Issuer(ids.contoso)],
    ['on a look-alike host', v1Issuer(ids.contoso, 'sts.windows.net.evil.test')],
    ['of the cloud in China', v1Issuer(ids.contoso, 'sts.chinacloudapi.cn')],
  ] as const) {
    refuses(`a v1.0 issuer ${name}`, v1User({ iss }), 'issuer_mismatch')
  }
  refuses('a v1.0 token that calls itself v2.0', v1User({ ver: '2.0' }), 'issuer_mismatch')
  refuses('a v2.0 token that calls itself v1.0', v2User({ ver: '1.0' }), 'issuer_mismatch')
})

describe('the issuer of a key', async () => {
  const shared = signingKey('shared by all tenants')
  const ofConsumers = signingKey('of the consumer tenant')
  const ofGovernment = signingKey('of the US Government cloud')
  const oddKeys = [
    jwkOf(shared, { issuer: 'https://login.microsoftonline.com/{tenantid}/v2.0' }),
    jwkOf(ofConsumers, { issuer: v2Issuer(ids.consumers) }),
    jwkOf(ofGovernment, { cloud_instance_name: 'microsoftonline.us' }),
    jwkOf(signingKey('with an issuer list'), { issuer: [v2Issuer(ids.contoso)] }),
    jwkOf(signingKey('of the same cloud'), { cloud_instance_name: 'microsoftonline.com' }),
  ]
  const authority = await startAuthority()
  authority.contoso.v2.keys.push(...oddKeys)
  const odd = await startService({ authority })
  after(() => odd.close())
  const asked = (key: SigningKey) => verify(odd, 'default', v2User({}, { key }))

  it('may be a template that the tenant fills', async () => assertAllowed(await asked(shared)))
  it('refuses a token signed with a key of the consumer tenant', async () =>
    assertInvalidToken(await asked(ofConsumers), 'key_not_for_issuer'))
  it('refuses a key whose issuer is a list', async () =>
    assertInvalidToken(await asked(signingKey('with an issuer list')), 'key_not_for_issuer'))
  it('refuses a key of another cloud', async () =>
    assertInvalidToken(await asked(ofGovernment), 'key_not_for_issuer'))
  it('admits a key that names the same cloud', async () =>
    assertAllowed(await asked(signingKey('of the same cloud'))))
  it('refuses a key that only another tenant publishes', async () =>
    assertInvalidToken(await asked(tenantKey(ids.fabrikam)), 'key_unknown'))
})

describe('an External ID tenant', async () => {
  const host = `${ids.fabrikam}.ciamlogin.com`
  const external = (claims = {}) =>
    v2User({ iss: v2Issuer(ids.fabrikam, host), ...claims }, { tenant: ids.fabrikam })
  const authority = await startAuthority({ v2Issuer: `https://${host}/{tid}/v2.0` })
  for (const tenant of authority.tenants.values()) tenant.v1 = undefined
  const customers = await startService({ authority, policy: { tenants: ['fabrikam'] } })
  after(() => customers.close())

  it('is admitted where its authority is configured', async () =>
    assertAllowed(await verify(customers, 'default', external())))
  it('is refused where it is not', async () =>
    assertInvalidToken(await verify(service, 'default', external()), 'issuer_mismatch'))
  it('has no v1.0 tokens', async () =>
    assertInvalidToken(
      await verify(customers, 'default', v1User({}, { tenant: ids.fabrikam })),
      'issuer_mismatch',
    ))
  it('does not accept the issuer of the public cloud', async () =>
    assertInvalidToken(
      await verify(customers, 'default', v2User({}, { tenant: ids.fabrikam })),
      'issuer_mismatch',
    ))
})

describe('known clouds', () => {
  const clouds = [
    ['public', 'login.microsoftonline.com', 'sts.windows.net'],
    ['usgov', 'login.microsoftonline.us', 'sts.windows.net'],
    ['china', 'login.partner.microsoftonline.cn', 'sts.chinacloudapi.cn'],
  ] as const
  for (const [cloud, host, v1Host] of clouds) {
    describe(cloud, async () => {
      const authority = await startAuthority({
        v2Issuer: `https://${host}/{tid}/v2.0`,
        v1Issuer: `https://${v1Host}/{tid}/`,
        keyOrigin: `https://${host}`,
      })
      const http = createRoutedHttp(authority.url)
      const config = { cloud, tenants: { contoso: ids.contoso } }
      const national = await startService({ authority, http, config })
      after(() => national.close())

      it('admits its v2.0 tokens', async () =>
        assertAllowed(
          await verify(national, 'default', v2User({ iss: v2Issuer(ids.contoso, host) })),
        ))
      it('admits its v1.0 tokens', async () =>
        assertAllowed(
          await verify(national, 'default', v1User({ iss: v1Issuer(ids.contoso, v1Host) })),
        ))
      it('asks no other host', () => {
        assert.ok(http.asked.length >= 4)
        for (const url of http.asked) assert.equal(new URL(url).origin, `https://${host}`)
      })
      for (const [other, otherHost] of clouds) {
        if (other === cloud) continue
        it(`refuses v2.0 tokens of the cloud ${other}`, async () =>
          assertInvalidToken(
            await verify(national, 'default', v2User({ iss: v2Issuer(ids.contoso, otherHost) })),
            'issuer_mismatch',
          ))
      }
    })
  }
})

describe('a policy for several tenants', () => {
  it('admits each of them, and a grant binds none', async () => {
    const both = await startService({
      policy: { tenants: ['contoso', 'fabrikam'], allow: [grants.user] },
    })
    after(() => both.close())
    assertAllowed(await verify(both, 'default', v2User()))
    assertAllowed(await verify(both, 'default', v2User({}, { tenant: ids.fabrikam })))
    assertInsufficientScope(
      await verify(both, 'default', v2App({}, { tenant: ids.fabrikam })),
      'actor_not_allowed',
    )
  })
})
