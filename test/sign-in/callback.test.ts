import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { loginSeconds } from '../../src/sign-in/login.ts'
import { ids, startMs, startSeconds } from '../support/ids.ts'
import { host } from '../support/sessions.ts'
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
import { sessionIn, shareService } from './shared-service.ts'

let service: SignInService
let browser: Browser
shareService((shared) => {
  ;({ service, browser } = shared)
})

const otherUser = 'd1000000-0000-4000-8000-0000000000d1'
const loginCookie = '__Host-entra-login'
const deepLink = '/orders?id=7&view=all'
/** The button of a page that begins anew, with the page that the person wanted. */
const beginsAnew = /href="\/oauth2\/start\?rd=%2Forders%3Fid%3D7%26view%3Dall"/

const start = async (from: Browser, query = '') =>
  askedOf(await from.visit(`/oauth2/start?rd=${encodeURIComponent(deepLink)}${query}`))

/** Metrics of outcomes: how often one was counted. */
async function counted(outcome: string): Promise<number> {
  const { body } = await service.app.metrics.inject('/metrics')
  const line = body.split('\n').find((one) => one.includes(`outcome="${outcome}"`))
  assert.ok(line, `no series for ${outcome}`)
  return Number(line.split(' ').at(-1))
}

describe('a callback that cannot be used', () => {
  it('without a state shows the correlation id of Entra', async () => {
    const id = '11112222-3333-4444-8555-666677778888'
    const description = encodeURIComponent(`AADSTS50011: no. Correlation ID: ${id}`)
    const page = await browser.visit(`/oauth2/callback?error_description=${description}`)
    assert.deepEqual([page.status, page.reason], [400, 'state_invalid'])
    assert.ok(page.body.includes(id) && page.body.includes('AADSTS50011'))
  })

  it('offers to begin anew for the page that was wanted', async () => {
    const asked = await start(browser)
    const withoutCookie = await openBrowser(service).visit(callbackOf(asked, { code: 'x' }))
    assert.equal(withoutCookie.reason, 'cookies_blocked')
    assert.match(withoutCookie.body, beginsAnew)
    const withoutCode = await browser.visit(callbackOf(asked, {}))
    assert.equal(withoutCode.reason, 'state_invalid')
    assert.match(withoutCode.body, beginsAnew)
    const withBadLogin = openBrowser(service, host, new Map([[loginCookie, 'none']]))
    const refused = await withBadLogin.visit(callbackOf(asked, { code: 'x' }))
    assert.deepEqual([refused.status, refused.reason], [400, 'state_invalid'])
    assert.match(refused.body, beginsAnew)
  })

  it("has two cookies of a sign-in, of which one may be somebody else's", async () => {
    const asked = await start(browser)
    const { code, forms } = grantCode(service.authority, asked)
    const value = browser.cookies.get(loginCookie)
    const headers = { Cookie: `${loginCookie}=${value}; ${loginCookie}=${value}` }
    const page = await browser.visit(callbackOf(asked, { code }), { headers })
    assert.equal(page.reason, 'state_invalid')
    assert.deepEqual(forms, [])
  })

  it('comes an hour after its start, also where another tab began meanwhile', async () => {
    const asked = await start(browser)
    const { code, forms } = grantCode(service.authority, asked)
    service.time.nowMs = startMs + (loginSeconds - 10) * 1_000
    await start(browser)
    service.time.nowMs = startMs + (loginSeconds + 1) * 1_000
    const late = await browser.visit(callbackOf(asked, { code }))
    assert.equal(late.reason, 'state_invalid')
    assert.match(late.body, beginsAnew)
    assert.deepEqual(forms, [])
    assert.equal(browser.cookies.has(sessionCookie), false)
    service.time.nowMs = startMs + loginSeconds * 1_000
    const inTime = await browser.visit(callbackOf(asked, { error: 'access_denied' }))
    assert.equal(inTime.reason, 'access_denied')
  })
})

describe('a step-up', () => {
  it('counts, although another tab signed in without it meanwhile', async () => {
    const asked = await start(browser, '&acrs=c1')
    const other = await start(browser)
    service.time.nowMs += 1_000
    const plain = grantCode(service.authority, other)
    await browser.visit(callbackOf(other, { code: plain.code }))
    assert.deepEqual(sessionIn(browser)?.authContexts, [])
    const stronger = grantCode(service.authority, asked, { acrs: ['c1'] })
    const page = await browser.visit(callbackOf(asked, { code: stronger.code }))
    assert.deepEqual([page.status, page.location], [302, deepLink])
    assert.deepEqual(sessionIn(browser)?.authContexts, ['c1'])
  })

  it('that Entra did not make offers to begin anew', async () => {
    const asked = await start(browser, '&acrs=c1')
    const { code } = grantCode(service.authority, asked)
    const page = await browser.visit(callbackOf(asked, { code }))
    assert.equal(page.reason, 'step_up_required')
    assert.match(page.body, beginsAnew)
  })

  it('ends the session that it replaces, of which there may be copies', async () => {
    await signInWith(service, browser)
    const former = sessionIn(browser)
    await signInWith(service, browser, {
      path: '/oauth2/start?rd=/&acrs=c1',
      claims: { acrs: ['c1'] },
    })
    assert.notEqual(sessionIn(browser)?.id, former?.id)
    assert.deepEqual(
      service.revocations.map(({ kind, id }) => [kind, id]),
      [['session', former?.id]],
    )
  })

  it('as another person is a session of that person', async () => {
    await signInWith(service, browser)
    const page = await signInWith(service, browser, {
      path: '/oauth2/start?rd=/room&acrs=c1',
      claims: { acrs: ['c1'], sub: 'another', oid: otherUser },
    })
    assert.deepEqual([page.status, page.location], [302, '/room'])
    assert.equal(sessionIn(browser)?.userId, otherUser)
    // The one before is somebody else's.
    assert.deepEqual(service.revocations, [])
  })

  it('that Entra refuses leaves the session as it was', async () => {
    await signInWith(service, browser)
    const before = browser.cookies.get(sessionCookie)
    const asked = await start(browser, '&acrs=c1')
    const page = await browser.visit(callbackOf(asked, { error: 'access_denied' }))
    assert.equal(page.reason, 'access_denied')
    assert.equal(browser.cookies.get(sessionCookie), before)
    assert.deepEqual(service.revocations, [])
  })
})

describe('a re-check', () => {
  async function recheck(): Promise<URLSearchParams> {
    await signInWith(service, browser)
    service.time.nowMs += 3_600_000
    return start(browser)
  }
  const later = { iat: startSeconds + 3_600, nbf: startSeconds + 3_600, exp: startSeconds + 7_200 }

  for (const error of [
    'login_required',
    'interaction_required',
    'consent_required',
    'account_selection_required',
  ]) {
    it(`with ${error} begins anew for the same page and person`, async () => {
      const asked = await recheck()
      const again = askedOf(await browser.visit(callbackOf(asked, { error })))
      assert.equal(again.get('prompt'), null)
      assert.equal(again.get('login_hint'), 'O.opaque-login-hint')
      assert.equal(again.get('claims'), null)
      assert.equal(service.revocations.length, 1)
      const { code } = grantCode(service.authority, again, later)
      assert.equal((await browser.visit(callbackOf(again, { code }))).location, deepLink)
    })
  }

  it('that Entra denies ends the session with a page', async () => {
    const asked = await recheck()
    const page = await browser.visit(callbackOf(asked, { error: 'access_denied' }))
    assert.deepEqual([page.status, page.reason], [403, 'access_denied'])
    assert.equal(page.location, undefined)
    assert.match(page.body, beginsAnew)
    assert.equal(browser.cookies.has(sessionCookie), false)
    assert.equal(service.revocations.length, 1)
  })

  for (const [what, claims] of [
    ['another object id', { oid: otherUser }],
    ['another subject', { sub: 'another' }],
  ] as const) {
    it(`that comes back with ${what} begins anew for the same page, and suggests nobody`, async () => {
      const asked = await recheck()
      const before = browser.cookies.get(sessionCookie)
      const { code } = grantCode(service.authority, asked, { ...later, ...claims })
      const again = askedOf(await browser.visit(callbackOf(asked, { code })))
      assert.equal(again.get('prompt'), null)
      assert.equal(again.get('login_hint'), null)
      assert.equal(browser.cookies.get(sessionCookie), before)
      const signedIn = grantCode(service.authority, again, { ...later, ...claims })
      const page = await browser.visit(callbackOf(again, { code: signedIn.code }))
      assert.equal(page.location, deepLink)
    })
  }
})

describe('a sign-in', () => {
  it('is counted, and so is a re-check', async () => {
    const [signedIn, rechecked] = [await counted('signed_in'), await counted('rechecked')]
    await signInWith(service, browser)
    assert.deepEqual(
      [await counted('signed_in'), await counted('rechecked')],
      [signedIn + 1, rechecked],
    )
    service.time.nowMs += 3_600_000
    const claims = {
      iat: startSeconds + 3_600,
      nbf: startSeconds + 3_600,
      exp: startSeconds + 7_200,
    }
    await signInWith(service, browser, { claims })
    assert.deepEqual(
      [await counted('signed_in'), await counted('rechecked')],
      [signedIn + 1, rechecked + 1],
    )
  })

  it('that cannot begin offers to begin anew', async (t) => {
    const other = await startSignIn()
    t.after(() => other.close())
    other.authority.contoso.v2.metadataFault = 'error'
    const page = await openBrowser(other).visit(`/oauth2/start?rd=${encodeURIComponent(deepLink)}`)
    assert.equal(page.reason, 'entra_unavailable')
    assert.match(page.body, beginsAnew)
  })

  it('that goes on without a re-check is counted as postponed', async () => {
    await signInWith(service, browser)
    service.time.nowMs += 3_600_000
    const before = await counted('postponed')
    await browser.visit(callbackOf(await start(browser), { error: 'server_error' }))
    assert.equal(await counted('postponed'), before + 1)
  })

  it('with an ID token that is refused raises no alarm about Entra', async () => {
    const asked = await start(browser)
    const { code } = grantCode(service.authority, asked, { azp: ids.client })
    const lines = service.log.length
    const page = await browser.visit(callbackOf(asked, { code }))
    assert.equal(page.reason, 'id_token_refused')
    const said = service.log.slice(lines)
    assert.ok(said.some((line) => line.includes('ID token refused')))
    assert.ok(!said.some((line) => line.includes('out of order')))
  })
})
