import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { ids, startSeconds } from '../support/ids.ts'
import { webClient } from '../support/sessions.ts'
import {
  askedOf,
  callbackOf,
  idTokenOf,
  openBrowser,
  type SignInService,
  startSignIn,
} from '../support/sign-in.ts'
import { signingKey } from '../support/signing-keys.ts'
import { type Members, readToken, signWith, type TokenOptions } from '../support/tokens.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

/** The callback where the token endpoint answers with this ID token. */
async function signInBy(tokenFor: (nonce: string) => unknown) {
  const browser = openBrowser(service)
  const asked = askedOf(await browser.visit('/oauth2/start'))
  service.authority.token = () => ({
    status: 200,
    body: {
      token_type: 'Bearer',
      access_token: 'opaque',
      expires_in: 3_600,
      id_token: tokenFor(asked.get('nonce') ?? ''),
    },
  })
  const page = await browser.visit(callbackOf(asked, { code: 'code' }))
  return { page, isSignedIn: browser.cookies.has(sessionCookie) }
}

const refused: Readonly<Record<string, readonly [claims: Members, options?: TokenOptions]>> = {
  'of another client': [{ aud: ids.client }],
  'of an API': [{ aud: ids.api }],
  'of several audiences': [{ aud: [webClient, ids.client] }],
  'of this client in upper case': [{ aud: 'A3333333-3333-4333-8333-333333333333' }],
  'without an audience': [{ aud: undefined }],
  'of this client as an audience in a list': [{ aud: [webClient] }],
  'that another client may use': [{ azp: ids.client }],
  'with an authorised party that is no text': [{ azp: [webClient] }],
  'with times beyond the whole numbers': [{ exp: 1e300 }],
  'with a time as text': [{ exp: String(startSeconds + 3_600) }],
  'with a user id in upper case': [{ oid: ids.user.toUpperCase() }],
  'of a tenant that is not whose people sign in': [{}, { tenant: ids.fabrikam }],
  'of a tenant that is not configured': [{}, { tenant: ids.stranger }],
  'that names another tenant': [{ tid: ids.fabrikam }],
  'of another issuer': [{ iss: 'https://login.microsoftonline.com/evil/v2.0' }],
  'of the issuer with a slash more': [
    { iss: `https://login.microsoftonline.com/${ids.contoso}/v2.0/` },
  ],
  'of version 1.0': [{ ver: '1.0', iss: `https://sts.windows.net/${ids.contoso}/` }],
  'without a version': [{ ver: undefined }],
  'without an issuer': [{ iss: undefined }],
  'without sub': [{ sub: undefined }],
  'without oid': [{ oid: undefined }],
  'with an oid that is none': [{ oid: 'adele' }],
  'that has expired': [{ exp: startSeconds - 301 }],
  'that is not valid yet': [{ nbf: startSeconds + 301 }],
  'from the future': [{ iat: startSeconds + 301, nbf: startSeconds }],
  'that ends before it begins, both within the skew': [
    { nbf: startSeconds + 100, exp: startSeconds + 50 },
  ],
  'that ends before it was issued': [
    { iat: startSeconds + 100, nbf: startSeconds, exp: startSeconds + 50 },
  ],
  'without an end': [{ exp: undefined }],
  'without a beginning': [{ iat: undefined }],
  'with roles that are no list': [{ roles: 'Admin' }],
  'with groups and too many groups': [{ groups: [ids.group], hasgroups: true }],
  'with an unknown kind of account': [{ acct: 2 }],
  'signed by a key that is not published': [{}, { key: signingKey('of nobody') }],
  'of type at+jwt': [{}, { header: { typ: 'at+jwt' } }],
  'that brings its own key': [{}, { header: { jwk: {} } }],
  'with a critical extension': [{}, { header: { crit: ['x'] } }],
  'without a key id': [{}, { header: { kid: undefined } }],
}

describe('an ID token', () => {
  it('as Entra issues it signs in', async () => {
    assert.equal((await signInBy((nonce) => idTokenOf(nonce))).isSignedIn, true)
    const own = { azp: webClient }
    assert.equal((await signInBy((nonce) => idTokenOf(nonce, own))).isSignedIn, true)
  })

  for (const [name, [claims, options]] of Object.entries(refused)) {
    it(`${name} is refused`, async () => {
      const { page, isSignedIn } = await signInBy((nonce) => idTokenOf(nonce, claims, options))
      assert.equal(page.reason, 'id_token_refused')
      assert.equal(page.status, 502)
      assert.equal(isSignedIn, false)
      assert.deepEqual(page.setCookies, [])
    })
  }

  it('of another algorithm or none is refused', async () => {
    const { privateKey: rsa } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const { privateKey: ec } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    for (const [alg, key] of [
      ['PS256', rsa],
      ['RS512', rsa],
      ['ES256', ec],
      ['HS256', 'a-client-secret'],
    ] as const) {
      const { isSignedIn } = await signInBy((nonce) => {
        const { header, claims } = readToken(idTokenOf(nonce))
        return signWith(alg, header, claims, key)
      })
      assert.equal(isSignedIn, false, alg)
    }
    const none = await signInBy((nonce) => {
      const { claims } = readToken(idTokenOf(nonce))
      const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
      return `${encode({ alg: 'none' })}.${encode(claims)}.`
    })
    assert.equal(none.isSignedIn, false)
  })

  it('that is altered, missing or no token at all is refused', async () => {
    for (const change of [
      (token: string) => token.slice(0, -2),
      (token: string) => token.replace(/\.([^.]+)\./, '.e30.'),
      (token: string) => `${token}.${token}`,
      () => '',
      () => undefined,
      () => 1,
      () => 'a.b.c',
    ]) {
      const { isSignedIn, page } = await signInBy((nonce) => change(idTokenOf(nonce)))
      assert.equal(isSignedIn, false)
      assert.ok(page.status >= 400)
    }
  })
})
