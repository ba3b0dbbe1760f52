import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { maxOfAccount } from '../../src/sign-in/own-revocations.ts'
import { ids, startSeconds } from '../support/ids.ts'
import { verify } from '../support/service.ts'
import { cookieOf, host, withSession } from '../support/sessions.ts'
import {
  type Browser,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'
import { sessionIn, shareService } from './shared-service.ts'

let service: SignInService
let browser: Browser
shareService((shared) => {
  ;({ service, browser } = shared)
})

const verifyWith = (from: Browser, policy = 'default') =>
  verify(service, policy, withSession(from.cookies.get(sessionCookie) ?? ''))

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

  it('by the button of its page works in browsers without Fetch Metadata', async () => {
    await signInWith(service, browser)
    const page = await browser.visit('/oauth2/sign_out')
    // With `no-referrer` a browser sends `Origin: null` with the form (Fetch, "append a request Origin header").
    assert.equal(page.headers['referrer-policy'], 'same-origin')
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

  it('by the page or a script of it works; so does a link that a person follows', async () => {
    for (const [method, headers] of [
      ['POST', { 'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Dest': 'empty' }],
      ['POST', { 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' }],
      ['GET', { 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' }],
    ] as const) {
      await signInWith(service, browser)
      const page = await browser.visit('/oauth2/sign_out', {
        method,
        headers: { ...headers, 'Sec-Fetch-Site': 'same-origin' },
      })
      assert.equal(page.status, 303, method)
      assert.equal(browser.cookies.has(sessionCookie), false)
    }
  })

  it('names the person where there is one, by the name that there is', async () => {
    const ask = async (members?: Parameters<typeof cookieOf>[0]) => {
      const cookies = new Map(members ? [[sessionCookie, cookieOf(members)]] : [])
      const page = await openBrowser(service, host, cookies).visit('/oauth2/sign_out')
      assert.equal(page.status, 200)
      return page.body
    }
    assert.match(await ask({ name: 'Adele Vance' }), /Adele Vance/)
    assert.match(await ask({ name: undefined }), /adele@contoso\.example/)
    assert.doesNotMatch(await ask(), /Adele|adele/)
  })

  it('lets Entra ask who is meant where no login hint is known, and is counted', async () => {
    const counted = async () => {
      const { body } = await service.app.metrics.inject('/metrics')
      return Number(/outcome="signed_out"\} (\d+)/.exec(body)?.[1])
    }
    const before = await counted()
    const cookies = new Map([[sessionCookie, cookieOf({ loginHint: undefined })]])
    const someone = openBrowser(service, host, cookies)
    const page = await someone.visit('/oauth2/sign_out', { method: 'POST' })
    assert.equal(new URL(page.location ?? '').searchParams.has('logout_hint'), false)
    assert.equal(await counted(), before + 1)
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
    assert.equal(page.headers['content-type'], 'text/html; charset=utf-8')
    assert.equal(page.body, '')
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
