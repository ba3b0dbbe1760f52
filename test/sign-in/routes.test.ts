import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { openSession } from '../../src/session/session.ts'
import { maxOfAccount } from '../../src/sign-in/own-revocations.ts'
import { startAuthority } from '../support/authority.ts'
import { keepBusy } from '../support/busy.ts'
import { eventually } from '../support/eventually.ts'
import { assertAllowed } from '../support/expect.ts'
import { ids, startMs, startSeconds } from '../support/ids.ts'
import { callerKey, verify } from '../support/service.ts'
import {
  cookieOf,
  host,
  otherHost,
  sealingKeys,
  webClient,
  withSession,
} from '../support/sessions.ts'
import {
  askedOf,
  type Browser,
  callbackOf,
  grantCode,
  navigation,
  openBrowser,
  type Page,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'
import { signingKey } from '../support/signing-keys.ts'
import { v2User } from '../support/tokens.ts'

let service: SignInService
let browser: Browser
before(async () => {
  service = await startSignIn()
})
after(() => service.close())
beforeEach(() => {
  browser = openBrowser(service)
  service.time.nowMs = startMs
})
afterEach(() => {
  service.revocations.length = 0
  service.authority.token = undefined
  service.authority.contoso.v2.metadataFault = undefined
})

const sessionIn = (from: Browser) => openSession(sealingKeys, from.cookies.get(sessionCookie) ?? '')
const verifyWith = (from: Browser, policy = 'default') =>
  verify(service, policy, withSession(from.cookies.get(sessionCookie) ?? ''))

describe('a sign-in', () => {
  it('goes to Entra with PKCE, nonce and a state that says nothing', async () => {
    const page = await browser.visit('/oauth2/start?rd=/reports?month=7')
    assert.equal(page.status, 302)
    const url = new URL(page.location ?? '')
    assert.equal(url.origin, service.authority.url)
    assert.equal(url.pathname, `/${ids.contoso}/oauth2/v2.0/authorize`)
    const asked = url.searchParams
    assert.equal(asked.get('client_id'), webClient)
    assert.equal(asked.get('response_type'), 'code')
    assert.equal(asked.get('redirect_uri'), `https://${host}/oauth2/callback`)
    assert.equal(asked.get('scope'), 'openid profile email')
    assert.equal(asked.get('code_challenge_method'), 'S256')
    assert.match(asked.get('code_challenge') ?? '', /^[\w-]{43}$/)
    assert.match(asked.get('nonce') ?? '', /^[\w-]{43}$/)
    assert.match(asked.get('state') ?? '', /^[\w-]+$/)
    assert.equal(asked.get('prompt'), null)
    const [cookie = ''] = page.setCookies
    assert.match(
      cookie,
      /^__Host-entra-login=[\w-]+; Max-Age=3600; Path=\/; HttpOnly; Secure; SameSite=Lax$/,
    )
  })

  it('comes back to the page with its query, with a session that /verify admits', async () => {
    const page = await signInWith(service, browser, { rd: '/reports?month=7&all' })
    assert.equal(page.status, 302)
    assert.equal(page.location, '/reports?month=7&all')
    assert.equal(page.headers['cache-control'], 'no-store')
    assert.equal(page.setCookies.length, 1)
    const [cookie = ''] = page.setCookies
    assert.match(cookie, /^__Host-entra-session=[\w-]+; Path=\/; HttpOnly; Secure; SameSite=Lax$/)
    assert.ok(cookie.length < 3_072)
    const reply = await verifyWith(browser)
    assertAllowed(reply)
    assert.equal(reply.headers['x-entra-auth-user'], ids.user)
    assert.equal(reply.headers['x-auth-request-name'], 'Adele Vance')
  })

  it('proves itself and its verifier to the token endpoint', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start'))
    const { code, forms } = grantCode(service.authority, asked)
    await browser.visit(callbackOf(asked, { code }))
    const [form] = forms
    assert.equal(forms.length, 1)
    assert.equal(form?.get('grant_type'), 'authorization_code')
    assert.equal(form?.get('client_id'), webClient)
    assert.equal(form?.get('client_secret'), 'a-client-secret')
    assert.equal(form?.get('redirect_uri'), `https://${host}/oauth2/callback`)
  })

  it('keeps the groups that policies name, and no other', async () => {
    const groups = [ids.group, ids.otherGroup]
    await signInWith(service, browser, { claims: { groups } })
    assert.deepEqual(sessionIn(browser)?.groups, [ids.group])
    assertAllowed(await verifyWith(browser, 'grouped'))
  })

  it('makes a session with a new id each time', async () => {
    await signInWith(service, browser)
    const first = sessionIn(browser)?.id
    const other = openBrowser(service)
    await signInWith(service, other)
    assert.match(first ?? '', /^[\w-]{22}$/)
    assert.notEqual(sessionIn(other)?.id, first)
  })

  it('ends at the same page after twenty tabs at once, each at its own', async () => {
    // All of them begin before the browser has a cookie: the last one wins.
    const tabs = Array.from({ length: 20 }, (_, i) => `/tab/${i}`)
    const starts = await Promise.all(
      tabs.map((rd) => openBrowser(service).visit(`/oauth2/start?rd=${rd}`)),
    )
    browser.cookies.set(
      '__Host-entra-login',
      starts.at(-1)?.setCookies[0]?.match(/=([^;]*)/)?.[1] ?? '',
    )
    const arrived: (string | undefined)[] = []
    for (const start of starts) {
      let asked = askedOf(start)
      let page = await browser.visit(
        callbackOf(asked, { code: grantCode(service.authority, asked).code }),
      )
      if (page.location?.startsWith('/oauth2/start')) {
        asked = askedOf(await browser.visit(page.location))
        page = await browser.visit(
          callbackOf(asked, { code: grantCode(service.authority, asked).code }),
        )
      }
      arrived.push(page.location)
    }
    assert.deepEqual(arrived, tabs)
  })

  it('is there at once for tabs that began before another one ended', async () => {
    const tabs = ['/a', '/b', '/c']
    await browser.visit('/oauth2/start?rd=/first')
    const started: URLSearchParams[] = []
    for (const rd of tabs) started.push(askedOf(await browser.visit(`/oauth2/start?rd=${rd}`)))
    const [first, ...rest] = started
    if (!first) throw new Error('no tab')
    await browser.visit(callbackOf(first, { code: grantCode(service.authority, first).code }))
    const pages = await Promise.all(
      rest.map((asked) => browser.visit(callbackOf(asked, { code: 'never redeemed' }))),
    )
    assert.deepEqual(
      pages.map(({ location }) => location),
      ['/b', '/c'],
    )
  })

  it('that a replica makes whose clock is ahead is dated by the clock of Entra', async () => {
    const checkedWith = async (aheadMs: number) => {
      const other = openBrowser(service)
      const asked = askedOf(await other.visit('/oauth2/start'))
      const { code } = grantCode(service.authority, asked)
      const granted = service.authority.token
      const date = new Date(service.time.nowMs - aheadMs).toUTCString()
      service.authority.token = (form) => ({
        ...(granted?.(form) ?? { status: 500, body: '' }),
        headers: { date },
      })
      await other.visit(callbackOf(asked, { code }))
      return { other, ahead: startSeconds - Number(sessionIn(other)?.checkedAt) }
    }
    const { other, ahead } = await checkedWith(30_000)
    assert.equal(ahead, 30)
    assert.equal(sessionIn(other)?.signedInAt, startSeconds)
    // Revoked after that sign-in, by a replica whose clock is right.
    const user = { kind: 'user', id: `${ids.contoso}/${ids.user}`, reason: 'left' } as const
    service.revocations.push({ ...user, before: startSeconds - 20, until: startSeconds + 9_999 })
    assert.equal((await verifyWith(other)).reason, 'session_revoked')
    service.revocations.length = 0
    // `Date` has whole seconds; hours are no clock that is a bit ahead; one behind is left as it is.
    for (const aheadMs of [0, 1_000, 2_000, 3_600_000, -30_000]) {
      assert.equal((await checkedWith(aheadMs)).ahead, 0, `${aheadMs} ms`)
    }
    for (const aheadMs of [3_000, 300_000]) {
      assert.equal((await checkedWith(aheadMs)).ahead, aheadMs / 1000)
    }
  })

  it('of two tabs at once is one session: a sign-out in one ends the cookie of the other', async () => {
    const [first, second] = [
      askedOf(await browser.visit('/oauth2/start?rd=/a')),
      askedOf(await browser.visit('/oauth2/start?rd=/b')),
    ]
    service.time.nowMs += 2_000
    // The browser sends the second answer before it has the cookie of the first one.
    const other = browser.copy()
    const come = (tab: Browser, asked: URLSearchParams) =>
      tab.visit(callbackOf(asked, { code: grantCode(service.authority, asked).code }))
    assert.equal((await come(browser, first)).location, '/a')
    service.time.nowMs += 1_000
    assert.equal((await come(other, second)).location, '/b')
    assert.notEqual(other.cookies.get(sessionCookie), browser.cookies.get(sessionCookie))
    assert.equal(sessionIn(other)?.id, sessionIn(browser)?.id)
    assert.equal(sessionIn(other)?.hardEnd, sessionIn(browser)?.hardEnd)
    await other.copy().visit('/oauth2/sign_out', { method: 'POST' })
    service.time.nowMs += 1_000
    assert.equal((await verifyWith(browser)).reason, 'session_revoked')
    assert.equal((await verifyWith(other)).reason, 'session_revoked')
  })

  it('of two tabs is two sessions if it is of two people, begins later or the first has ended', async () => {
    const signInTwice = async (between: (first: Browser) => unknown, claims = {}) => {
      browser.cookies.clear()
      const starts = [await browser.visit('/oauth2/start'), await browser.visit('/oauth2/start')]
      service.time.nowMs += 2_000
      const tab = browser.copy()
      const come = (at: Browser, asked: URLSearchParams, who = {}) =>
        at.visit(callbackOf(asked, { code: grantCode(service.authority, asked, who).code }))
      await come(browser, askedOf(starts[0] as Page))
      const later = await between(browser)
      const page = await come(tab, askedOf((later ?? starts[1]) as Page), claims)
      assert.equal(page.status, 302)
      assert.notEqual(sessionIn(tab)?.id, undefined)
      return sessionIn(tab)?.id === sessionIn(browser)?.id
    }
    assert.equal(await signInTwice(() => undefined), true)
    assert.equal(await signInTwice(() => undefined, { sub: 'another subject' }), false)
    assert.equal(
      await signInTwice(async (first) => {
        const again = first.copy()
        again.cookies.delete(sessionCookie)
        return again.visit('/oauth2/start')
      }),
      false,
    )
    assert.equal(
      await signInTwice((first) => {
        const id = sessionIn(first)?.id ?? ''
        service.revocations.push({
          kind: 'session',
          id,
          before: 0,
          until: startSeconds + 9_999,
          reason: 'x',
        })
      }),
      false,
    )
  })

  it('that was completed before leads to its page again, and without the session to an error', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start?rd=/page'))
    const { code } = grantCode(service.authority, asked)
    const callback = callbackOf(asked, { code })
    await browser.visit(callback)
    const again = await browser.visit(callback)
    assert.equal(again.location, '/page')
    assert.deepEqual(again.setCookies, [])
    browser.cookies.delete(sessionCookie)
    const late = await browser.visit(callback)
    assert.equal(late.reason, 'invalid_grant')
    assert.equal(late.status, 400)
    assert.match(late.body, /href="\/oauth2\/start\?rd=%2Fpage"/)
  })

  it('asks for an authentication context, and insists on it', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start?rd=/x&acrs=c1'))
    assert.deepEqual(JSON.parse(asked.get('claims') ?? '{}'), {
      id_token: { acrs: { essential: true, value: 'c1' } },
    })
    const { code } = grantCode(service.authority, asked, { acrs: ['c1'] })
    await browser.visit(callbackOf(asked, { code }))
    assertAllowed(await verifyWith(browser, 'strong'))
    const other = openBrowser(service)
    const weak = await signInWith(service, other, { path: '/oauth2/start?acrs=c1' })
    assert.equal(weak.reason, 'step_up_required')
    assert.equal(other.cookies.has(sessionCookie), false)
    const odd = askedOf(await browser.visit('/oauth2/start?acrs=c100'))
    assert.equal(odd.get('claims'), null)
  })

  it('stops after five starts for one page within a minute', async () => {
    for (let i = 0; i < 5; i++) {
      assert.equal((await browser.visit('/oauth2/start?rd=/loop')).status, 302)
    }
    const page = await browser.visit('/oauth2/start?rd=/loop')
    assert.equal(page.status, 429)
    assert.equal(page.reason, 'too_many_starts')
    assert.equal(page.location, undefined)
    assert.equal((await browser.visit('/oauth2/start?rd=/other')).status, 302)
    service.time.nowMs += 60_000
    assert.equal((await browser.visit('/oauth2/start?rd=/loop')).status, 302)
  })

  it('ends in a page where the browser keeps no cookie', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start?rd=/page'))
    browser.cookies.clear()
    const page = await browser.visit(callbackOf(asked, { code: 'x' }))
    assert.equal(page.reason, 'cookies_blocked')
    assert.equal(page.location, undefined)
    assert.deepEqual(page.setCookies, [])
  })

  it('ends in a page where the roles do not fit into a cookie', async () => {
    const roles = Array.from({ length: 150 }, (_, i) => `Portal.Long.Role.Name.${i}`)
    const page = await signInWith(service, browser, { claims: { roles } })
    assert.equal(page.reason, 'session_too_large')
    assert.equal(browser.cookies.has(sessionCookie), false)
  })
})

/** What a throttle or a proxy on the way says; none of it is an answer of a token endpoint. */
const notFromEntra = [
  { status: 429, body: { error: 'too_many_requests' } },
  { status: 403, body: '<html>blocked</html>' },
  { status: 407, body: { error: 'proxy' } },
  { status: 200, body: '<html>please log in to the network</html>' },
] as const

describe('an error of Entra', () => {
  for (const [error, reason, status] of [
    ['access_denied', 'access_denied', 403],
    ['consent_required', 'consent_required', 403],
    ['interaction_required', 'access_denied', 403],
    ['invalid_client', 'invalid_client', 503],
    ['server_error', 'entra_unavailable', 503],
    ['temporarily_unavailable', 'entra_unavailable', 503],
    ['invalid_resource', 'sign_in_failed', 502],
    ['AADSTS50105', 'sign_in_failed', 502],
  ] as const) {
    it(`${error} is the page ${reason}, with number and correlation id`, async () => {
      const asked = askedOf(await browser.visit('/oauth2/start?rd=/page'))
      const description =
        'AADSTS50105: The signed in user is blocked. Trace ID: 1 Correlation ID: 8a1a9ac5-5b2f-4a54-8d5b-3ab5ae4e3b1f Timestamp: 2026'
      const page = await browser.visit(callbackOf(asked, { error, error_description: description }))
      assert.equal(page.reason, reason)
      assert.equal(page.status, status)
      assert.match(page.body, /AADSTS50105/)
      assert.match(page.body, /8a1a9ac5-5b2f-4a54-8d5b-3ab5ae4e3b1f/)
      assert.doesNotMatch(page.body, /signed in user/)
      assert.deepEqual(page.setCookies, [])
    })
  }

  it('at the token endpoint is a page too, and an alarm where the credential is refused', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start'))
    service.authority.token = () => ({
      status: 401,
      body: { error: 'invalid_client', error_description: 'AADSTS7000222: expired.' },
    })
    const page = await browser.visit(callbackOf(asked, { code: 'x' }))
    assert.equal(page.reason, 'invalid_client')
    assert.match(page.body, /AADSTS7000222/)
    const line = JSON.parse(service.log.at(-1) ?? '{}')
    assert.equal(line.level, 50)
    assert.equal(line.error, 'invalid_client')
  })

  it('in an address raises no alarm, and no long text is worked on or logged', async () => {
    for (const error of ['invalid_client', 'server_error', 'credential']) {
      const asked = askedOf(await openBrowser(service).visit('/oauth2/start'))
      const fresh = openBrowser(service)
      await fresh.visit('/oauth2/start')
      const own = askedOf(await fresh.visit('/oauth2/start'))
      assert.notEqual(own.get('state'), asked.get('state'))
      const from = service.log.length
      await fresh.visit(callbackOf(own, { error, error_description: 'a://'.repeat(3_000) }))
      const lines = service.log.slice(from)
      assert.ok(lines.some((line) => line.includes(error)))
      for (const line of lines) {
        assert.ok(JSON.parse(line).level < 50, line)
        assert.doesNotMatch(line, /a:\/\/a:/)
      }
    }
  })

  it('or an answer that is none is Entra out of reach', async () => {
    for (const answer of [
      { status: 500, body: { error: 'x' } },
      { status: 503, body: 'Service unavailable' },
      ...notFromEntra,
    ]) {
      const fresh = openBrowser(service)
      const asked = askedOf(await fresh.visit('/oauth2/start'))
      service.authority.token = () => answer
      const page = await fresh.visit(callbackOf(asked, { code: 'x' }))
      assert.equal(page.reason, 'entra_unavailable')
      assert.equal(page.status, 503)
      assert.equal(page.headers['retry-after'], '60')
    }
  })
})

describe('a sign-in while the keys of Entra are out of reach', () => {
  it('ends in the page of an outage, and works once they are there', async (t) => {
    const authority = await startAuthority()
    t.after(() => authority.close())
    authority.contoso.v2.keysFault = 'error'
    const other = await startSignIn({ authority })
    t.after(() => other.close())
    const page = await signInWith(other, openBrowser(other))
    assert.equal(page.reason, 'entra_unavailable')
    assert.equal(page.status, 503)
    authority.contoso.v2.keysFault = undefined
    await other.app.authorities.get(ids.contoso)?.issuerKeys('2.0').refresh()
    assert.equal((await signInWith(other, openBrowser(other))).location, '/')
  })

  it('lets a session go on whose re-check brings an ID token that cannot be judged', async (t) => {
    const other = await startSignIn()
    t.after(() => other.close())
    const someone = openBrowser(other)
    await signInWith(other, someone)
    other.time.nowMs += 3_600_000
    const asked = askedOf(await someone.visit('/oauth2/start?rd=/page'))
    other.authority.contoso.v2.keysFault = 'error'
    const key = { key: signingKey('of a roll-over'), header: { kid: 'of-a-roll-over' } }
    const { code } = grantCode(other.authority, asked, {}, key)
    const page = await someone.visit(callbackOf(asked, { code }))
    assert.equal(page.location, '/page')
    const session = sessionIn(someone)
    assert.equal(session?.checkedAt, startSeconds)
    assert.equal(session?.softEnd, startSeconds + 3_900)
  })
})

describe('a re-check', () => {
  const hour = 3_600_000
  const fresh = { iat: startSeconds + 3_600, nbf: startSeconds + 3_600, exp: startSeconds + 7_200 }

  async function startRecheck(): Promise<URLSearchParams> {
    await signInWith(service, browser)
    service.time.nowMs += hour
    return askedOf(await browser.visit('/oauth2/start?rd=/page'))
  }

  it('asks Entra without a page, and keeps the session', async () => {
    const asked = await startRecheck()
    const before = sessionIn(browser)
    assert.equal(asked.get('prompt'), 'none')
    assert.equal(asked.get('login_hint'), 'O.opaque-login-hint')
    const { code } = grantCode(service.authority, asked, { ...fresh, roles: ['New'] })
    const page = await browser.visit(callbackOf(asked, { code }))
    assert.equal(page.location, '/page')
    const after = sessionIn(browser)
    assert.equal(after?.id, before?.id)
    assert.equal(after?.signedInAt, before?.signedInAt)
    assert.equal(after?.hardEnd, before?.hardEnd)
    assert.equal(after?.checkedAt, startSeconds + 3_600)
    assert.equal(after?.softEnd, startSeconds + 7_200)
    assert.deepEqual(after?.roles, ['New'])
  })

  it('of another person changes nothing and begins anew with a page', async () => {
    const asked = await startRecheck()
    const before = sessionIn(browser)
    const { code } = grantCode(service.authority, asked, { ...fresh, sub: 'another' })
    const page = await browser.visit(callbackOf(asked, { code }))
    assert.equal(askedOf(page).get('prompt'), null)
    assert.deepEqual(sessionIn(browser), before)
  })

  it('that Entra refuses ends the session, and begins anew with a page', async () => {
    const asked = await startRecheck()
    const copy = browser.copy()
    const id = sessionIn(browser)?.id
    const page = await browser.visit(callbackOf(asked, { error: 'interaction_required' }))
    assert.equal(askedOf(page).get('prompt'), null)
    assert.equal(browser.cookies.has(sessionCookie), false)
    assert.deepEqual(
      service.revocations.map(({ kind, id: revoked }) => [kind, revoked]),
      [['session', id]],
    )
    assert.equal((await verifyWith(copy)).reason, 'session_revoked')
  })

  it('that cannot be made for an outage or an expired credential lets the session go on', async () => {
    for (const error of ['server_error', 'temporarily_unavailable', 'invalid_client']) {
      browser = openBrowser(service)
      service.time.nowMs = startMs
      const asked = await startRecheck()
      const page = await browser.visit(callbackOf(asked, { error }))
      assert.equal(page.location, '/page', error)
      const session = sessionIn(browser)
      assert.equal(session?.softEnd, startSeconds + 3_900)
      assert.equal(session?.checkedAt, startSeconds)
      assert.deepEqual(service.revocations, [])
    }
  })

  it('that a throttle or a proxy answers lets the session go on', async () => {
    for (const answer of [...notFromEntra, { status: 200, body: { token_type: 'Bearer' } }]) {
      browser = openBrowser(service)
      service.time.nowMs = startMs
      const asked = await startRecheck()
      service.authority.token = () => answer
      const page = await browser.visit(callbackOf(asked, { code: 'x' }))
      assert.equal(page.location, '/page', JSON.stringify(answer))
      assert.equal(sessionIn(browser)?.checkedAt, startSeconds)
      assert.deepEqual(service.revocations, [])
    }
  })

  it('is not even begun where Entra is known to be out of reach', async () => {
    await signInWith(service, browser)
    service.time.nowMs += hour
    service.authority.contoso.v2.metadataFault = 'error'
    const page = await browser.visit('/oauth2/start?rd=/page')
    assert.equal(page.location, '/page')
    assert.equal(sessionIn(browser)?.softEnd, startSeconds + 3_900)
  })

  it('or a sign-in asks Entra for its addresses once a day, by a clock that nobody sets', async (t) => {
    let monotonicMs = 0
    const other = await startSignIn({ monotonic: () => monotonicMs })
    t.after(() => other.close())
    const start = async () => (await openBrowser(other).visit('/oauth2/start')).reason
    assert.equal(await start(), undefined)
    other.authority.contoso.v2.metadataFault = 'error'
    other.time.nowMs -= 8 * hour
    monotonicMs += 23 * hour
    assert.equal(await start(), undefined)
    monotonicMs += hour
    assert.equal(await start(), 'entra_unavailable')
  })

  it('whose answer comes twice changes no session and ends none', async () => {
    const asked = await startRecheck()
    const before = browser.copy()
    const { code } = grantCode(service.authority, asked)
    await browser.visit(callbackOf(asked, { code }))
    // Sent before the browser had the first answer, so with the old cookie.
    const page = await before.visit(callbackOf(asked, { code }))
    assert.equal(page.status, 302)
    assert.equal(page.location, '/page')
    assert.deepEqual(page.setCookies, [])
    assert.deepEqual(service.revocations, [])
    assertAllowed(await verifyWith(browser))
  })

  it('does not bring back a session that was signed out meanwhile', async () => {
    const asked = await startRecheck()
    const { code } = grantCode(service.authority, asked, fresh)
    const login = browser.copy()
    await browser.visit('/oauth2/sign_out', { method: 'POST' })
    const page = await login.visit(callbackOf(asked, { code }))
    assert.equal(page.location, '/page')
    assert.deepEqual(page.setCookies, [])
  })
})

describe('a sign-out', () => {
  it('ends the session everywhere, removes the cookies and goes to Entra', async () => {
    await signInWith(service, browser)
    const copy = browser.copy()
    const page = await browser.visit('/oauth2/sign_out', { method: 'POST' })
    assert.equal(page.status, 303)
    const url = new URL(page.location ?? '')
    assert.equal(url.pathname, `/${ids.contoso}/oauth2/v2.0/logout`)
    assert.equal(
      url.searchParams.get('post_logout_redirect_uri'),
      `https://${host}/oauth2/signed_out`,
    )
    assert.equal(url.searchParams.get('logout_hint'), 'O.opaque-login-hint')
    for (const line of page.setCookies) {
      assert.match(
        line,
        /^__Host-entra-\w+=; Max-Age=0; Path=\/; Expires=.*; HttpOnly; Secure; SameSite=Lax$/,
      )
    }
    assert.equal(page.setCookies.length, 2)
    assert.equal(browser.cookies.size, 0)
    service.time.nowMs += 1_000
    assert.equal((await verifyWith(copy)).reason, 'session_revoked')
  })

  it('by a link works from the same site, and asks otherwise', async () => {
    await signInWith(service, browser)
    for (const site of ['cross-site', 'same-site', undefined]) {
      const headers = site === undefined ? {} : { 'Sec-Fetch-Site': site }
      const page = await browser.visit('/oauth2/sign_out', { headers })
      assert.equal(page.status, 200)
      assert.match(page.body, /<form method="post" action="\/oauth2\/sign_out">/)
      assert.match(page.body, /Adele Vance/)
      assert.deepEqual(page.setCookies, [])
    }
    for (const site of ['same-origin', 'none']) {
      const copy = browser.copy()
      const page = await copy.visit('/oauth2/sign_out', { headers: { 'Sec-Fetch-Site': site } })
      assert.equal(page.status, 303)
      service.revocations.length = 0
    }
  })

  it('posted by another site asks', async () => {
    await signInWith(service, browser)
    for (const headers of [
      { 'Sec-Fetch-Site': 'cross-site' },
      { Origin: 'https://evil.example' },
      { Origin: 'null' },
    ]) {
      const page = await browser.visit('/oauth2/sign_out', { method: 'POST', headers })
      assert.equal(page.status, 200)
      assert.deepEqual(page.setCookies, [])
    }
    const own = { Origin: `https://${host}`, 'Content-Type': 'application/x-www-form-urlencoded' }
    assert.equal(
      (await browser.visit('/oauth2/sign_out', { method: 'POST', headers: own, body: '' })).status,
      303,
    )
  })

  it('without a session ends at its page', async () => {
    const page = await browser.visit('/oauth2/sign_out', { method: 'POST' })
    assert.equal(page.location, '/oauth2/signed_out')
    assert.match((await browser.visit('/oauth2/signed_out')).body, /You are signed out/)
  })

  it('elsewhere ends the session by the id of Entra', async () => {
    await signInWith(service, browser)
    const sid = sessionIn(browser)?.entraSessionId
    const page = await openBrowser(service).visit(`/oauth2/frontchannel_logout?sid=${sid}`)
    assert.equal(page.status, 200)
    assert.match(page.headers['content-security-policy'] ?? '', /frame-ancestors http:\/\/127/)
    service.time.nowMs += 1_000
    assert.equal((await verifyWith(browser)).reason, 'session_revoked')
  })
})

describe('the revocation that a sign-out makes', () => {
  it('lasts to the hard end in the cookie, whatever the hours are now', async (t) => {
    const shorter = await startSignIn({ section: { sessionHours: 1 } })
    t.after(() => shorter.close())
    await signInWith(service, browser)
    const session = sessionIn(browser)
    const page = await openBrowser(shorter, host, browser.cookies).visit('/oauth2/sign_out', {
      method: 'POST',
    })
    assert.equal(page.status, 303)
    const [revocation] = shorter.revocations
    assert.equal(revocation?.id, session?.id)
    assert.ok(Number(revocation?.until) >= Number(session?.hardEnd), `${revocation?.until}`)
  })

  it('leaves room for those of administrators, however often people sign out', async () => {
    await signInWith(service, browser)
    for (let index = 0; index < 8_000; index++) {
      service.revocations.push({
        kind: 'session',
        id: `session-${index}`,
        before: startSeconds,
        until: startSeconds + 3_600,
        reason: index % 2 ? 'signed out' : 'refused at a re-check',
      })
    }
    const page = await browser.visit('/oauth2/sign_out', { method: 'POST' })
    assert.equal(page.status, 303)
    assert.equal(browser.cookies.has(sessionCookie), false)
    assert.equal(service.revocations.length, 8_000)
    assert.ok(service.log.some((line) => /not revoked, too many are already/.test(line)))
  })

  it('leaves room for other people, however often one account signs out', async () => {
    const signOut = (id: string, userId: string) => {
      const cookies = new Map([[sessionCookie, cookieOf({ id, userId })]])
      return openBrowser(service, host, cookies).visit('/oauth2/sign_out', { method: 'POST' })
    }
    const greedy = '99999999-9999-4999-8999-999999999999'
    for (let index = 0; index <= maxOfAccount; index++) await signOut(`greedy-${index}`, greedy)
    assert.equal(service.revocations.length, maxOfAccount)
    assert.ok(service.log.some((line) => /its account has ended too many/.test(line)))
    await signOut('somebody-else', ids.user)
    assert.equal(service.revocations.at(-1)?.id, 'somebody-else')
    // The same sign-out again is not another one, and those that have ended do not count.
    await signOut('greedy-0', greedy)
    assert.equal(service.revocations.length, maxOfAccount + 1)
    service.time.nowMs += 9 * 3_600_000
    const later = startSeconds + 9 * 3_600
    const session = { signedInAt: later, checkedAt: later, hardEnd: later + 3_600 }
    const cookies = new Map([
      [sessionCookie, cookieOf({ id: 'next-day', userId: greedy, ...session })],
    ])
    await openBrowser(service, host, cookies).visit('/oauth2/sign_out', { method: 'POST' })
    assert.equal(service.revocations.at(-1)?.id, 'next-day')
  })

  it('does not shorten that of an administrator', async () => {
    await signInWith(service, browser)
    const id = sessionIn(browser)?.entraSessionId ?? ''
    const before = startSeconds
    const own = {
      kind: 'session',
      id,
      before,
      until: before + 100 * 3_600,
      reason: 'stolen',
    } as const
    service.revocations.push(own)
    const page = await openBrowser(service).visit(`/oauth2/frontchannel_logout?sid=${id}`)
    assert.equal(page.status, 200)
    assert.deepEqual(service.revocations, [own])
    // One that ends earlier is made longer.
    service.revocations[0] = { ...own, until: before + 60 }
    await openBrowser(service).visit(`/oauth2/frontchannel_logout?sid=${id}`)
    assert.ok(Number(service.revocations.at(-1)?.until) >= before + 8 * 3_600)
  })
})

describe('/oauth2/userinfo', () => {
  it('tells who is signed in, and nobody else', async () => {
    const none = await browser.visit('/oauth2/userinfo')
    assert.equal(none.status, 401)
    assert.equal(none.reason, 'no_session')
    await signInWith(service, browser)
    const page = await browser.visit('/oauth2/userinfo')
    assert.equal(page.status, 200)
    const info = JSON.parse(page.body)
    assert.equal(info.user, ids.user)
    assert.equal(info.name, 'Adele Vance')
    assert.equal(info.endsAt, startSeconds + 8 * 3_600)
    assert.equal(
      (await openBrowser(service, otherHost, browser.cookies).visit('/oauth2/userinfo')).status,
      401,
    )
  })
})

describe('/oauth2/auth', () => {
  it('answers 202 with the identity for a session and for a token, and 401 without', async () => {
    const none = await browser.visit('/oauth2/auth')
    assert.equal(none.status, 401)
    assert.equal(none.headers['x-entra-auth-sign-in'], '/oauth2/start')
    await signInWith(service, browser)
    const page = await browser.visit('/oauth2/auth')
    assert.equal(page.status, 202)
    assert.equal(page.headers['x-auth-request-user'], ids.user)
    const token = await openBrowser(service).visit('/oauth2/auth?policy=mixed', {
      headers: { Authorization: `Bearer ${v2User()}` },
    })
    assert.equal(token.status, 202)
    assert.equal((await browser.visit('/oauth2/auth?policy=nowhere')).status, 404)
    assert.equal((await browser.visit('/oauth2/auth?policy=grouped')).status, 403)
  })

  it('refuses what a page of another site makes a browser do', async () => {
    await signInWith(service, browser)
    const ask = (headers: Record<string, string>, policy = 'default') =>
      browser.visit(`/oauth2/auth?policy=${policy}`, { headers })
    const post = { 'X-Forwarded-Method': 'POST' }
    for (const headers of [
      { ...post, 'Sec-Fetch-Site': 'cross-site' },
      { ...post, 'Sec-Fetch-Site': 'same-site', Origin: `https://${host}` },
      { ...post, Origin: 'https://evil.example' },
      { ...post },
      { 'X-Original-Method': 'DELETE' },
    ]) {
      const page = await ask(headers)
      assert.equal(page.reason, 'cross_site_request')
      assert.equal(page.status, 403)
      assert.equal((await ask(headers, 'open')).status, 202)
    }
    for (const headers of [
      { ...post, 'Sec-Fetch-Site': 'same-origin' },
      { ...post, 'Sec-Fetch-Site': 'none' },
      { ...post, Origin: `https://${host}` },
      { 'X-Forwarded-Method': 'GET', 'Sec-Fetch-Site': 'cross-site' },
    ]) {
      assert.equal((await ask(headers)).status, 202)
    }
  })

  it('refuses what may be a form of another site where the proxy does not say the method', async () => {
    await signInWith(service, browser)
    for (const headers of [
      { 'Sec-Fetch-Site': 'cross-site' },
      { 'Sec-Fetch-Site': 'same-site' },
      { Origin: 'https://evil.example' },
      { Origin: 'null' },
    ]) {
      assert.equal((await browser.visit('/oauth2/auth', { headers })).reason, 'cross_site_request')
    }
    for (const headers of [{ 'Sec-Fetch-Site': 'same-origin' }, { 'Sec-Fetch-Site': 'none' }, {}]) {
      assert.equal((await browser.visit('/oauth2/auth', { headers })).status, 202)
    }
  })

  it('shows a person a page where a policy refuses, and a script JSON', async () => {
    await signInWith(service, browser)
    const page = await browser.visit('/oauth2/auth?policy=grouped', { headers: navigation })
    assert.equal(page.status, 403)
    assert.equal(page.reason, 'group_missing')
    assert.match(page.headers['content-type'] ?? '', /^text\/html/)
    assert.match(page.body, /signed in as Adele Vance.*administrator/s)
    assert.match(page.headers['content-security-policy'] ?? '', /^default-src 'none'/)
    const form = { ...navigation, 'X-Forwarded-Method': 'POST', 'Sec-Fetch-Site': 'cross-site' }
    const sent = await browser.visit('/oauth2/auth', { headers: form })
    assert.match(sent.body, /page of another site sent this/)
    const script = await browser.visit('/oauth2/auth?policy=grouped')
    assert.equal(JSON.parse(script.body).reason, 'group_missing')
  })

  it('sends a navigation after the soft end to a re-check, and lets scripts go on', async () => {
    await signInWith(service, browser)
    service.time.nowMs += 3_600_000
    const page = await browser.visit('/oauth2/auth', { headers: navigation })
    assert.equal(page.reason, 'session_recheck')
    assert.equal(page.headers['x-entra-auth-sign-in'], '/oauth2/start')
    const script = {
      'Sec-Fetch-Mode': 'cors',
      'Sec-Fetch-Dest': 'empty',
      'Sec-Fetch-Site': 'same-origin',
    }
    assert.equal((await browser.visit('/oauth2/auth', { headers: script })).status, 202)
  })

  it('redirects a navigation itself if the proxy asks for it', async () => {
    const headers = {
      ...navigation,
      Host: 'auth.internal:8081',
      'X-Forwarded-Host': host,
      'X-Forwarded-Method': 'GET',
      'X-Forwarded-Uri': '/reports?a=b&c',
    }
    const page = await browser.visit('/oauth2/auth?redirect=true', { headers })
    assert.equal(page.status, 302)
    assert.equal(page.location, `https://${host}/oauth2/start?rd=%2Freports%3Fa%3Db%26c`)
    const script = { ...headers, 'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Dest': 'empty' }
    assert.equal(
      (await browser.visit('/oauth2/auth?redirect=true', { headers: script })).status,
      401,
    )
  })
})

describe('a refusal of the verify listener', () => {
  it('is a page where the action says that a person navigates with a session', async () => {
    await signInWith(service, browser)
    const value = browser.cookies.get(sessionCookie) ?? ''
    const forPerson = { 'X-Entra-Auth-Page': '1', 'X-Request-Id': 'request-7' }
    const ask = (policy: string, headers: Record<string, string>) =>
      verify(service, policy, withSession(value, headers))
    const page = await ask('grouped', forPerson)
    assert.equal(page.status, 403)
    assert.equal(page.reason, 'group_missing')
    assert.equal(page.headers['content-type'], 'text/html; charset=utf-8')
    assert.equal(page.headers['cache-control'], 'no-store')
    assert.match(page.headers['content-security-policy'] ?? '', /^default-src 'none'; /)
    assert.match(page.body, /signed in as Adele Vance/)
    assert.match(page.body, /group_missing.*grouped.*request-7/s)
    // It has to fit through HAProxy.
    assert.ok(Buffer.byteLength(page.body) < 8_192, `${page.body.length}`)
    // What signing in changes, what nobody looks at, and what a token asked for stay JSON.
    const others = [
      await ask('strong', forPerson),
      await ask('grouped', {}),
      await verify(service, 'mixed', {
        ...forPerson,
        Authorization: `Bearer ${v2User({ scp: 'x' })}`,
      }),
    ]
    assert.deepEqual(
      others.map(({ body }) => JSON.parse(body).reason),
      ['step_up_required', 'group_missing', 'scope_missing'],
    )
  })

  it('shows markup in a name as text, and the text of the operator up to its limit', async () => {
    const own = await startSignIn({ section: { page: { text: 'Help: extension 42' } } })
    const person = openBrowser(own)
    await signInWith(own, person, { claims: { name: '<script>alert(1)</script>' } })
    const value = person.cookies.get(sessionCookie) ?? ''
    const page = await verify(own, 'grouped', withSession(value, { 'X-Entra-Auth-Page': '1' }))
    assert.doesNotMatch(page.body, /<script/)
    assert.match(page.body, /&lt;script&gt;/)
    assert.match(page.body, /extension 42/)
    await own.close()
  })
})

describe('/oauth2/auth with a caller key', () => {
  let keyed: SignInService
  before(async () => {
    keyed = await startSignIn({ config: { callerKeyFile: '/nowhere/key' } })
  })
  after(() => keyed.close())

  it('answers nobody without it, and signs in as ever', async () => {
    const person = openBrowser(keyed)
    await signInWith(keyed, person)
    const ask = (headers: Record<string, string>) => person.visit('/oauth2/auth', { headers })
    assert.equal((await ask({})).reason, 'caller_not_allowed')
    assert.equal((await ask({ 'X-Entra-Auth-Key': `${callerKey}k` })).reason, 'caller_not_allowed')
    assert.equal((await ask({ 'X-Entra-Auth-Key': callerKey })).status, 202)
  })
})

describe('the audit', () => {
  it('has one line for each session and policy, wherever it was first seen', async () => {
    const lines: { policy: string; user: string; session?: string; token_id?: string }[] = []
    const audited = await startSignIn({
      audit: { info: (fields) => void lines.push(fields as (typeof lines)[number]) },
    })
    const person = openBrowser(audited)
    await signInWith(audited, person)
    const ask = (policy: string) =>
      verify(audited, policy, withSession(person.cookies.get(sessionCookie) ?? ''))
    assertAllowed(await ask('default'))
    assertAllowed(await ask('default'))
    await person.visit('/oauth2/auth')
    await person.visit('/oauth2/auth?policy=open')
    assertAllowed(await ask('open'))
    const { id } = openSession(sealingKeys, person.cookies.get(sessionCookie) ?? '') ?? {}
    assert.deepEqual(
      lines.map(({ policy, user, session }) => [policy, user, session]),
      [
        ['default', ids.user, id],
        ['open', ids.user, id],
      ],
    )
    // A token that comes by /oauth2/auth first has its line all the same.
    const authorization = `Bearer ${v2User()}`
    await person.visit('/oauth2/auth?policy=mixed', { headers: { Authorization: authorization } })
    await verify(audited, 'mixed', { Authorization: authorization })
    assert.deepEqual(
      lines.slice(2).map(({ policy }) => policy),
      ['mixed'],
    )
    await audited.close()
  })
})

describe('a listener whose event loop lags above the limit', () => {
  it('begins no sign-in, and lets people sign out', async (t) => {
    const busy = await startSignIn({ config: { overload: { maxEventLoopLagMs: 20 } } })
    t.after(() => busy.close())
    const person = openBrowser(busy)
    // On a machine with much to do it may be overloaded by itself now and then.
    await eventually(
      () =>
        signInWith(busy, person).then(
          () => true,
          () => false,
        ),
      (isSignedIn) => isSignedIn,
    )
    const rest = keepBusy(60)
    t.after(rest)
    const refused = await eventually(
      () => person.visit('/oauth2/start'),
      ({ status }) => status === 503,
    )
    assert.equal(refused.reason, 'overloaded')
    assert.match(refused.body, /too much to do/)
    assert.match(refused.headers['retry-after'] ?? '', /^\d+$/)
    const asked = await eventually(
      () => person.visit('/oauth2/auth'),
      ({ status }) => status === 503,
    )
    assert.equal(JSON.parse(asked.body).reason, 'overloaded')
    const out = await person.visit('/oauth2/sign_out', { method: 'POST' })
    assert.equal(out.status, 303)
    rest()
    await eventually(
      () => person.visit('/oauth2/start'),
      ({ status }) => status === 302,
    )
  })
})

describe('the listener', () => {
  it('answers GET and POST at its own paths and nothing else', async () => {
    for (const [method, path, status] of [
      ['GET', '/', 404],
      ['GET', '/oauth2', 404],
      ['GET', '/oauth2/start/', 404],
      ['GET', '/OAUTH2/start', 404],
      ['GET', '/verify/default', 404],
      ['GET', '/metrics', 404],
      ['HEAD', '/oauth2/start', 404],
      ['POST', '/oauth2/start', 405],
      ['POST', '/oauth2/callback', 405],
      ['PUT', '/oauth2/sign_out', 405],
      ['DELETE', '/oauth2/sign_out', 405],
      ['OPTIONS', '/oauth2/start', 405],
    ] as const) {
      const page = await browser.visit(path, { method })
      assert.equal(page.status, status, `${method} ${path}`)
    }
  })

  it('serves no other host', async () => {
    for (const at of ['evil.example', `${host}.evil.example`, `${host}:444`, '127.0.0.1']) {
      for (const path of ['/oauth2/start', '/oauth2/callback?code=x&state=y', '/oauth2/sign_out']) {
        const page = await openBrowser(service, at).visit(path)
        assert.equal(page.status, 421)
        assert.deepEqual(page.setCookies, [])
      }
    }
  })

  it('is not there without the section signIn', async () => {
    const { startService } = await import('../support/service.ts')
    const plain = await startService()
    assert.equal(plain.app.signIn, undefined)
    await plain.close()
  })
})
