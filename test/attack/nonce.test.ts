import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
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

describe('the nonce of an ID token', () => {
  it('must be the one of this attempt', async () => {
    const earlier = askedOf(await openBrowser(service).visit('/oauth2/start')).get('nonce') ?? ''
    for (const nonce of [earlier, '', undefined, 'n', 1, null, [earlier]]) {
      const browser = openBrowser(service)
      const asked = askedOf(await browser.visit('/oauth2/start'))
      const { code } = grantCode(service.authority, asked, { nonce })
      const page = await browser.visit(callbackOf(asked, { code }))
      assert.equal(page.reason, 'id_token_refused', JSON.stringify(nonce))
      assert.equal(browser.cookies.has(sessionCookie), false)
    }
  })

  it('is another one for each attempt, and tells nothing of the verifier', async () => {
    const browser = openBrowser(service)
    const asked = [
      askedOf(await browser.visit('/oauth2/start?rd=/1')),
      askedOf(await browser.visit('/oauth2/start?rd=/2')),
    ]
    const seen = asked.flatMap((one) => [
      one.get('nonce'),
      one.get('code_challenge'),
      one.get('state'),
    ])
    assert.equal(new Set(seen).size, seen.length)
  })
})
