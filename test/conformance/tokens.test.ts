import { createHash, generateKeyPairSync } from 'node:crypto'
import { after, describe, it } from 'node:test'
import type { FailureCode } from '../../src/failure.ts'
import { tenantKey } from '../support/authority.ts'
import { assertAllowed, assertInvalidToken } from '../support/expect.ts'
import { ids, startSeconds } from '../support/ids.ts'
import { grants, startService, verify } from '../support/service.ts'
import { impostorOf, jwkOf, signingKey } from '../support/signing-keys.ts'
import {
  base64url,
  type Members,
  managedIdentity,
  readToken,
  signSegments,
  signTexts,
  signToken,
  signWith,
  v1User,
  v2App,
  v2IdToken,
  v2User,
} from '../support/tokens.ts'

const service = await startService()
after(() => service.close())

const key = tenantKey(ids.contoso)
const good = readToken(v2User())
const [goodHeader = '', goodPayload = '', goodSignature = ''] = v2User().split('.')

function refuses(what: string, token: string, reason: FailureCode): void {
  it(`refuses ${what}`, async () =>
    assertInvalidToken(await verify(service, 'default', token), reason))
}

function admits(what: string, token: string): void {
  it(`admits ${what}`, async () => assertAllowed(await verify(service, 'default', token)))
}

describe('kinds of token', () => {
  admits('a v2.0 user token with the required scope', v2User())
  admits('a v1.0 user token whose audience is the App ID URI', v1User())
  admits('a v1.0 user token whose audience is the client id', v1User({ aud: ids.api }))
  admits('a v2.0 app-only token with the role', v2App())
  admits('a token of a managed identity with the role', managedIdentity())
  refuses('an ID token of the same registration', v2IdToken(), 'not_an_access_token')
  refuses('an ID token with roles', v2IdToken({ roles: ['Orders.Process'] }), 'not_an_access_token')
  refuses(
    'an ID token that was given a client',
    v2IdToken({ azp: ids.client, roles: ['Orders.Process'] }),
    'not_an_access_token',
  )
  refuses('an opaque string', 'EwBwA8l6BAAUkj1NuJYtTVha+Mogk+HEiPbQo04AAQ', 'token_malformed')
  refuses(
    'a refresh token',
    `1.${base64url(Buffer.alloc(24, 7))}.AgABAwEAAAD.${base64url(Buffer.alloc(300, 9))}`,
    'token_malformed',
  )
  refuses(
    'a token for Microsoft Graph, whose header has a nonce',
    v2User({ aud: '00000003-0000-0000-c000-000000000000' }, { header: { nonce: 'Ab3' } }),
    'token_for_graph',
  )
  refuses(
    'a sender-constrained token',
    v2User({ cnf: { kid: 'k', xms_ksl: 'sw' } }),
    'sender_constrained',
  )
  refuses(
    'a sender-constrained token whose cnf is null',
    v2User({ cnf: null }),
    'sender_constrained',
  )
  refuses(
    'an encrypted token',
    [base64url('{"alg":"RSA-OAEP","enc":"A256GCM"}'), 'a2V5', 'aXY', 'dGV4dA', 'dGFn'].join('.'),
    'token_encrypted',
  )
  refuses('a token with idtyp "device"', v2App({ idtyp: 'device' }), 'not_an_access_token')
  refuses('a token with idtyp "App"', v2App({ idtyp: 'App' }), 'not_an_access_token')
})

describe('form', () => {
  refuses('two segments', `${goodHeader}.${goodPayload}`, 'token_malformed')
  refuses('four segments', `${v2User()}.${goodSignature}`, 'token_malformed')
  refuses('six segments', 'a.b.c.d.e.f', 'token_malformed')
  refuses('an empty signature', `${goodHeader}.${goodPayload}.`, 'signature_invalid')
  refuses('an empty header', `.${goodPayload}.${goodSignature}`, 'token_malformed')
  refuses('an empty payload', `${goodHeader}..${goodSignature}`, 'token_malformed')
  refuses('a dot before the token', `.${v2User()}`, 'token_malformed')
  refuses('padding after the signature', `${v2User()}==`, 'token_malformed')
  refuses(
    'padding after the payload',
    signSegments(goodHeader, pad(goodPayload), key),
    'token_malformed',
  )
  refuses(
    'padding after the header',
    signSegments(pad(goodHeader), goodPayload, key),
    'token_malformed',
  )
  refuses(
    'the alphabet of plain base64',
    signSegments(goodHeader, base64url('{"a":"\u00ff\u00fe~~~???"}').replaceAll('_', '/'), key),
    'token_malformed',
  )
  for (const [name, character] of [
    ['a percent sign', '%'],
    ['an exclamation mark', '!'],
    ['an asterisk', '*'],
    ['a plus sign', '+'],
  ] as const) {
    refuses(
      `${name} in the payload`,
      signSegments(goodHeader, `${goodPayload}${character}`, key),
      'token_malformed',
    )
    refuses(`${name} in the signature`, `${v2User()}${character}`, 'token_malformed')
  }
  refuses(
    'a signature whose last character has unused bits set',
    `${v2User().slice(0, -1)}${nextCharacter(goodSignature.slice(-1))}`,
    'token_malformed',
  )
  for (const [name, text] of [
    ['an array', '[]'],
    ['an array around the object', `[${JSON.stringify(good.claims)}]`],
    ['a string', '"claims"'],
    ['a number', '1'],
    ['null', 'null'],
    ['true', 'true'],
    ['empty', ' '],
    ['cut short', JSON.stringify(good.claims).slice(0, -1)],
    ['followed by more', `${JSON.stringify(good.claims)}{}`],
    ['not JSON but JavaScript', "{aud:'x'}"],
    ['a string without end', '{"aud":"x'],
    ['written with a byte order mark', `\ufeff${JSON.stringify(good.claims)}`],
  ] as const) {
    refuses(
      `a payload that is ${name}`,
      signTexts(JSON.stringify(good.header), text, key),
      'token_malformed',
    )
    refuses(
      `a header that is ${name}`,
      signTexts(text, JSON.stringify(good.claims), key),
      'token_malformed',
    )
  }
  refuses(
    'a payload that is not UTF-8',
    signTexts(
      JSON.stringify(good.header),
      Buffer.from(JSON.stringify({ ...good.claims, name: 'Ad\u00e8le' }), 'latin1'),
      key,
    ),
    'token_malformed',
  )
  refuses('a payload nested 17 levels deep', withPayload(nested(16)), 'token_malformed')
  admits('a payload nested 16 levels deep', withPayload(nested(15)))
  admits('a token of exactly 16 KiB', tokenOfLength(16 * 1024))
  refuses('a token one character over 16 KiB', `${tokenOfLength(16 * 1024)}A`, 'token_too_long')
})

describe('members that stand twice', () => {
  const payload = JSON.stringify(good.claims)
  const twice = (member: string) => withPayloadText(payload.replace('{', `{${member},`))
  refuses('two aud', twice('"aud":"x"'), 'token_malformed')
  refuses('two equal aud', twice(`"aud":"${ids.api}"`), 'token_malformed')
  refuses('two tid', twice(`"tid":"${ids.fabrikam}"`), 'token_malformed')
  refuses('two iss', twice('"iss":"https://evil.test/"'), 'token_malformed')
  refuses('two exp', twice('"exp":1'), 'token_malformed')
  refuses(
    'a member twice of which one is written with an escape',
    twice('"\\u0061ud":"x"'),
    'token_malformed',
  )
  refuses('a nested member twice', twice('"x":{"a":1,"a":2}'), 'token_malformed')
  refuses('a member twice inside an array', twice('"x":[{"a":1,"a":2}]'), 'token_malformed')
  refuses('a whole object twice', twice('"x":{"a":1},"x":{"b":1}'), 'token_malformed')
  refuses('tid beside TID', v2User({ TID: ids.contoso }), 'token_malformed')
  refuses('roles beside Roles', v2User({ roles: [], Roles: ['Orders.Process'] }), 'token_malformed')
  refuses('scp beside SCP', v2User({ SCP: 'Orders.Write' }), 'token_malformed')
  refuses(
    'two alg in the header',
    signTexts(`{"alg":"none",${JSON.stringify(good.header).slice(1)}`, payload, key),
    'token_malformed',
  )
  refuses('kid beside KID', v2User({}, { header: { KID: 'x' } }), 'token_malformed')
  admits('colons, braces and quotation marks in a string', v2User({ name: 'a":{"b":[1],\\' }))
})

describe('algorithms', () => {
  for (const alg of ['none', 'None', 'NONE', 'nOnE']) {
    const header = base64url(JSON.stringify({ ...good.header, alg }))
    refuses(
      `alg ${alg} with the signature left in place`,
      `${header}.${goodPayload}.${goodSignature}`,
      'algorithm_not_allowed',
    )
    refuses(`alg ${alg} without a signature`, `${header}.${goodPayload}.`, 'algorithm_not_allowed')
  }
  const pem = key.publicKey.export({ type: 'spki', format: 'pem' }) as string
  const pkcs1 = key.publicKey.export({ type: 'pkcs1', format: 'pem' }) as string
  const { n = '' } = key.publicKey.export({ format: 'jwk' })
  refuses(
    'HS256 keyed with the public key as PEM',
    signWith('HS256', good.header, good.claims, pem),
    'algorithm_not_allowed',
  )
  refuses(
    'HS256 keyed with the public key as PKCS#1',
    signWith('HS256', good.header, good.claims, pkcs1),
    'algorithm_not_allowed',
  )
  refuses(
    'HS256 keyed with the modulus',
    signWith('HS256', good.header, good.claims, n),
    'algorithm_not_allowed',
  )
  refuses(
    'HS512 keyed with the public key',
    signWith('HS512', good.header, good.claims, pem),
    'algorithm_not_allowed',
  )
  refuses(
    'PS256 signed with the genuine key',
    signWith('PS256', good.header, good.claims, key.privateKey),
    'algorithm_not_allowed',
  )
  refuses(
    'RS512 signed with the genuine key',
    signWith('RS512', good.header, good.claims, key.privateKey),
    'algorithm_not_allowed',
  )
  refuses(
    'RS384 signed with the genuine key',
    signWith('RS384', good.header, good.claims, key.privateKey),
    'algorithm_not_allowed',
  )
  refuses(
    'ES256',
    signWith('ES256', good.header, good.claims, ellipticKey('P-256')),
    'algorithm_not_allowed',
  )
  refuses(
    'alg rs256 in lower case',
    v2User({}, { header: { alg: 'rs256' } }),
    'algorithm_not_allowed',
  )
  refuses('no alg', v2User({}, { header: { alg: undefined } }), 'algorithm_not_allowed')
  refuses('alg in an array', v2User({}, { header: { alg: ['RS256'] } }), 'algorithm_not_allowed')
  refuses(
    'a header that says RS256 over a PS256 signature',
    swapHeader(signWith('PS256', good.header, good.claims, key.privateKey), goodHeader),
    'signature_invalid',
  )
})

describe('the JOSE header', () => {
  const attacker = signingKey('attacker')
  const jwk = jwkOf(attacker)
  const forged = (header: Members) => v2User({}, { key: impostorOf(key), header })
  refuses('a missing kid', v2User({}, { header: { kid: undefined } }), 'key_id_missing')
  refuses('an empty kid', v2User({}, { header: { kid: '' } }), 'key_id_missing')
  refuses('a kid that is a number', v2User({}, { header: { kid: 1 } }), 'key_id_missing')
  refuses('a kid in an array', v2User({}, { header: { kid: [key.id] } }), 'key_id_missing')
  refuses(
    'a kid of 257 characters',
    v2User({}, { header: { kid: 'k'.repeat(257) } }),
    'key_id_missing',
  )
  refuses(
    'an unknown crit',
    v2User({}, { header: { crit: ['exp2'], exp2: 1 } }),
    'header_not_allowed',
  )
  refuses('an empty crit', v2User({}, { header: { crit: [] } }), 'header_not_allowed')
  refuses(
    'crit b64 with b64 false',
    v2User({}, { header: { crit: ['b64'], b64: false } }),
    'header_not_allowed',
  )
  refuses('b64 without crit', v2User({}, { header: { b64: false } }), 'header_not_allowed')
  refuses('a jwk of an attacker', forged({ jwk }), 'header_not_allowed')
  refuses('a jku of an attacker', forged({ jku: 'https://evil.test/keys' }), 'header_not_allowed')
  refuses('an x5u of an attacker', forged({ x5u: 'https://evil.test/cert' }), 'header_not_allowed')
  refuses('an x5c of an attacker', forged({ x5c: ['MIIB'] }), 'header_not_allowed')
  refuses(
    'a jwk that is the genuine key',
    v2User({}, { header: { jwk: jwkOf(key) } }),
    'header_not_allowed',
  )
  refuses(
    'enc in a token of three parts',
    v2User({}, { header: { enc: 'A256GCM' } }),
    'token_encrypted',
  )
  refuses('zip', v2User({}, { header: { zip: 'DEF' } }), 'token_encrypted')
  refuses(
    'typ at+jwt, which Entra does not emit',
    v2User({}, { header: { typ: 'at+jwt' } }),
    'not_an_access_token',
  )
  refuses('typ dpop+jwt', v2User({}, { header: { typ: 'dpop+jwt' } }), 'not_an_access_token')
  refuses('typ null', v2User({}, { header: { typ: null } }), 'not_an_access_token')
  admits('no typ', v2User({}, { header: { typ: undefined } }))
})

describe('the signature', () => {
  for (const [name, position] of [
    ['first', 0],
    ['middle', 1023],
    ['last', 2047],
  ] as const) {
    const token = v2User({ uti: `flip-${position}` })
    refuses(`one bit flipped: the ${name}`, flipSignatureBit(token, position), 'signature_invalid')
  }
  refuses(
    'an altered payload',
    swapPayload(v2User(), { ...good.claims, scp: 'Orders.Read Orders.Write' }),
    'signature_invalid',
  )
  refuses(
    'an altered header',
    swapHeader(v2User(), base64url(JSON.stringify({ ...good.header, x: 1 }))),
    'signature_invalid',
  )
  refuses(
    'a signature of another token',
    `${goodHeader}.${readSegment(v2User({ uti: 'other' }), 1)}.${goodSignature}`,
    'signature_invalid',
  )
  refuses(
    'a signature by another key under the same kid',
    v2User({}, { key: impostorOf(key) }),
    'signature_invalid',
  )
  refuses('a signature cut by one byte', cutSignature(v2User(), 1), 'signature_invalid')
  refuses('a signature with a zero byte before it', prefixSignature(v2User()), 'signature_invalid')
  refuses('a signature of zeros', withSignature(v2User(), Buffer.alloc(256)), 'signature_invalid')
  refuses(
    'the bare hash as signature',
    withSignature(v2User(), createHash('sha256').update(`${goodHeader}.${goodPayload}`).digest()),
    'signature_invalid',
  )
})

describe('claims that an access token must have', () => {
  for (const claim of ['aud', 'exp', 'iat', 'iss', 'tid', 'sub', 'oid', 'azp']) {
    refuses(`a v2.0 token without ${claim}`, v2User({ [claim]: undefined }), 'claim_missing')
  }
  refuses('a v1.0 token without appid', v1User({ appid: undefined }), 'claim_missing')
  refuses(
    'a v1.0 token with azp in place of appid',
    v1User({ appid: undefined, azp: ids.client }),
    'claim_missing',
  )
  refuses(
    'a v2.0 token with appid in place of azp',
    v2User({ azp: undefined, appid: ids.client }),
    'claim_missing',
  )
  refuses('azp and appid that differ', v2User({ appid: ids.otherClient }), 'claim_malformed')
  refuses('a missing ver', v2User({ ver: undefined }), 'version_unknown')
  for (const ver of ['3.0', '2', 'v2.0', '1', '', 2, null, ['2.0']]) {
    refuses(`ver ${JSON.stringify(ver)}`, v2User({ ver }), 'version_unknown')
  }
  admits('a token without nbf', v2User({ nbf: undefined }))
  admits('claims that are not known here', v2User({ brand_new: { a: [1] }, wids: ['x'] }))
})

describe('claims of the wrong type', () => {
  const notText = [null, 0, true, [], ['x'], {}]
  for (const claim of ['aud', 'iss', 'tid', 'sub', 'oid', 'azp']) {
    for (const value of [...notText, '']) malformed(claim, value)
  }
  for (const claim of [
    'uti',
    'idtyp',
    'azpacr',
    'scp',
    'name',
    'preferred_username',
    'upn',
    'unique_name',
    'email',
    'xms_act_fct',
    'xms_sub_fct',
  ]) {
    for (const value of notText) malformed(claim, value)
  }
  for (const claim of ['uti', 'azpacr', 'idtyp', 'xms_act_fct']) malformed(claim, '')
  for (const claim of ['roles', 'groups', 'acrs', 'xms_cc']) {
    for (const value of [null, 0, true, 'x', '', {}, [1], [null], [''], [['x']], [{}], ['x', 1]]) {
      malformed(claim, value)
    }
  }
  for (const claim of ['exp', 'iat', 'nbf']) {
    const seconds = startSeconds + 60
    for (const value of [null, true, String(seconds), '', [seconds], {}, seconds + 0.5, -1]) {
      malformed(claim, value)
    }
  }
  for (const value of [null, '0', true, 2, -1, [], {}]) malformed('acct', value)
  for (const value of [null, 'groups', 1, true, ['groups']]) malformed('_claim_names', value)
  for (const value of [null, 'true', 1, [], {}]) malformed('hasgroups', value)
  for (const value of ['3', '00', 'x', '1 ']) malformed('azpacr', value)
  for (const value of ['11,13', '11  13', ' 11', '11 ', '011', '+11', '11.0', '0x0b', 'eleven']) {
    malformed('xms_act_fct', value)
  }
  for (const claim of ['oid', 'azp', 'tid']) {
    for (const value of [
      'not-a-guid',
      `{${ids.user}}`,
      ids.user.toUpperCase(),
      ids.user.replaceAll('-', ''),
      ` ${ids.user}`,
      `${ids.user}\n`,
    ]) {
      malformed(claim, value)
    }
  }
  malformed('name', 'a lone surrogate: \ud800')
  malformed('roles', ['\udfff'])
  for (const number of ['1e400', '-1e400', '9007199254740993']) {
    refuses(
      `exp ${number}`,
      withPayloadText(JSON.stringify(good.claims).replace(/"exp":\d+/, `"exp":${number}`)),
      'claim_malformed',
    )
  }
  refuses('exp not after iat', v2User({ exp: startSeconds - 300 }), 'claim_malformed')

  function malformed(claim: string, value: unknown): void {
    refuses(`${claim} ${JSON.stringify(value)}`, v2User({ [claim]: value }), 'claim_malformed')
  }
})

describe('a configuration that requires idtyp', () => {
  it('refuses an app-only token without it', async () => {
    const strict = await startService({ policy: { requireIdtyp: true, allow: [grants.app] } })
    after(() => strict.close())
    assertInvalidToken(await verify(strict, 'default', managedIdentity()), 'not_an_access_token')
    assertAllowed(await verify(strict, 'default', v2App()))
  })
})

function pad(segment: string): string {
  return segment.padEnd(Math.ceil((segment.length + 1) / 4) * 4, '=')
}

/** The neighbour of the last character, which decodes to the same bytes. */
function nextCharacter(character: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return alphabet[alphabet.indexOf(character) + 1] ?? ''
}

function withPayload(claims: Members): string {
  return signToken(good.header, claims, key)
}

function withPayloadText(text: string): string {
  return signTexts(JSON.stringify(good.header), text, key)
}

function nested(levels: number): Members {
  let value: unknown = {}
  for (let i = 1; i < levels; i++) value = { a: value }
  return { ...good.claims, nested: value }
}

/** The signature's 342 characters, two dots and the header stand; the payload fills the rest. */
function tokenOfLength(length: number): string {
  for (let filling = 1; ; filling++) {
    const token = v2User({ filling: 'x'.repeat(11_000 + filling) })
    if (token.length === length) return token
    if (token.length > length) throw new Error('no token of this length')
  }
}

function readSegment(token: string, index: number): string {
  return token.split('.')[index] ?? ''
}

function swapHeader(token: string, header: string): string {
  return [header, readSegment(token, 1), readSegment(token, 2)].join('.')
}

function swapPayload(token: string, claims: Members): string {
  return [readSegment(token, 0), base64url(JSON.stringify(claims)), readSegment(token, 2)].join('.')
}

function withSignature(token: string, signature: Buffer): string {
  return [readSegment(token, 0), readSegment(token, 1), base64url(signature)].join('.')
}

function signatureOf(token: string): Buffer {
  return Buffer.from(readSegment(token, 2), 'base64url')
}

function flipSignatureBit(token: string, bit: number): string {
  const signature = signatureOf(token)
  signature.writeUInt8(signature.readUInt8(bit >> 3) ^ (0x80 >> (bit & 7)), bit >> 3)
  return withSignature(token, signature)
}

function cutSignature(token: string, bytes: number): string {
  return withSignature(token, signatureOf(token).subarray(bytes))
}

function prefixSignature(token: string): string {
  return withSignature(token, Buffer.concat([Buffer.alloc(1), signatureOf(token)]))
}

function ellipticKey(namedCurve: string) {
  return generateKeyPairSync('ec', { namedCurve }).privateKey
}
