import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { loginCookie } from '../../src/session/cookie.ts'
import { openLogin } from '../../src/sign-in/login.ts'
import { hashOf } from '../../src/sign-in/pkce.ts'
import { startSeconds } from '../support/ids.ts'
import { host, sealingKeys } from '../support/sessions.ts'
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

describe('PKCE', () => {
  it('is part of each start and of each redemption', async () => {
    const browser = openBrowser(service)
    const asked = askedOf(await browser.visit('/oauth2/start'))
    assert.equal(asked.get('code_challenge_method'), 'S256')
    const { code, forms } = grantCode(service.authority, asked)
    await browser.visit(callbackOf(asked, { code }))
    const verifier = forms[0]?.get('code_verifier') ?? ''
    assert.match(verifier, /^[\w-]{43}$/)
    assert.equal(hashOf(verifier), asked.get('code_challenge'))
  })

  it('cannot be turned off or chosen by whoever makes a link', async () => {
    const query =
      'code_challenge=x&code_challenge_method=plain&nonce=n&state=s&prompt=login&client_id=c&redirect_uri=https://evil.example&scope=s'
    const asked = askedOf(await openBrowser(service).visit(`/oauth2/start?rd=/&${query}`))
    for (const [name, value] of new URLSearchParams(query)) {
      assert.notEqual(asked.get(name), value, name)
    }
    for (const name of asked.keys()) assert.equal(asked.getAll(name).length, 1, name)
  })

  it('is another verifier for each attempt, and none can be made from what Entra sees', async () => {
    const browser = openBrowser(service)
    const [first, second] = [
      askedOf(await browser.visit('/oauth2/start?rd=/1')),
      askedOf(await browser.visit('/oauth2/start?rd=/2')),
    ]
    assert.notEqual(first.get('code_challenge'), second.get('code_challenge'))
    const login = openLogin(sealingKeys, browser.cookies.get(loginCookie) ?? '', host, startSeconds)
    for (const value of [first.get('nonce'), first.get('state'), login?.secret]) {
      assert.notEqual(hashOf(value ?? ''), first.get('code_challenge'))
    }
  })
})
