import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { refusalKinds } from '../../src/dev-entra/refusals.ts'
import {
  authorizePath,
  authorizeQuery,
  createBrowser,
  portal,
  redeem,
  redirectUri,
  tokenPath,
} from './browser.ts'
import { contoso, decode, fabrikam, origin, post, postForm, startDevEntra } from './support.ts'

function open(t: TestContext) {
  const app = startDevEntra(t)
  return { app, browser: createBrowser(app) }
}

/** Signs a persona in by the picker and returns the claims of its ID token. */
async function signIn(t: TestContext, persona: string, changes: Record<string, string> = {}) {
  const { app, browser } = open(t)
  await browser.authorize(changes)
  const { sent } = await browser.press('account', persona)
  const reply = await redeem(app, sent?.get('code') ?? '')
  assert.equal(reply.statusCode, 200, reply.body)
  return { app, browser, tokens: reply.json(), claims: decode(reply.json().id_token).claims }
}

test('a browser gets the list of people, and whoever is clicked is signed in', async (t) => {
  const { browser } = open(t)
  const page = await browser.authorize()
  assert.deepEqual([page.status, page.title, page.sent], [200, 'Sign in', undefined])
  for (const persona of ['alice', 'bob', 'gina']) {
    assert.ok(page.body.includes(`name="account" value="${persona}"`), persona)
  }
  const { sent } = await browser.press('account', 'bob')
  assert.equal(sent?.get('state'), 's')
  assert.match(sent?.get('code') ?? '', /^1\./)
})

test('the ID token of the portal has the claims of Entra, and no client', async (t) => {
  const { claims } = await signIn(t, 'alice')
  assert.deepEqual(
    Object.keys(claims).sort(),
    [
      ...[
        'acct',
        'aio',
        'aud',
        'exp',
        'groups',
        'iat',
        'iss',
        'login_hint',
        'name',
        'nbf',
        'nonce',
      ],
      ...['oid', 'preferred_username', 'rh', 'sid', 'sub', 'tid', 'uti', 'ver'],
    ].sort(),
  )
  assert.deepEqual(
    [claims.aud, claims.iss, claims.tid, claims.nonce, claims.ver, claims.acct],
    [portal, `${origin}/${contoso}/v2.0`, contoso, 'n-1', '2.0', 0],
  )
  assert.notEqual(claims.sub, claims.oid)
})

test('without the scope profile there is neither oid nor name', async (t) => {
  const { claims } = await signIn(t, 'alice', { scope: 'openid' })
  assert.deepEqual(
    [claims.oid, claims.name, claims.preferred_username],
    [undefined, undefined, undefined],
  )
})

test('a guest has acct 1 and the identity provider of the home tenant', async (t) => {
  const { claims } = await signIn(t, 'gina')
  assert.deepEqual([claims.acct, claims.idp, claims.tid], [1, `${origin}/${fabrikam}/`, contoso])
})

test('a client whose registration asks for no optional claims gets none', async (t) => {
  const { app, browser } = open(t)
  const web = 'c2222222-2222-4222-8222-222222222222'
  const atLoopback = 'http://127.0.0.1:4000/callback'
  await browser.authorize({ client_id: web, redirect_uri: atLoopback })
  const { sent } = await browser.press('account', 'alice')
  const reply = await redeem(app, sent?.get('code') ?? '', {
    client_id: web,
    client_secret: 'orders-web-secret',
    redirect_uri: atLoopback,
  })
  const { claims } = decode(reply.json().id_token)
  assert.deepEqual([claims.sid, claims.login_hint, claims.acct], [undefined, undefined, undefined])
})

test('who is signed in gets a code without a page, with the same sid and sub', async (t) => {
  const { app, browser, claims } = await signIn(t, 'alice')
  for (const prompt of ['', 'none']) {
    const { sent } = await browser.authorize({ prompt })
    const again = decode((await redeem(app, sent?.get('code') ?? '')).json().id_token).claims
    assert.deepEqual([again.sid, again.sub, again.oid], [claims.sid, claims.sub, claims.oid])
  }
})

test('two browsers have two session ids', async (t) => {
  const { app, claims } = await signIn(t, 'alice')
  const other = createBrowser(app)
  await other.authorize()
  const { sent } = await other.press('account', 'alice')
  const { claims: second } = decode((await redeem(app, sent?.get('code') ?? '')).json().id_token)
  assert.notEqual(second.sid, claims.sid)
})

test('prompt=none without a session is login_required with AADSTS50058', async (t) => {
  const { browser } = open(t)
  const { sent } = await browser.authorize({ prompt: 'none' })
  assert.equal(sent?.get('error'), 'login_required')
  assert.match(
    sent?.get('error_description') ?? '',
    /^AADSTS50058: .* Trace ID: [0-9a-f-]{36} Correlation ID: [0-9a-f-]{36} Timestamp: 2026-01-02 03:04:05Z$/,
  )
  assert.equal(sent?.get('error_uri'), `${origin}/error?code=50058`)
  assert.equal(sent?.get('state'), 's')
})

test('a client without pages is told the same', async (t) => {
  const { app } = open(t)
  const reply = await app.inject({ url: authorizePath, query: authorizeQuery({ prompt: 'none' }) })
  const sent = new URL(String(reply.headers.location)).searchParams
  assert.equal(sent.get('error'), 'login_required')
})

test('prompt=login asks again, prompt=select_account shows the list', async (t) => {
  const { browser, claims } = await signIn(t, 'alice')
  const hint = String(claims.login_hint)
  assert.equal((await browser.authorize({ prompt: 'select_account' })).title, 'Pick an account')
  const asked = await browser.authorize({ prompt: 'login', login_hint: hint })
  assert.equal(asked.title, 'Enter password')
  assert.ok((await browser.press('account', 'alice')).sent?.get('code'))
})

test('with two accounts the hint decides, and prompt=none without one is refused', async (t) => {
  const { app, browser, claims } = await signIn(t, 'alice')
  await browser.authorize({ prompt: 'select_account' })
  await browser.press('account', 'bob')
  assert.equal((await browser.authorize()).title, 'Pick an account')
  const refused = await browser.authorize({ prompt: 'none' })
  assert.equal(refused.sent?.get('error'), 'interaction_required')
  assert.match(refused.sent?.get('error_description') ?? '', /^AADSTS16000: /)
  for (const changes of [
    { login_hint: String(claims.login_hint) },
    { login_hint: 'alice@contoso.onmicrosoft.com' },
    { sid: String(claims.sid) },
  ]) {
    const { sent } = await browser.authorize({ prompt: 'none', ...changes })
    const reply = await redeem(app, sent?.get('code') ?? '')
    assert.equal(decode(reply.json().id_token).claims.oid, claims.oid)
  }
})

test('a domain_hint leaves the people of that domain only', async (t) => {
  const { browser } = open(t)
  const { body } = await browser.authorize({ domain_hint: 'fabrikam.onmicrosoft.com' })
  assert.ok(body.includes('value="gina"'))
  assert.ok(!body.includes('value="alice"'))
})

test('somebody of another tenant is refused with AADSTS50020', async (t) => {
  const { browser } = open(t)
  await browser.authorize()
  const page = await browser.press('account', 'mallory')
  assert.match(page.body, /AADSTS50020: /)
  assert.equal(page.sent, undefined)
})

test('the context c1 wants a second factor once, and stands in acrs', async (t) => {
  const { app, browser, claims } = await signIn(t, 'alice')
  assert.equal(claims.acrs, undefined)
  const wish = { claims: '{"id_token":{"acrs":{"essential":true,"value":"c1"}}}' }
  const silent = await browser.authorize({ ...wish, prompt: 'none' })
  assert.equal(silent.sent?.get('error'), 'interaction_required')
  assert.match(silent.sent?.get('error_description') ?? '', /^AADSTS50076: /)
  assert.equal((await browser.authorize(wish)).title, 'Approve sign in request')
  const { sent } = await browser.press('multi_factor', 'yes')
  const stepped = decode((await redeem(app, sent?.get('code') ?? '')).json().id_token).claims
  assert.deepEqual(stepped.acrs, ['c1'])
  const next = await browser.authorize({ prompt: 'none' })
  const later = decode((await redeem(app, next.sent?.get('code') ?? '')).json().id_token).claims
  assert.deepEqual(later.acrs, ['c1'])
})

const silentRefusals: [string, string, number][] = [
  ['dora', 'not-assigned', 50105],
  ['cora', 'consent-missing', 65001],
  ['kurt', 'admin-consent-missing', 90094],
  ['erik', 'conditional-access', 53003],
  ['mona', 'multi-factor', 50076],
  ['nina', 'multi-factor-registration', 50079],
]
for (const [persona, kind, code] of silentRefusals) {
  test(`${persona} is refused as ${kind}: AADSTS${code} without a page`, async (t) => {
    const { browser } = open(t)
    await browser.authorize()
    const page = await browser.press('account', persona)
    assert.equal(page.sent, undefined, 'a page first')
    const { sent } = await browser.authorize({ prompt: 'none' })
    assert.equal(sent?.get('error'), 'interaction_required')
    assert.match(sent?.get('error_description') ?? '', new RegExp(`^AADSTS${code}: `))
  })
}

for (const [persona, code] of [
  ['dora', 50105],
  ['kurt', 90094],
  ['erik', 53003],
] as const) {
  test(`${persona} sees AADSTS${code} with the ids, and can return to the application`, async (t) => {
    const { browser } = open(t)
    await browser.authorize({ 'client-request-id': 'cccccccc-cccc-4ccc-8ccc-cccccccccccc' })
    const { body } = await browser.press('account', persona)
    assert.match(body, new RegExp(`AADSTS${code}: `))
    assert.match(body, /Correlation Id<\/dt><dd>cccccccc-cccc-4ccc-8ccc-cccccccccccc</)
    assert.match(body, /Request Id<\/dt><dd>[0-9a-f-]{36}</)
    const [, href = ''] = /<a class="button" href="([^"]*)"/.exec(body) ?? []
    const back = new URL(href.replaceAll('&#38;', '&'))
    assert.equal(back.origin + back.pathname, redirectUri)
    assert.deepEqual(
      [back.searchParams.get('error'), back.searchParams.get('state')],
      ['access_denied', 's'],
    )
  })
}

for (const persona of ['mona', 'nina']) {
  test(`${persona} gets in with a second factor`, async (t) => {
    const { browser } = open(t)
    await browser.authorize()
    await browser.press('account', persona)
    assert.ok((await browser.press('multi_factor', 'yes')).sent?.get('code'))
  })
}

test('who consents is asked once, who declines is refused with AADSTS65004', async (t) => {
  const { browser } = open(t)
  await browser.authorize()
  assert.equal((await browser.press('account', 'cora')).title, 'Permissions requested')
  const declined = await browser.press('consent', 'cancel')
  assert.equal(declined.sent?.get('error'), 'access_denied')
  assert.match(declined.sent?.get('error_description') ?? '', /^AADSTS65004: /)
  await browser.authorize()
  assert.ok((await browser.press('consent', 'accept')).sent?.get('code'))
  assert.ok((await browser.authorize({ prompt: 'none' })).sent?.get('code'))
  assert.equal((await browser.authorize({ prompt: 'consent' })).title, 'Permissions requested')
})

test('whoever is disabled is out everywhere, until enabled', async (t) => {
  const { app, browser, tokens } = await signIn(t, 'alice')
  const refresh = () =>
    postForm(app, tokenPath, {
      grant_type: 'refresh_token',
      client_id: portal,
      client_secret: 'portal-secret',
      refresh_token: tokens.refresh_token,
    })
  assert.equal((await refresh()).statusCode, 200)
  await post(app, '/dev/refusal', { subject: 'alice', kind: 'disabled' })
  assert.equal((await refresh()).json().error, 'invalid_grant')
  const silent = await browser.authorize({ prompt: 'none' })
  assert.equal(silent.sent?.get('error'), 'login_required')
  await browser.authorize()
  assert.match((await browser.press('account', 'alice')).body, /AADSTS50057: /)
  await post(app, '/dev/refusal', { subject: 'alice', kind: 'none' })
  await browser.authorize()
  assert.ok((await browser.press('account', 'alice')).sent?.get('code'))
  assert.equal((await refresh()).json().error, 'invalid_grant')
})

test('a code is worth nothing once its person is disabled', async (t) => {
  const { app, browser } = open(t)
  await browser.authorize()
  const { sent } = await browser.press('account', 'alice')
  await post(app, '/dev/refusal', { subject: 'alice', kind: 'disabled' })
  assert.equal((await redeem(app, sent?.get('code') ?? '')).json().error, 'invalid_grant')
})

test('a refresh token stays good when it is used, for its client alone', async (t) => {
  const { app, tokens } = await signIn(t, 'alice')
  const refresh = (changes: Record<string, string> = {}) =>
    postForm(app, tokenPath, {
      grant_type: 'refresh_token',
      client_id: portal,
      client_secret: 'portal-secret',
      refresh_token: tokens.refresh_token,
      ...changes,
    })
  const first = (await refresh()).json()
  assert.notEqual(first.refresh_token, tokens.refresh_token)
  assert.equal(decode(first.id_token).claims.nonce, undefined)
  assert.equal((await refresh()).statusCode, 200)
  const web = {
    client_id: 'c2222222-2222-4222-8222-222222222222',
    client_secret: 'orders-web-secret',
  }
  assert.equal((await refresh(web)).json().error, 'invalid_grant')
  assert.equal((await refresh({ client_secret: '' })).json().error, 'invalid_client')
})

test('PKCE that was begun has to be ended', async (t) => {
  for (const code_verifier of ['', 'w'.repeat(43)]) {
    const { app, browser } = open(t)
    await browser.authorize()
    const { sent } = await browser.press('account', 'alice')
    const reply = await redeem(app, sent?.get('code') ?? '', { code_verifier })
    assert.deepEqual(reply.json().error_codes, [501481])
  }
})

test('without offline_access there is no refresh token', async (t) => {
  const { tokens } = await signIn(t, 'alice', { scope: 'openid profile' })
  assert.equal(tokens.refresh_token, undefined)
  assert.equal(typeof tokens.access_token, 'string')
})

for (const [what, changes] of [
  ['an unknown redirect URI', { redirect_uri: 'https://portal.contoso.com/oauth2/callback/' }],
  ['a redirect URI of another client', { client_id: 'c2222222-2222-4222-8222-222222222222' }],
] as const) {
  test(`${what} ends in a page of dev-entra with AADSTS50011`, async (t) => {
    const { browser } = open(t)
    const page = await browser.authorize(changes)
    assert.deepEqual([page.status, page.sent], [400, undefined])
    assert.match(page.body, /AADSTS50011: /)
  })
}

test('a redirect URI can be registered', async (t) => {
  const { app, browser } = open(t)
  const redirect_uri = 'https://new.contoso.com/oauth2/callback'
  await post(app, '/dev/registration', { client: 'portal', redirectUris: [redirect_uri] })
  assert.equal((await browser.authorize({ redirect_uri })).title, 'Sign in')
})

test('what a client sends is never markup on a page', async (t) => {
  const { browser } = open(t)
  const attack = '"><script>alert(1)</script>'
  for (const changes of [
    { login_hint: attack },
    { redirect_uri: `https://x/${attack}` },
    { client_id: attack },
  ]) {
    const { body } = await browser.authorize(changes)
    assert.ok(!body.includes('<script'), body)
  }
})

test('every kind of refusal can be set for a client or a person', async (t) => {
  const { app } = open(t)
  for (const [kind, { subjects }] of Object.entries(refusalKinds)) {
    for (const [subject, of] of [
      ['alice', 'persona'],
      ['portal', 'client'],
    ] as const) {
      const { statusCode } = await post(app, '/dev/refusal', { subject, kind })
      assert.equal(statusCode, subjects.includes(of as never) ? 200 : 400, `${kind} ${subject}`)
    }
  }
  assert.equal(
    (await post(app, '/dev/refusal', { subject: 'nobody', kind: 'none' })).statusCode,
    400,
  )
})

test('a refusal of a client holds for everybody there', async (t) => {
  const { app, browser } = await signIn(t, 'alice')
  await post(app, '/dev/refusal', { subject: 'portal', kind: 'conditional-access' })
  const { sent } = await browser.authorize({ prompt: 'none' })
  assert.match(sent?.get('error_description') ?? '', /^AADSTS53003: /)
  await post(app, '/dev/refusal', { subject: 'portal', kind: 'redirect-uri-unknown' })
  assert.match((await browser.authorize()).body, /AADSTS50011: /)
  await post(app, '/dev/reset')
  assert.ok((await browser.authorize({ prompt: 'none' })).sent?.get('code'))
})

test('signing out ends the session, calls the other applications and returns', async (t) => {
  const { app, browser, claims } = await signIn(t, 'alice')
  await post(app, '/dev/registration', {
    client: 'portal',
    logoutUrl: 'https://portal.contoso.com/oauth2/frontchannel_logout',
  })
  const back = 'https://portal.contoso.com/oauth2/signed_out'
  const page = await browser.open(
    `/${contoso}/oauth2/v2.0/logout?${new URLSearchParams({
      logout_hint: String(claims.login_hint),
      post_logout_redirect_uri: back,
    })}`,
  )
  assert.equal(page.title, 'You signed out of your account')
  const [, src = ''] = /<iframe src="([^"]*)"/.exec(page.body) ?? []
  const call = new URL(src.replaceAll('&#38;', '&'))
  assert.equal(call.pathname, '/oauth2/frontchannel_logout')
  assert.deepEqual(
    [call.searchParams.get('sid'), call.searchParams.get('iss')],
    [claims.sid, `${origin}/${contoso}/v2.0`],
  )
  assert.ok(page.body.includes(`url=${back}`))
  assert.equal((await browser.authorize({ prompt: 'none' })).sent?.get('error'), 'login_required')
})

test('signing out without applications to call returns at once, to registered addresses only', async (t) => {
  const { browser } = await signIn(t, 'alice')
  const logout = (post_logout_redirect_uri: string) =>
    browser.open(
      `/${contoso}/oauth2/v2.0/logout?${new URLSearchParams({ post_logout_redirect_uri, state: 'x' })}`,
    )
  const strange = await logout('https://evil.example.com/')
  assert.deepEqual([strange.status, strange.sent], [200, undefined])
  const { sent } = await logout('https://portal.contoso.com/oauth2/signed_out')
  assert.equal(sent?.get('state'), 'x')
})

test('with two accounts a sign-out asks which one', async (t) => {
  const { browser } = await signIn(t, 'alice')
  await browser.authorize({ prompt: 'select_account' })
  await browser.press('account', 'bob')
  const page = await browser.open(`/${contoso}/oauth2/v2.0/logout`)
  assert.equal(page.title, 'Pick an account to sign out')
  await browser.press('account', 'bob')
  assert.ok((await browser.authorize({ prompt: 'none' })).sent?.get('code'), 'alice is still in')
})
