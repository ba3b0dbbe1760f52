import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { loginCookie, sessionCookie } from '../../src/session/cookie.ts'
import { seal } from '../../src/session/sealing.ts'
import { ids } from '../support/ids.ts'
import { verify } from '../support/service.ts'
import { cookieOf, otherHost, sealingKeys, withSession } from '../support/sessions.ts'
import {
  askedOf,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

describe('a cookie of another purpose', () => {
  it('is no session: neither a login nor a state', async () => {
    const browser = openBrowser(service)
    const asked = askedOf(await browser.visit('/oauth2/start'))
    for (const value of [browser.cookies.get(loginCookie) ?? '', asked.get('state') ?? '']) {
      const reply = await verify(service, 'default', withSession(value))
      assert.equal(reply.reason, 'no_session')
    }
  })

  it('is not accepted as a login or a state: session cookies and each other', async () => {
    const browser = openBrowser(service)
    const asked = askedOf(await browser.visit('/oauth2/start'))
    const login = browser.cookies.get(loginCookie) ?? ''
    const state = asked.get('state') ?? ''
    for (const value of [cookieOf(), state]) {
      const other = openBrowser(service)
      other.cookies.set(loginCookie, value)
      const page = await other.visit(`/oauth2/callback?code=x&state=${state}`)
      assert.equal(page.reason, 'state_invalid')
    }
    for (const value of [cookieOf(), login]) {
      const page = await browser.visit(`/oauth2/callback?code=x&state=${value}`)
      assert.equal(page.reason, 'state_invalid')
    }
  })

  it('that is sealed for sessions and holds something else is none', async () => {
    for (const text of ['[]', '[2]', '["1"]', '{}', 'null']) {
      const value = seal(sealingKeys, 'session', text) ?? ''
      const reply = await verify(service, 'default', withSession(value))
      assert.equal(reply.reason, 'no_session', text)
    }
  })
})

describe('a session of another host', () => {
  it('counts nowhere else, at /verify or at the sign-in listener', async () => {
    const browser = openBrowser(service)
    await signInWith(service, browser)
    const value = browser.cookies.get(sessionCookie) ?? ''
    const reply = await verify(
      service,
      'default',
      withSession(value, { 'X-Forwarded-Host': otherHost }),
    )
    assert.equal(reply.reason, 'no_session')
    const elsewhere = openBrowser(service, otherHost, browser.cookies)
    assert.equal((await elsewhere.visit('/oauth2/userinfo')).status, 401)
    assert.equal((await elsewhere.visit('/oauth2/auth')).status, 401)
    // A start there is no re-check of it either.
    assert.equal(askedOf(await elsewhere.visit('/oauth2/start')).get('prompt'), null)
  })

  it('of another registration or tenant does not count', async () => {
    for (const members of [{ clientId: ids.client }, { tenantId: ids.fabrikam }]) {
      const reply = await verify(service, 'default', withSession(cookieOf(members)))
      assert.equal(reply.reason, 'no_session')
    }
  })
})
