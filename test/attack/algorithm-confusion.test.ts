/**
 * Class of advisory: improper verification of a cryptographic signature (CWE-347, CWE-327). `alg:
 * none` and HMAC with the public key went through several JWT libraries (CVE-2015-9235,
 * CVE-2016-10555), keys brought by the token through others (CVE-2018-0114), arrays where a string is
 * expected through fast-jwt (CVE-2025-30144), and prototype names through loosely written look-ups
 * (CWE-1321).
 */

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { after, describe, it } from 'node:test'
import { tenantKey } from '../support/authority.ts'
import { assertAllowed, assertInvalidToken, assertRefused } from '../support/expect.ts'
import { ids } from '../support/ids.ts'
import { type Reply, startService, verify } from '../support/service.ts'
import { impostorOf, jwkOf } from '../support/signing-keys.ts'
import { base64url, readToken, signTexts, signToken, v2App, v2User } from '../support/tokens.ts'

const service = await startService()
after(() => service.close())
const key = tenantKey(ids.contoso)
const attacker = impostorOf(key)
const { header, claims } = readToken(v2User())
const admission = (token: string) => verify(service, 'default', token)

function assertInvalid(reply: Reply): void {
  assert.equal(reply.status, 401)
  assert.equal(reply.challenge?.error, 'invalid_token')
}

describe('the algorithm', () => {
  const spellings = [
    'none',
    'NONE',
    'nOnE',
    'none ',
    ' none',
    'none\0',
    '',
    'null',
    'undefined',
    'RS256,none',
    'rs256',
    'RS256 ',
    'RS256\0',
    'ＲＳ２５６',
  ]
  for (const alg of spellings) {
    for (const [name, signature] of [
      ['the genuine signature', v2User().split('.')[2]],
      ['a signature of one byte', 'AA'],
      ['no signature', ''],
    ] as const) {
      it(`${JSON.stringify(alg)} is refused with ${name}`, async () =>
        assertInvalid(
          await admission(
            [
              base64url(JSON.stringify({ ...header, alg })),
              base64url(JSON.stringify(claims)),
              signature,
            ].join('.'),
          ),
        ))
    }
  }
  const publicForms: Record<string, string | Buffer> = {
    'SPKI as PEM': key.publicKey.export({ type: 'spki', format: 'pem' }),
    'SPKI as PEM without its last line feed': String(
      key.publicKey.export({ type: 'spki', format: 'pem' }),
    ).trim(),
    'SPKI as DER': key.publicKey.export({ type: 'spki', format: 'der' }),
    'PKCS#1 as PEM': key.publicKey.export({ type: 'pkcs1', format: 'pem' }),
    'the JSON Web Key': JSON.stringify(jwkOf(key)),
    'an empty secret': '',
    'the key id': key.id,
  }
  for (const [form, secret] of Object.entries(publicForms)) {
    for (const alg of ['HS256', 'HS384', 'HS512', 'RS256']) {
      it(`${alg} with an HMAC keyed with ${form} is refused`, async () => {
        const input = `${base64url(JSON.stringify({ ...header, alg }))}.${base64url(JSON.stringify(claims))}`
        const bits = alg === 'RS256' ? 'sha256' : `sha${alg.slice(2)}`
        const signature = createHmac(bits, secret).update(input).digest('base64url')
        assertInvalidToken(
          await admission(`${input}.${signature}`),
          alg === 'RS256' ? 'signature_invalid' : 'algorithm_not_allowed',
        )
      })
    }
  }
})

describe('a key that the token brings', () => {
  for (const [name, value] of [
    ['jwk', jwkOf(attacker)],
    ['jwk', null],
    ['jku', `${service.authority.url}/keys`],
    ['jku', 'file:///etc/passwd'],
    ['x5u', `${service.authority.url}/cert`],
    ['x5c', ['MIIC']],
    ['x5c', []],
  ] as const) {
    it(`is not used and not fetched: ${name} ${JSON.stringify(value)?.slice(0, 40)}`, async () => {
      const before = service.authority.requests.length
      assertInvalidToken(
        await admission(v2User({}, { key: attacker, header: { [name]: value } })),
        'header_not_allowed',
      )
      assert.equal(service.authority.requests.length, before)
    })
  }
  for (const kid of [
    '../../../dev/null',
    "' OR 1=1 --",
    '__proto__',
    'constructor',
    'http://evil.test/',
    `${key.id}\0`,
    ` ${key.id}`,
  ]) {
    it(`is not found by the kid ${JSON.stringify(kid)}`, async () =>
      assertInvalidToken(await admission(v2User({}, { header: { kid } })), 'key_unknown'))
  }
})

describe('critical extensions', () => {
  for (const crit of [
    ['exp'],
    ['b64'],
    ['http://example.test/x'],
    [],
    'exp',
    null,
    {},
    [1],
    ['alg'],
    ['__proto__'],
  ]) {
    it(`that are not understood are refused: ${JSON.stringify(crit)}`, async () =>
      assertInvalidToken(
        await admission(v2User({}, { header: { crit, b64: true, exp: 1 } })),
        'header_not_allowed',
      ))
  }
})

describe('JSON that parsers read differently', () => {
  const payload = JSON.stringify(claims)
  const variants: Record<string, string> = {
    'an array around the claims': `[${payload}]`,
    'two documents': `${payload}${payload}`,
    'a comment': payload.replace('{', '{/* */'),
    'a trailing comma': payload.replace(/}$/, ',}'),
    'single quotation marks': payload.replaceAll('"', "'"),
    'NaN as exp': payload.replace(/"exp":\d+/, '"exp":NaN'),
    'Infinity as exp': payload.replace(/"exp":\d+/, '"exp":Infinity'),
    'a hexadecimal exp': payload.replace(/"exp":\d+/, '"exp":0x7fffffff'),
    'an exp with leading zeros': payload.replace(/"exp":/, '"exp":00'),
    'an exp with a plus sign': payload.replace(/"exp":/, '"exp":+'),
    'a byte order mark': `\ufeff${payload}`,
    'a NUL at the end': `${payload}\0`,
    'a raw line feed in a string': payload.replace('Adele', 'Ad\nele'),
    'a member twice': payload.replace('{', '{"aud":"evil",'),
    'a member twice with an escape': payload.replace('{', '{"\\u0061ud":"evil",'),
    'a nested member twice': payload.replace('{', '{"x":{"y":1,"y":2},'),
  }
  for (const [name, text] of Object.entries(variants)) {
    it(`is refused although it was signed: ${name}`, async () =>
      assertInvalidToken(
        await admission(signTexts(JSON.stringify(header), text, key)),
        'token_malformed',
      ))
  }
})

describe('prototype names', () => {
  const raw = (member: string) =>
    signTexts(JSON.stringify(header), JSON.stringify(claims).replace('{', `{${member},`), key)
  it('in the payload give no claim', async () => {
    const text = JSON.stringify({ ...claims, scp: undefined })
    const token = signTexts(
      JSON.stringify(header),
      text.replace('{', '{"__proto__":{"scp":"Orders.Read"},'),
      key,
    )
    assertInvalidToken(await admission(token), 'not_an_access_token')
  })
  it('in the header give no member', async () => {
    const text = `{"__proto__":{"alg":"RS256","kid":${JSON.stringify(key.id)}},"typ":"JWT"}`
    assertInvalidToken(
      await admission(signTexts(text, JSON.stringify(claims), key)),
      'algorithm_not_allowed',
    )
  })
  for (const member of [
    '"__proto__":{"polluted":1}',
    '"constructor":{"prototype":{"polluted":1}}',
    '"toString":1',
    '"hasOwnProperty":1',
    '"__proto__":null',
  ]) {
    it(`are claims like any other: ${member}`, async () => {
      assertAllowed(await admission(raw(member)))
      assert.equal(({} as Record<string, unknown>).polluted, undefined)
    })
  }
  for (const name of ['__proto__', 'constructor', 'prototype', 'hasOwnProperty', 'valueOf']) {
    it(`name no policy: ${name}`, async () =>
      assertRefused(await verify(service, name, v2User()), 404, undefined, 'unknown_policy'))
    it(`name no role: ${name}`, async () => {
      const reply = await admission(v2App({ roles: [name] }))
      assertRefused(reply, 403, 'insufficient_scope', 'role_missing')
    })
    it(`name no tenant: ${name}`, async () =>
      assertInvalidToken(await admission(v2User({ tid: name })), 'claim_malformed'))
    it(`name no version: ${name}`, async () =>
      assertInvalidToken(await admission(v2User({ ver: name })), 'version_unknown'))
  }
})

describe('a genuine key', () => {
  it('of one tenant signs for no other', async () => {
    const token = v2User({}, { key: { ...tenantKey(ids.fabrikam), id: key.id } })
    assertInvalidToken(await admission(token), 'signature_invalid')
  })
  it('signs nothing with claims exchanged afterwards', async () => {
    const [, , signature] = v2User().split('.')
    const other = signToken(header, { ...claims, oid: ids.app }, attacker).split('.')
    assertInvalidToken(
      await admission([other[0], other[1], signature].join('.')),
      'signature_invalid',
    )
  })
})
