import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { AuthError, ConfidentialClientApplication, CryptoProvider } from '@azure/msal-node'
import * as client from 'openid-client'
import { contoso, startTlsAuthority, type TlsAuthority } from './authority.ts'

const portal = '33333333-3333-4333-8333-333333333333'
const redirectUri = 'https://portal.contoso.com/oauth2/callback'
const aliceId = 'a1111111-1111-4111-8111-111111111111'

/** Goes to an address as a client without pages does; returns the address that the answer is for. */
async function visit(address: URL | string): Promise<URL> {
  const response = await fetch(address, { redirect: 'manual' })
  await response.arrayBuffer()
  return new URL(response.headers.get('location') ?? '')
}

function discover({ origin }: TlsAuthority, authentication?: client.ClientAuth) {
  return client.discovery(
    new URL(`${origin}/${contoso}/v2.0`),
    portal,
    authentication ? undefined : 'portal-secret',
    authentication,
  )
}

/** Signs in with everything that openid-client checks. */
async function signIn(config: client.Configuration, more: Record<string, string> = {}) {
  const checks = {
    pkceCodeVerifier: client.randomPKCECodeVerifier(),
    expectedState: client.randomState(),
    expectedNonce: client.randomNonce(),
    idTokenExpected: true,
  }
  const address = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope: 'openid profile offline_access',
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
    code_challenge_method: 'S256',
    login_hint: 'alice',
    ...more,
  })
  return client.authorizationCodeGrant(config, await visit(address), checks)
}

test('openid-client signs in and finds who it is', async (t) => {
  const config = await discover(await startTlsAuthority(t))
  const tokens = await signIn(config)
  assert.equal(tokens.claims()?.oid, aliceId)
  const again = await client.refreshTokenGrant(config, tokens.refresh_token ?? '')
  assert.equal(again.claims()?.sub, tokens.claims()?.sub)
})

test('openid-client is told that nobody is signed in', async (t) => {
  const config = await discover(await startTlsAuthority(t))
  await assert.rejects(
    signIn(config, { prompt: 'none' }),
    (error) =>
      error instanceof client.AuthorizationResponseError &&
      error.error === 'login_required' &&
      /^AADSTS50058: /.test(error.error_description ?? ''),
  )
})

test('openid-client finds the address for signing out', async (t) => {
  const authority = await startTlsAuthority(t)
  const config = await discover(authority)
  const back = 'https://portal.contoso.com/oauth2/signed_out'
  const address = client.buildEndSessionUrl(config, { post_logout_redirect_uri: back })
  assert.equal(address.origin, authority.origin)
  assert.equal((await visit(address)).href, `${back}`)
})

function createMsal(t: TestContext, auth: object = {}) {
  return startTlsAuthority(t).then(
    ({ origin }) =>
      new ConfidentialClientApplication({
        auth: {
          clientId: portal,
          clientSecret: 'portal-secret',
          authority: `${origin}/${contoso}`,
          knownAuthorities: [new URL(origin).host],
          ...auth,
        },
      }),
  )
}

async function signInByMsal(msal: ConfidentialClientApplication) {
  const { verifier, challenge } = await new CryptoProvider().generatePkceCodes()
  const address = await msal.getAuthCodeUrl({
    scopes: [],
    redirectUri,
    loginHint: 'alice',
    codeChallenge: challenge,
    codeChallengeMethod: 'S256',
    responseMode: 'query',
  })
  const code = (await visit(address)).searchParams.get('code') ?? ''
  return msal.acquireTokenByCode({ code, codeVerifier: verifier, scopes: [], redirectUri })
}

test('MSAL signs in, and gets tokens again without a person', async (t) => {
  const msal = await createMsal(t)
  const { account, idTokenClaims } = await signInByMsal(msal)
  assert.equal(account?.localAccountId, aliceId)
  assert.equal(account?.username, 'alice@contoso.onmicrosoft.com')
  assert.ok(account)
  const again = await msal.acquireTokenSilent({ account, scopes: [], forceRefresh: true })
  assert.equal(again?.uniqueId, aliceId)
  assert.equal((idTokenClaims as { tid?: string }).tid, contoso)
})

test('MSAL is told of a wrong secret', async (t) => {
  const msal = await createMsal(t, { clientSecret: 'wrong' })
  await assert.rejects(
    signInByMsal(msal),
    (error) => error instanceof AuthError && /AADSTS7000215/.test(error.errorMessage),
  )
})
