import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { HEADER_CLAIMS } from '../../src/config/schema.ts'
import { encodeList, encodeValue } from '../../src/identity/encode.ts'
import {
  createHeaderSet,
  type HeaderSet,
  identityBytes,
  mappableClaims,
} from '../../src/identity/headers.ts'
import { type AccessToken, readClaims } from '../../src/token/claims.ts'
import { ids } from '../support/ids.ts'
import { type Members, readToken, v1User, v2App, v2User } from '../support/tokens.ts'

function tokenOf(token: string): AccessToken {
  const claims = readClaims(readToken(token).claims)
  if (!claims.ok) throw new Error(claims.failure)
  return claims.value
}

function headersOf(set: HeaderSet, token: string, groups: readonly string[] = []): Members {
  const values = set.values({ token: tokenOf(token), groups })
  assert.equal(values.length, set.names.length)
  return Object.fromEntries(set.names.map((name, i) => [name, values[i]]))
}

const rich = v2User({
  email: 'adele@contoso.example',
  xms_edov: true,
  roles: ['Orders.Admin', 'a,b'],
  scp: 'Orders.Read Orders.Write',
})

describe('the set x-auth-request', () => {
  const set = createHeaderSet('x-auth-request')
  it('carries a user', () =>
    assert.deepEqual(headersOf(set, rich, [ids.group]), {
      'X-Auth-Request-User': ids.user,
      'X-Auth-Request-Tenant': ids.contoso,
      'X-Auth-Request-Actor': 'user',
      'X-Auth-Request-Client': ids.client,
      'X-Auth-Request-Preferred-Username': 'adele@contoso.example',
      'X-Auth-Request-Name': 'Adele Vance',
      'X-Auth-Request-Email': 'adele@contoso.example',
      'X-Auth-Request-Roles': 'Orders.Admin,a%2Cb',
      'X-Auth-Request-Groups': ids.group,
      'X-Auth-Request-Scopes': 'Orders.Read Orders.Write',
      'X-Auth-Request-Token-Id': 'uti-of-a-user-token-v2',
    }))
  it('leaves empty what an app does not have', () =>
    assert.deepEqual(headersOf(set, v2App({ uti: undefined, roles: undefined })), {
      'X-Auth-Request-User': ids.app,
      'X-Auth-Request-Tenant': ids.contoso,
      'X-Auth-Request-Actor': 'app',
      'X-Auth-Request-Client': ids.client,
      'X-Auth-Request-Preferred-Username': '',
      'X-Auth-Request-Name': '',
      'X-Auth-Request-Email': '',
      'X-Auth-Request-Roles': '',
      'X-Auth-Request-Groups': '',
      'X-Auth-Request-Scopes': '',
      'X-Auth-Request-Token-Id': '',
    }))
  for (const [name, claims, expected] of [
    ['preferred_username first', { preferred_username: 'p', upn: 'u', unique_name: 'n' }, 'p'],
    ['then upn', { preferred_username: undefined, upn: 'u', unique_name: 'n' }, 'u'],
    ['then unique_name', { preferred_username: '', upn: undefined, unique_name: 'n' }, 'n'],
  ] as const) {
    it(`takes the user name from ${name}`, () =>
      assert.equal(
        headersOf(set, v2User({ ...claims }))['X-Auth-Request-Preferred-Username'],
        expected,
      ))
  }
  for (const verified of [true, 1, '1', 'true']) {
    it(`passes an address on whose domain is verified: ${JSON.stringify(verified)}`, () =>
      assert.equal(
        headersOf(set, v2User({ email: 'a@b.example', xms_edov: verified }))[
          'X-Auth-Request-Email'
        ],
        'a@b.example',
      ))
  }
})

describe('the set remote-user', () => {
  const set = createHeaderSet('remote-user')
  it('carries a user', () =>
    assert.deepEqual(headersOf(set, rich, [ids.group, ids.otherGroup]), {
      'Remote-User': ids.user,
      'Remote-Name': 'Adele Vance',
      'Remote-Email': 'adele@contoso.example',
      'Remote-Groups': `${ids.group},${ids.otherGroup}`,
    }))
  it('shows the user name where there is no display name', () =>
    assert.equal(
      headersOf(set, v2User({ name: undefined }))['Remote-Name'],
      'adele@contoso.example',
    ))
  it('shows of an app its id alone', () =>
    assert.deepEqual(headersOf(set, v2App()), {
      'Remote-User': ids.app,
      'Remote-Name': '',
      'Remote-Email': '',
      'Remote-Groups': '',
    }))
})

describe('the set app-service', () => {
  const set = createHeaderSet('app-service')
  const principalOf = (token: string, groups: readonly string[] = []) =>
    JSON.parse(
      Buffer.from(
        String(headersOf(set, token, groups)['X-MS-CLIENT-PRINCIPAL']),
        'base64',
      ).toString('utf8'),
    ) as { claims: { typ: string; val: string }[] }
  it('names the identity provider, the user and the display name', () => {
    const headers = headersOf(set, rich)
    assert.equal(headers['X-MS-CLIENT-PRINCIPAL-ID'], ids.user)
    assert.equal(headers['X-MS-CLIENT-PRINCIPAL-NAME'], 'adele@contoso.example')
    assert.equal(headers['X-MS-CLIENT-PRINCIPAL-IDP'], 'aad')
  })
  it('carries the claims of a user as App Service names them', () =>
    assert.deepEqual(principalOf(rich, [ids.group]), {
      auth_typ: 'aad',
      claims: [
        { typ: 'aud', val: ids.api },
        { typ: 'iss', val: `https://login.microsoftonline.com/${ids.contoso}/v2.0` },
        { typ: 'http://schemas.microsoft.com/identity/claims/tenantid', val: ids.contoso },
        { typ: 'http://schemas.microsoft.com/identity/claims/objectidentifier', val: ids.user },
        { typ: 'azp', val: ids.client },
        { typ: 'name', val: 'Adele Vance' },
        { typ: 'preferred_username', val: 'adele@contoso.example' },
        {
          typ: 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress',
          val: 'adele@contoso.example',
        },
        {
          typ: 'http://schemas.microsoft.com/identity/claims/scope',
          val: 'Orders.Read Orders.Write',
        },
        { typ: 'roles', val: 'Orders.Admin' },
        { typ: 'roles', val: 'a,b' },
        { typ: 'groups', val: ids.group },
      ],
      name_typ: 'name',
      role_typ: 'roles',
    }))
  it('names the client of a v1.0 token as appid', () =>
    assert.deepEqual(
      principalOf(v1User()).claims.filter(({ val }) => val === ids.client),
      [{ typ: 'appid', val: ids.client }],
    ))
  it('leaves out what an app does not have', () =>
    assert.deepEqual(
      principalOf(v2App()).claims.map(({ typ }) => typ.split('/').at(-1)),
      ['aud', 'iss', 'tenantid', 'objectidentifier', 'azp', 'roles'],
    ))
  it('keeps non-ASCII inside base64', () => {
    const headers = headersOf(set, v2User({ name: 'Mü\r\nller', preferred_username: undefined }))
    assert.match(String(headers['X-MS-CLIENT-PRINCIPAL']), /^[A-Za-z0-9+/]+=*$/)
    assert.equal(headers['X-MS-CLIENT-PRINCIPAL-NAME'], 'M%C3%BC%0D%0Aller')
  })
  it('has no name where the token has none', () =>
    assert.equal(headersOf(set, v2App())['X-MS-CLIENT-PRINCIPAL-NAME'], ''))
})

describe('a map of headers', () => {
  it('carries each claim that the configuration may name', () => {
    assert.deepEqual([...mappableClaims].sort(), [...HEADER_CLAIMS].sort())
    const map = Object.fromEntries(HEADER_CLAIMS.map((claim) => [`X-${claim}`, claim]))
    assert.deepEqual(headersOf(createHeaderSet(map), rich, [ids.group, ids.otherGroup]), {
      'X-oid': ids.user,
      'X-tid': ids.contoso,
      'X-azp': ids.client,
      'X-actor': 'user',
      'X-preferred_username': 'adele@contoso.example',
      'X-name': 'Adele Vance',
      'X-email': 'adele@contoso.example',
      'X-roles': 'Orders.Admin,a%2Cb',
      'X-groups': `${ids.group},${ids.otherGroup}`,
      'X-scp': 'Orders.Read Orders.Write',
      'X-uti': 'uti-of-a-user-token-v2',
      'X-sub': tokenOf(rich).subject,
    })
  })
  it('leaves empty what an app does not have', () => {
    const map = Object.fromEntries(HEADER_CLAIMS.map((claim) => [`X-${claim}`, claim]))
    const headers = headersOf(createHeaderSet(map), v2App({ uti: undefined, roles: [] }))
    const empty = Object.keys(headers).filter((name) => headers[name] === '')
    assert.deepEqual(empty.sort(), [
      'X-email',
      'X-groups',
      'X-name',
      'X-preferred_username',
      'X-roles',
      'X-scp',
      'X-uti',
    ])
  })
  for (const claim of ['password', '__proto__', 'constructor']) {
    it(`cannot name ${claim}`, () =>
      assert.throws(() => createHeaderSet({ 'X-Claim': claim }), /no header can carry/))
  }
  it('keeps the order of its headers', () => {
    const set = createHeaderSet({ 'X-B': 'oid', 'X-A': 'tid' })
    assert.deepEqual(set.names, ['X-B', 'X-A'])
    assert.equal(set.list, 'X-B,X-A')
  })
})

describe('the size of an identity', () => {
  it('counts name, value, colon, space and line end of each header that has a value', () =>
    assert.equal(identityBytes(['X-A', 'X-B', 'X-C'], ['12345', '', '1']), 3 + 5 + 4 + (3 + 1 + 4)))
  it('counts a value that is not there as empty', () => assert.equal(identityBytes(['X-A'], []), 0))
})

describe('encoding', () => {
  it('leaves printable ASCII alone', () => {
    const printable = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i))
      .join('')
      .replace('%', '')
    assert.equal(encodeValue(`x${printable}x`), `x${printable}x`)
  })
  it('encodes the percent sign, so that it can be undone', () =>
    assert.equal(encodeValue('%41'), '%2541'))
  it('encodes the spaces at both ends, and none between', () => {
    assert.equal(encodeValue(' a  b '), '%20a  b%20')
    assert.equal(encodeValue('  a b  '), '%20%20a b%20%20')
    assert.equal(encodeValue(' '), '%20')
    assert.equal(encodeValue('a '), 'a%20')
    assert.equal(encodeValue(' a'), '%20a')
  })
  it('encodes what is not ASCII as UTF-8, and leaves the rest of the text alone', () =>
    assert.equal(encodeValue('\u00e4 b \u{1f600}c\u007f'), '%C3%A4 b %F0%9F%98%80c%7F'))
  it('leaves the empty text empty', () => assert.equal(encodeValue(''), ''))
  it('encodes the separator of a list inside an item', () => {
    assert.equal(encodeList(['a b', 'c,d'], ' '), 'a%20b c,d')
    assert.equal(encodeList(['a b', 'c,d'], ','), 'a b,c%2Cd')
  })
  it('gives an empty list the empty text', () => assert.equal(encodeList([], ','), ''))
})
