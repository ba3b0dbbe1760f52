import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { TenantConfig } from '../../src/config/config.ts'
import { clouds } from '../../src/keys/clouds.ts'
import {
  type EndpointVersion,
  MetadataError,
  metadataUrl,
  readMetadata,
} from '../../src/keys/discovery.ts'
import { ids } from '../support/ids.ts'

const tid = ids.contoso
const tenant = (authority: string, more: Partial<TenantConfig> = {}): TenantConfig => ({
  name: 'contoso',
  id: tid,
  authority,
  ...more,
})
const publicTenant = tenant('https://login.microsoftonline.com', { cloud: 'public' })

function refuses(
  what: string,
  of: TenantConfig,
  version: EndpointVersion,
  document: unknown,
  message: RegExp,
): void {
  it(`refuses ${what}`, () =>
    assert.throws(
      () => readMetadata(of, version, document),
      (error) => error instanceof MetadataError && message.test(error.message),
    ))
}

describe('the national clouds', () => {
  it('have the hosts and issuers that Microsoft documents', () =>
    assert.deepEqual(clouds, {
      public: {
        hosts: ['login.microsoftonline.com', 'login.windows.net', 'login.microsoft.com'],
        v1Issuer: 'https://sts.windows.net/{tid}/',
        v2Issuers: ['https://login.microsoftonline.com/{tid}/v2.0'],
      },
      usgov: {
        hosts: ['login.microsoftonline.us'],
        v1Issuer: 'https://sts.windows.net/{tid}/',
        v2Issuers: ['https://login.microsoftonline.us/{tid}/v2.0'],
      },
      china: {
        hosts: ['login.partner.microsoftonline.cn', 'login.chinacloudapi.cn'],
        v1Issuer: 'https://sts.chinacloudapi.cn/{tid}/',
        v2Issuers: [
          'https://login.partner.microsoftonline.cn/{tid}/v2.0',
          'https://login.chinacloudapi.cn/{tid}/v2.0',
        ],
      },
    }))
})

describe('the address of the metadata', () => {
  it('is that of tenant and version', () => {
    const authority = 'https://login.microsoftonline.com'
    assert.equal(
      metadataUrl(publicTenant, '1.0'),
      `${authority}/${tid}/.well-known/openid-configuration`,
    )
    assert.equal(
      metadataUrl(publicTenant, '2.0'),
      `${authority}/${tid}/v2.0/.well-known/openid-configuration`,
    )
  })
  it('names the API that has its own keys', () =>
    assert.equal(
      metadataUrl({ ...publicTenant, appId: ids.api }, '2.0'),
      `https://login.microsoftonline.com/${tid}/v2.0/.well-known/openid-configuration?appid=${ids.api}`,
    ))
  it('keeps the path of the authority', () =>
    assert.equal(
      metadataUrl(tenant('http://127.0.0.1:8400/entra'), '1.0'),
      `http://127.0.0.1:8400/entra/${tid}/.well-known/openid-configuration`,
    ))
})

describe('metadata of a known cloud', () => {
  for (const [cloud, { hosts, v1Issuer, v2Issuers }] of Object.entries(clouds)) {
    const of = tenant(`https://${hosts[0]}`, { cloud: cloud as keyof typeof clouds })
    for (const host of hosts) {
      it(`of ${cloud} may have its keys on ${host}`, () => {
        const jwks_uri = `https://${host}/${tid}/discovery/v2.0/keys`
        const issuer = String(v2Issuers[0]).replace('{tid}', tid)
        assert.deepEqual(readMetadata(of, '2.0', { issuer, jwks_uri, cloud_instance_name: 'x' }), {
          issuer,
          jwksUri: jwks_uri,
          cloudInstanceName: 'x',
        })
      })
    }
    for (const template of v2Issuers) {
      it(`of ${cloud} may name the issuer ${template}`, () => {
        const issuer = template.replace('{tid}', tid)
        const jwks_uri = `https://${hosts[0]}/keys`
        assert.equal(readMetadata(of, '2.0', { issuer, jwks_uri }).issuer, issuer)
      })
    }
    it(`of ${cloud} may name the v1.0 issuer ${v1Issuer}`, () => {
      const issuer = v1Issuer.replace('{tid}', tid)
      const jwks_uri = `https://${hosts[0]}/keys`
      assert.equal(readMetadata(of, '1.0', { issuer, jwks_uri }).issuer, issuer)
    })
  }
  const jwks_uri = 'https://login.microsoftonline.com/keys'
  const issuer = `https://login.microsoftonline.com/${tid}/v2.0`
  refuses(
    'the issuer of another cloud',
    publicTenant,
    '2.0',
    {
      issuer: `https://login.microsoftonline.us/${tid}/v2.0`,
      jwks_uri,
    },
    /names the issuer/,
  )
  refuses(
    'the issuer of another version',
    publicTenant,
    '1.0',
    { issuer, jwks_uri },
    /names the issuer/,
  )
  refuses(
    'the issuer of another tenant',
    publicTenant,
    '2.0',
    {
      issuer: issuer.replace(tid, ids.fabrikam),
      jwks_uri,
    },
    /names the issuer/,
  )
  refuses(
    'an issuer with the placeholder',
    publicTenant,
    '2.0',
    {
      issuer: issuer.replace(tid, '{tenantid}'),
      jwks_uri,
    },
    /names the issuer/,
  )
  refuses(
    'a key address on a foreign host',
    publicTenant,
    '2.0',
    {
      issuer,
      jwks_uri: 'https://evil.test/keys',
    },
    /names the key address/,
  )
  refuses(
    'a key address of another cloud',
    publicTenant,
    '2.0',
    {
      issuer,
      jwks_uri: 'https://login.microsoftonline.us/keys',
    },
    /names the key address/,
  )
  refuses(
    'a key address on another port',
    publicTenant,
    '2.0',
    {
      issuer,
      jwks_uri: 'https://login.microsoftonline.com:8443/keys',
    },
    /names the key address/,
  )
  refuses(
    'a key address on a look-alike host',
    publicTenant,
    '2.0',
    {
      issuer,
      jwks_uri: 'https://login.microsoftonline.com.evil.test/keys',
    },
    /names the key address/,
  )
  refuses(
    'a key address over http',
    publicTenant,
    '2.0',
    {
      issuer,
      jwks_uri: jwks_uri.replace('https:', 'http:'),
    },
    /names the key address/,
  )
  refuses(
    'a key address with a user',
    publicTenant,
    '2.0',
    {
      issuer,
      jwks_uri: 'https://user@login.microsoftonline.com/keys',
    },
    /names the key address/,
  )
  refuses(
    'a key address with a password',
    publicTenant,
    '2.0',
    {
      issuer,
      jwks_uri: 'https://:secret@login.microsoftonline.com/keys',
    },
    /names the key address/,
  )
  refuses(
    'a key address that is no URL',
    publicTenant,
    '2.0',
    { issuer, jwks_uri: 'keys' },
    /names the key address/,
  )
  for (const document of [
    null,
    undefined,
    1,
    'x',
    [],
    {},
    { issuer },
    { jwks_uri },
    { issuer: [issuer], jwks_uri },
  ]) {
    refuses(
      `a document that is ${JSON.stringify(document)}`,
      publicTenant,
      '2.0',
      document,
      /has no issuer or no jwks_uri/,
    )
  }
  it('may say nothing of the cloud', () =>
    assert.equal(
      readMetadata(publicTenant, '2.0', { issuer, jwks_uri, cloud_instance_name: 1 })
        .cloudInstanceName,
      undefined,
    ))
})

describe('metadata of an authority that is none of the clouds', () => {
  const own = tenant('https://login.contoso.example')
  const jwks_uri = 'https://login.contoso.example/keys'
  for (const [version, issuer] of [
    ['1.0', `https://sts.contoso.example/${tid}/`],
    ['2.0', `https://login.contoso.example/${tid}/v2.0`],
  ] as const) {
    it(`may name any host in the issuer of v${version}, with the tenant behind it`, () =>
      assert.equal(readMetadata(own, version, { issuer, jwks_uri }).issuer, issuer))
  }
  for (const issuer of [
    `https://sts.contoso.example/${ids.fabrikam}/`,
    `https://sts.contoso.example/${tid}`,
    `https://sts.contoso.example/x${tid}/`,
    `https://login.contoso.example/${tid}/v2.0`,
  ]) {
    refuses(`the v1.0 issuer ${issuer}`, own, '1.0', { issuer, jwks_uri }, /names the issuer/)
  }
})

describe('metadata of External ID', () => {
  const external = tenant('https://customers.ciamlogin.com')
  const issuer = `https://${tid}.ciamlogin.com/${tid}/v2.0`
  for (const host of ['customers.ciamlogin.com', `${tid}.ciamlogin.com`]) {
    it(`may have its keys on ${host}`, () =>
      assert.equal(
        readMetadata(external, '2.0', { issuer, jwks_uri: `https://${host}/keys` }).jwksUri,
        `https://${host}/keys`,
      ))
  }
  for (const host of [
    `${ids.fabrikam}.ciamlogin.com`,
    'others.ciamlogin.com',
    `${tid}.ciamlogin.com.evil.test`,
    'login.microsoftonline.com',
  ]) {
    refuses(
      `keys on ${host}`,
      external,
      '2.0',
      { issuer, jwks_uri: `https://${host}/keys` },
      /names the key address/,
    )
  }
  refuses(
    'keys on an External ID host where the authority is none',
    tenant('https://login.contoso.example'),
    '2.0',
    {
      issuer,
      jwks_uri: `https://${tid}.ciamlogin.com/keys`,
    },
    /names the key address/,
  )
  for (const foreign of [
    `https://evil.test/${ids.fabrikam}/v2.0`,
    `https://evil.test/x${tid}/v2.0`,
    `https://evil.test/${tid}/v2.0/`,
    `https://evil.test/${tid}`,
    `https://evil.test/?/${ids.fabrikam}`,
  ]) {
    refuses(
      `the issuer ${foreign}`,
      external,
      '2.0',
      {
        issuer: foreign,
        jwks_uri: 'https://customers.ciamlogin.com/keys',
      },
      /names the issuer/,
    )
  }
})
