import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { FailureCode } from '../../src/failure.ts'
import { maxTokenLength, parseBearer } from '../../src/token/bearer.ts'
import { checkHeader, decodeToken, isObject } from '../../src/token/decode.ts'

const encode = (text: string | Buffer) => Buffer.from(text).toString('base64url')
const tokenOf = (payload: string | Buffer, header: string | Buffer = '{}') =>
  `${encode(header)}.${encode(payload)}.`

function refuses(what: string, token: string, failure: FailureCode = 'token_malformed'): void {
  it(`refuses ${what}`, () => assert.deepEqual(decodeToken(token), { ok: false, failure }))
}

function accepts(what: string, payload: string): void {
  it(`accepts ${what}`, () =>
    assert.deepEqual(decodeToken(tokenOf(payload)), {
      ok: true,
      value: { header: {}, payload: JSON.parse(payload) },
    }))
}

describe('a compact token', () => {
  it('comes apart into header and payload', () =>
    assert.deepEqual(decodeToken(`${tokenOf('{"aud":"a"}', '{"alg":"RS256"}')}c2ln`), {
      ok: true,
      value: { header: { alg: 'RS256' }, payload: { aud: 'a' } },
    }))
  const [header = '', payload = ''] = tokenOf('{}').split('.')
  refuses('one part', header)
  refuses('two parts', `${header}.${payload}`)
  refuses('four parts', `${header}.${payload}..`)
  refuses('five parts, which are an encrypted token', `${header}....`, 'token_encrypted')
  refuses('six parts', `${header}.....`)
  refuses('an empty header', `.${payload}.`)
  refuses('an empty payload', `${header}..`)
  for (const signature of ['=', 'c2ln=', 'c2l+', 'c2l/', 'c2 n', ' c2ln', 'c2ln\n', 'a', 'abcde']) {
    refuses(`the signature ${JSON.stringify(signature)}`, `${header}.${payload}.${signature}`)
  }
  for (const part of ['e31=', 'e30=', ' e30', 'e30\n', 'e30e', 'e31', 'e3']) {
    refuses(`the payload ${JSON.stringify(part)}`, `${header}.${part}.`)
    refuses(`the header ${JSON.stringify(part)}`, `${part}.${payload}.`)
  }
  it('takes each string that an encoder produces, and no other of its length', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    for (const start of ['A', 'AA', 'AAAAA', 'AAAAAA']) {
      for (const last of alphabet) {
        const signature = `${start}${last}`
        const canonical = encode(Buffer.from(signature, 'base64url')) === signature
        assert.equal(decodeToken(`${header}.${payload}.${signature}`).ok, canonical, signature)
      }
    }
  })
})

describe('a part of a token', () => {
  for (const text of [
    '',
    ' ',
    'null',
    'true',
    '1',
    '"{}"',
    '[]',
    '[{}]',
    '{',
    '{}{}',
    '\ufeff{}',
  ]) {
    refuses(`the payload ${JSON.stringify(text)}`, tokenOf(text))
    refuses(`the header ${JSON.stringify(text)}`, tokenOf('{}', text))
  }
  refuses('broken UTF-8', tokenOf(Buffer.from('7b2261223a22ff227d', 'hex')))
  refuses('a member twice', tokenOf('{"a":1,"a":1}'))
  refuses('a member twice, once escaped', tokenOf('{"a":1,"\\u0061":1}'))
  refuses('a member twice in an object', tokenOf('{"x":{"a":1,"a":1}}'))
  refuses('a member twice in an array', tokenOf('{"x":[{"a":1,"a":1}]}'))
  refuses('a member twice behind a string of escapes', tokenOf('{"x":"\\\\","a":1,"a":1}'))
  refuses('names that differ in case only', tokenOf('{"tid":1,"TID":2}'))
  // Go's encoding/json reads both as the plain letter.
  refuses('a name with a Kelvin sign for k', tokenOf('{"kid":1,"\u212aid":2}'))
  refuses('a name with a long s for s', tokenOf('{"sub":1,"\u017fub":2}'))
  accepts('names that differ in case inside a member', '{"x":{"a":1,"A":2}}')
  accepts('colons, braces and quotation marks inside strings', '{"a":"\\":{}[]:","b\\":":"\\\\"}')
  accepts('brackets of more than 16 levels inside a string', `{"a":"${'[{'.repeat(20)}"}`)
  accepts('16 levels of arrays', `{"a":${'['.repeat(15)}${']'.repeat(15)}}`)
  accepts('16 levels of objects', `${'{"a":'.repeat(16)}1${'}'.repeat(16)}`)
  accepts('many objects side by side', `{"a":[${Array(20).fill('{"b":[1,null]}').join()}]}`)
  refuses('17 levels of arrays', tokenOf(`{"a":${'['.repeat(16)}${']'.repeat(16)}}`))
  refuses('17 levels of objects', tokenOf(`${'{"a":'.repeat(17)}1${'}'.repeat(17)}`))
  refuses(
    'as many levels as fit into a token',
    tokenOf(`{"a":${'['.repeat(6_000)}${']'.repeat(6_000)}}`),
  )
  refuses('a string without end', tokenOf('{"a":"'))
  refuses('a string that ends in an escape', tokenOf('{"a":"\\'))
})

describe('an object', () => {
  for (const [value, expected] of [
    [{}, true],
    [null, false],
    [[], false],
    ['x', false],
    [undefined, false],
  ] as const) {
    it(`${expected ? 'is' : 'is not'} ${JSON.stringify(value)}`, () =>
      assert.equal(isObject(value), expected))
  }
})

describe('the header of a token', () => {
  const good = { alg: 'RS256', kid: 'k', typ: 'JWT' }
  for (const [what, header, failure, claim] of [
    ['nonce', { nonce: 'x' }, 'token_for_graph', 'nonce'],
    ['enc', { enc: 'x' }, 'token_encrypted', 'enc'],
    ['zip', { zip: 'x' }, 'token_encrypted', 'zip'],
    ['another alg', { alg: 'RS512' }, 'algorithm_not_allowed', 'alg'],
    ['no alg', { alg: undefined }, 'algorithm_not_allowed', 'alg'],
    ...['crit', 'b64', 'jwk', 'jku', 'x5u', 'x5c'].map(
      (name) => [name, { [name]: undefined }, 'header_not_allowed', name] as const,
    ),
    ['another typ', { typ: 'at+jwt' }, 'not_an_access_token', 'typ'],
    ['an empty typ', { typ: '' }, 'not_an_access_token', 'typ'],
    ['no kid', { kid: undefined }, 'key_id_missing', 'kid'],
    ['an empty kid', { kid: '' }, 'key_id_missing', 'kid'],
    ['a kid that is a list', { kid: ['k'] }, 'key_id_missing', 'kid'],
    ['a kid of 257 characters', { kid: 'k'.repeat(257) }, 'key_id_missing', 'kid'],
  ] as const) {
    it(`is refused with ${what}`, () =>
      assert.deepEqual(checkHeader({ ...good, ...header }), { ok: false, failure, claim }))
  }
  it('gives the key id', () => assert.deepEqual(checkHeader(good), { ok: true, value: 'k' }))
  it('may lack typ, and have a kid of 256 characters', () => {
    const kid = 'k'.repeat(256)
    assert.deepEqual(checkHeader({ alg: 'RS256', kid }), { ok: true, value: kid })
  })
})

describe('an Authorization header', () => {
  const tokenLong = 'a'.repeat(maxTokenLength)
  for (const [value, expected] of [
    [undefined, 'no_credentials'],
    ['', 'malformed_credentials'],
    [' Bearer x', 'malformed_credentials'],
    ['Bearer', 'malformed_credentials'],
    ['Bearer  ', 'malformed_credentials'],
    ['Bearer x y', 'malformed_credentials'],
    ['Bearer x ', 'malformed_credentials'],
    ['Bearer x,y', 'malformed_credentials'],
    ['Bearer x\ty', 'malformed_credentials'],
    ['Bearer\tx', 'malformed_credentials'],
    ['Bearer:x', 'malformed_credentials'],
    ['Basic x', 'no_credentials'],
    ['Bearers x', 'no_credentials'],
    ['Negotiate', 'no_credentials'],
    ["!#$%&'*+.^_`|~09azAZ- x", 'no_credentials'],
    [`Bearer ${tokenLong}a`, 'token_too_long'],
  ] as const) {
    it(`is refused: ${value?.slice(0, 24)}`, () =>
      assert.deepEqual(parseBearer(value), { ok: false, failure: expected }))
  }
  for (const value of ['Bearer x', 'bearer x', 'BEARER   x']) {
    it(`gives the token: ${value}`, () =>
      assert.deepEqual(parseBearer(value), { ok: true, value: 'x' }))
  }
  it('may hold a token of 16 KiB', () => {
    assert.equal(maxTokenLength, 16_384)
    assert.deepEqual(parseBearer(`Bearer ${tokenLong}`), { ok: true, value: tokenLong })
  })
})
