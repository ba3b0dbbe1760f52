import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { assertAllowed } from '../support/expect.ts'
import { ids, startSeconds } from '../support/ids.ts'
import { verify } from '../support/service.ts'
import { host, webClient, withSession } from '../support/sessions.ts'
import {
  askedOf,
  type Browser,
  callbackOf,
  grantCode,
  openBrowser,
  type Page,
  type SignInService,
  signInWith,
} from '../support/sign-in.ts'
import { sessionIn, shareService } from './shared-service.ts'

let service: SignInService
let browser: Browser
shareService((shared) => {
  ;({ service, browser } = shared)
})

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
    const checkedWith = async (aheadMs: number, { claims = {}, tookMs = 0 } = {}) => {
      const askedAtMs = service.time.nowMs
      const other = openBrowser(service)
      const asked = askedOf(await other.visit('/oauth2/start'))
      const { code } = grantCode(service.authority, asked, claims)
      const granted = service.authority.token
      service.authority.token = (form) => {
        service.time.nowMs += tookMs
        const date = new Date(service.time.nowMs - aheadMs).toUTCString()
        return { ...(granted?.(form) ?? { status: 500, body: '' }), headers: { date } }
      }
      await other.visit(callbackOf(asked, { code }))
      service.time.nowMs = askedAtMs
      return { other, asked, code, ahead: startSeconds - Number(sessionIn(other)?.checkedAt) }
    }
    const { other, asked, code, ahead } = await checkedWith(30_000)
    assert.equal(ahead, 30)
    const id = sessionIn(other)?.id
    const again = await other.visit(callbackOf(asked, { code }))
    assert.deepEqual([again.status, again.location], [302, '/'], 'the callback loaded again')
    assert.equal(sessionIn(other)?.id, id)
    assert.equal(sessionIn(other)?.signedInAt, startSeconds)
    // Revoked after that sign-in, by a replica whose clock is right.
    const user = { kind: 'user', id: `${ids.contoso}/${ids.user}`, reason: 'left' } as const
    service.revocations.push({ ...user, before: startSeconds - 20, until: startSeconds + 9_999 })
    assert.equal((await verifyWith(other)).reason, 'session_revoked')
    service.revocations.length = 0
    // `Date` has whole seconds; a clock that is behind dates too early, which no revocation misses.
    for (const aheadMs of [0, 1_000, 2_000, -30_000]) {
      assert.equal((await checkedWith(aheadMs)).ahead, 0, `${aheadMs} ms`)
    }
    // As far as an ID token can be ahead: later it has ended.
    for (const aheadMs of [3_000, 300_000, 301_000, 3_600_000]) {
      assert.equal((await checkedWith(aheadMs)).ahead, aheadMs / 1000)
    }
    // A revocation that is made while Entra answers counts, too.
    assert.equal((await checkedWith(30_000, { tookMs: 5_000 })).ahead, 30)
    // Where the way to Entra has the wrong time too, the ID token says it, up to five minutes back.
    const claims = { iat: startSeconds - 1_800, nbf: startSeconds - 1_800 }
    assert.equal((await checkedWith(0, { claims })).ahead, 1_500)
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

  it('of two tabs is two sessions if it is of two people or begins later, and none if the first was ended', async () => {
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
      if (!sessionIn(tab)) return undefined
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
      undefined,
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
    // Where it was opened in many tabs, one of them signs in, and this link works in the others.
    assert.match(page.body, /<a class="action" href="\/loop">Go to the page<\/a>/)
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
