import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { loginCookie, sessionCookie } from '../../src/session/cookie.ts'
import { openSession } from '../../src/session/session.ts'
import { openLogin } from '../../src/sign-in/login.ts'
import { startSeconds } from '../support/ids.ts'
import { verify } from '../support/service.ts'
import { cookieOf, host, sealingKeys, withSession } from '../support/sessions.ts'
import { askedOf, openBrowser, type SignInService, startSignIn } from '../support/sign-in.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

/** The value with each character changed, cut at each place, and put together in other ways. */
function* altered(value: string): Generator<string> {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i)
    for (const bit of [1, 2, 4, 8, 16, 32]) {
      yield value.slice(0, i) + String.fromCharCode(code ^ bit) + value.slice(i + 1)
    }
    yield value.slice(0, i)
    yield value.slice(i + 1)
    yield value.slice(0, i) + value.charAt(i) + value.slice(i)
  }
  yield value + value
  yield `${value}.${value}`
  yield `"${value}"`
  yield encodeURIComponent(`${value}=`)
  yield value.split('').reverse().join('')
}

describe('a cookie', () => {
  it('of a session opens only as it was, whichever byte is flipped, cut or doubled', () => {
    const value = cookieOf()
    assert.ok(openSession(sealingKeys, value))
    for (const other of altered(value)) {
      if (other !== value) assert.equal(openSession(sealingKeys, other), undefined, other)
    }
  })

  it('of a login opens only as it was', async () => {
    const browser = openBrowser(service)
    await browser.visit('/oauth2/start')
    const value = browser.cookies.get(loginCookie) ?? ''
    assert.ok(openLogin(sealingKeys, value, host, startSeconds))
    for (const other of altered(value)) {
      if (other !== value) {
        assert.equal(openLogin(sealingKeys, other, host, startSeconds), undefined, other)
      }
    }
  })

  it('that is altered is no session at /verify and no error of the server', async () => {
    const value = cookieOf()
    const printable = [...altered(value)].filter((other) => /^[!-~]+$/.test(other))
    assert.ok(printable.length > 1_000, `${printable.length}`)
    const step = Math.floor(printable.length / 100)
    const tried = printable.filter((_, i) => i % step === 0)
    for (const other of tried) {
      if (other === value) continue
      const reply = await verify(service, 'default', withSession(other))
      assert.equal(reply.status, 401)
      assert.equal(reply.reason, 'no_session')
    }
  })

  it('that is altered completes no sign-in', async () => {
    const browser = openBrowser(service)
    const asked = askedOf(await browser.visit('/oauth2/start'))
    const value = browser.cookies.get(loginCookie) ?? ''
    for (const other of [value.slice(1), `${value}A`, value + value, 'A'.repeat(5_000)]) {
      browser.cookies.set(loginCookie, other)
      const page = await browser.visit(`/oauth2/callback?code=x&state=${asked.get('state')}`)
      assert.equal(page.status, 400)
      assert.equal(browser.cookies.has(sessionCookie), false)
    }
  })
})
