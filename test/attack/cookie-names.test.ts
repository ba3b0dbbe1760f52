import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { loginCookie, sessionCookie } from '../../src/session/cookie.ts'
import { ask } from '../support/service.ts'
import { cookieOf, host } from '../support/sessions.ts'
import { askedOf, openBrowser, type SignInService, startSignIn } from '../support/sign-in.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

/** Ways to write a cookie's name that some server takes for the name. */
const spellings = (name: string) => [
  name.toLowerCase(),
  name.toUpperCase(),
  name.replace('__Host', '__host'),
  name.replace('__Host', '__Secure'),
  name.replace('__Host-', ''),
  name.replaceAll('-', '_'),
  name.replaceAll('-', '%2d'),
  encodeURIComponent(name).replaceAll('_', '%5F'),
  `"${name}"`,
  `${name}[]`,
  `${name}[0]`,
  `${name}.`,
  `${name}_0`,
  `=${name}`,
  `$Path="/"; x${name}`,
  `${name};`,
  `${name} `,
  `${name}\t`,
  `a=1;\t${name}`,
  `a=1; \t${name}`,
  `a=1, ${name}`,
  `a=1,${name}`,
  `a=1 ${name}`,
  `a=${name}`,
  `a="; "${name}`,
]

describe('a cookie name in another spelling', () => {
  it('is no session', async () => {
    const value = cookieOf()
    for (const name of spellings(sessionCookie)) {
      const headers = { Cookie: `${name}=${value}`, 'X-Forwarded-Host': host }
      const reply = await ask(service, '/verify/default', { headers })
      assert.equal(reply.reason, 'no_session', name)
      const page = await openBrowser(service).visit('/oauth2/userinfo', { headers })
      assert.equal(page.status, 401, name)
    }
  })

  it('is no login', async () => {
    const browser = openBrowser(service)
    const asked = askedOf(await browser.visit('/oauth2/start'))
    const value = browser.cookies.get(loginCookie)
    for (const name of spellings(loginCookie)) {
      const page = await openBrowser(service).visit(
        `/oauth2/callback?code=x&state=${asked.get('state')}`,
        { headers: { Cookie: `${name}=${value}` } },
      )
      assert.ok(page.status >= 400, name)
      assert.ok(['cookies_blocked', 'state_invalid'].includes(page.reason ?? ''), name)
    }
  })

  it('that some program takes for the right name makes the right one ambiguous', async () => {
    const value = cookieOf()
    for (const odd of [`${sessionCookie} `, `a=1, ${sessionCookie}`, `a=1;\t${sessionCookie}`]) {
      for (const cookie of [
        [`${odd}=x; ${sessionCookie}=${value}`],
        [`${sessionCookie}=${value}; ${odd}=x`],
        [`${odd}=x`, `${sessionCookie}=${value}`],
      ]) {
        const headers = { Cookie: cookie, 'X-Forwarded-Host': host }
        const reply = await ask(service, '/verify/default', { headers })
        assert.equal(reply.reason, 'no_session', cookie.join(' | '))
        const page = await openBrowser(service).visit('/oauth2/userinfo', { headers })
        assert.equal(page.status, 401, cookie.join(' | '))
      }
    }
  })

  it('beside the right one does not disturb it', async () => {
    const value = cookieOf()
    const cookie = `${sessionCookie.toLowerCase()}=x; ${sessionCookie}=${value}; a; =b`
    const headers = { Cookie: cookie, 'X-Forwarded-Host': host }
    assert.equal((await ask(service, '/verify/default', { headers })).status, 200)
  })
})
