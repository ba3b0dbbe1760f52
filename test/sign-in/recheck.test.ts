import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { maxStarts } from '../../src/sign-in/login.ts'
import { assertAllowed } from '../support/expect.ts'
import { startMs, startSeconds } from '../support/ids.ts'
import { verify } from '../support/service.ts'
import { cookieOf, host, withSession } from '../support/sessions.ts'
import {
  askedOf,
  type Browser,
  callbackOf,
  grantCode,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'
import { notFromEntra, sessionIn, shareService } from './shared-service.ts'

let service: SignInService
let browser: Browser
shareService((shared) => {
  ;({ service, browser } = shared)
})

const verifyWith = (from: Browser, policy = 'default') =>
  verify(service, policy, withSession(from.cookies.get(sessionCookie) ?? ''))

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

  it('is not even begun where Entra is known to be out of reach', async (t) => {
    // One of its own: the shared one may have read the metadata at a later time, in another test.
    const other = await startSignIn()
    t.after(() => other.close())
    const someone = openBrowser(other)
    await signInWith(other, someone)
    other.time.nowMs += hour
    other.authority.contoso.v2.metadataFault = 'error'
    const page = await someone.visit('/oauth2/start?rd=/page')
    assert.equal(page.location, '/page')
    assert.equal(sessionIn(someone)?.softEnd, startSeconds + 3_900)
  })

  it('that cannot be begun ends in a page and not in a circle', async (t) => {
    const other = await startSignIn()
    t.after(() => other.close())
    other.authority.contoso.v2.metadataFault = 'error'
    // A policy names a group that this session did not look at: a longer life does not help.
    const someone = openBrowser(other, host, new Map([[sessionCookie, cookieOf({})]]))
    for (let attempt = 0; attempt < maxStarts; attempt++) {
      assert.equal((await someone.visit('/oauth2/start?rd=/page')).location, '/page')
    }
    const page = await someone.visit('/oauth2/start?rd=/page')
    assert.equal(page.reason, 'too_many_starts')
    // A session that goes on is not in a circle.
    other.time.nowMs += 60_000
    assert.equal((await someone.visit('/oauth2/start?rd=/page')).location, '/page')
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
