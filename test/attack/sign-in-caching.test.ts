import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { ask, verify } from '../support/service.ts'
import { host } from '../support/sessions.ts'
import { openBrowser, type SignInService, signInWith, startSignIn } from '../support/sign-in.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

describe('an answer about a person', () => {
  it('of the sign-in listener is stored nowhere', async () => {
    const browser = openBrowser(service)
    const pages = [
      await browser.visit('/oauth2/start'),
      await browser.visit('/oauth2/callback'),
      await signInWith(service, browser),
      await browser.visit('/oauth2/userinfo'),
      await browser.visit('/oauth2/auth'),
      await browser.visit('/oauth2/auth?policy=grouped'),
      await browser.visit('/oauth2/sign_out'),
      await browser.visit('/oauth2/frontchannel_logout?sid=0123456789abcdef'),
      await browser.visit('/oauth2/sign_out', { method: 'POST' }),
      await browser.visit('/oauth2/signed_out'),
      await browser.visit('/nowhere'),
      await browser.visit('/oauth2/%ff'),
      await browser.visit('/oauth2/sign_out', { method: 'POST', body: 'x'.repeat(2_000) }),
      await openBrowser(service, 'evil.example').visit('/oauth2/start'),
    ]
    for (const page of pages) {
      assert.equal(page.headers['cache-control'], 'no-store')
      assert.equal(page.headers.etag, undefined)
      assert.equal(page.headers['last-modified'], undefined)
    }
  })

  it('of the verifier is private, and says what it depends on', async () => {
    const refused = await verify(service, 'default', { 'X-Forwarded-Host': host })
    assert.equal(refused.headers['cache-control'], 'no-store')
    const browser = openBrowser(service)
    await signInWith(service, browser)
    const cookie = [...browser.cookies].map((pair) => pair.join('=')).join('; ')
    const allowed = await ask(service, '/verify/default', {
      headers: { Cookie: cookie, 'X-Forwarded-Host': host },
    })
    assert.match(allowed.headers['cache-control'] ?? '', /^private, max-age=\d+$/)
    for (const name of ['Authorization', 'Cookie', 'X-Entra-Auth-Session', 'X-Forwarded-Host']) {
      assert.ok(allowed.headers.vary?.split(', ').includes(name), name)
    }
    assert.equal(allowed.headers['set-cookie'], undefined)
  })
})
