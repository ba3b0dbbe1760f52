import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { loginCookie, sessionCookie } from '../../src/session/cookie.ts'
import {
  askedOf,
  callbackOf,
  grantCode,
  openBrowser,
  type SignInService,
  startSignIn,
} from '../support/sign-in.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

/** The callback with the code of an attacker, who began in a browser of their own. */
async function attack() {
  const attacker = openBrowser(service)
  const asked = askedOf(await attacker.visit('/oauth2/start?rd=/attack'))
  const { code, forms } = grantCode(service.authority, asked, { sub: 'attacker' })
  return { callback: callbackOf(asked, { code }), forms, attacker }
}

describe('a callback that another browser began', () => {
  it('makes no session in a browser that began nothing', async () => {
    const { callback, forms } = await attack()
    const victim = openBrowser(service)
    const page = await victim.visit(callback, { headers: { 'Sec-Fetch-Site': 'cross-site' } })
    assert.equal(page.reason, 'cookies_blocked')
    assert.deepEqual(page.setCookies, [])
    assert.equal(forms.length, 0)
  })

  it('makes no session in a browser that is signing in itself', async () => {
    const { callback, forms } = await attack()
    const victim = openBrowser(service)
    await victim.visit('/oauth2/start?rd=/own')
    const page = await victim.visit(callback)
    assert.equal(victim.cookies.has(sessionCookie), false)
    assert.equal(forms.length, 0)
    // It begins anew as itself, on this host.
    assert.equal(page.location, '/oauth2/start?rd=%2Fattack')
  })

  it('does not replace the session of a person who is signed in', async () => {
    const victim = openBrowser(service)
    const asked = askedOf(await victim.visit('/oauth2/start'))
    await victim.visit(callbackOf(asked, { code: grantCode(service.authority, asked).code }))
    const own = victim.cookies.get(sessionCookie)
    service.time.nowMs += 5_000
    const { callback, forms } = await attack()
    await victim.visit(callback)
    assert.equal(victim.cookies.get(sessionCookie), own)
    assert.equal(forms.length, 0)
  })

  it('needs the cookie, and not only a cookie of that name', async () => {
    const { callback, attacker } = await attack()
    for (const value of ['', 'x', attacker.cookies.get(loginCookie)?.slice(1) ?? '']) {
      const victim = openBrowser(service)
      victim.cookies.set(loginCookie, value)
      const page = await victim.visit(callback)
      assert.equal(page.reason, 'state_invalid')
      assert.equal(victim.cookies.has(sessionCookie), false)
    }
  })
})
