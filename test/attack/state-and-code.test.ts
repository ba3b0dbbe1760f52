import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { startMs } from '../support/ids.ts'
import {
  askedOf,
  type Browser,
  callbackOf,
  grantCode,
  openBrowser,
  type SignInService,
  startSignIn,
} from '../support/sign-in.ts'

let service: SignInService
let browser: Browser
before(async () => {
  service = await startSignIn()
})
after(() => service.close())
beforeEach(() => {
  browser = openBrowser(service)
  service.time.nowMs = startMs
})

const start = async (from: Browser, rd: string) =>
  askedOf(await from.visit(`/oauth2/start?rd=${rd}`))

describe('state and code', () => {
  it('of two attempts of one browser cannot be swapped', async () => {
    const first = await start(browser, '/first')
    const second = await start(browser, '/second')
    const { code } = grantCode(service.authority, first)
    const page = await browser.visit(callbackOf(second, { code }))
    assert.equal(page.reason, 'invalid_grant')
    assert.equal(browser.cookies.has(sessionCookie), false)
  })

  it('of another browser cannot be put into an attempt of this one', async () => {
    const other = await start(openBrowser(service), '/')
    const { code } = grantCode(service.authority, other, { sub: 'attacker' })
    const own = await start(browser, '/')
    const page = await browser.visit(callbackOf(own, { code }))
    assert.equal(page.reason, 'invalid_grant')
    assert.equal(browser.cookies.has(sessionCookie), false)
  })

  it('count once: the same again brings no second session', async () => {
    const asked = await start(browser, '/')
    const { code, forms } = grantCode(service.authority, asked)
    const copy = browser.copy()
    await browser.visit(callbackOf(asked, { code }))
    const page = await copy.visit(callbackOf(asked, { code }))
    assert.equal(page.reason, 'invalid_grant')
    assert.equal(copy.cookies.has(sessionCookie), false)
    assert.equal(forms.length, 2)
  })

  it('do not count after an hour', async () => {
    const asked = await start(browser, '/')
    const { code, forms } = grantCode(service.authority, asked)
    service.time.nowMs += 3_601_000
    const page = await browser.visit(callbackOf(asked, { code }))
    assert.equal(page.reason, 'state_invalid')
    assert.equal(forms.length, 0)
  })

  it('that are missing, doubled, empty or made up are refused without asking Entra', async () => {
    const asked = await start(browser, '/')
    const state = asked.get('state') ?? ''
    const { code, forms } = grantCode(service.authority, asked)
    for (const query of [
      '',
      `code=${code}`,
      `state=${state}`,
      `code=${code}&state=`,
      `code=${code}&state=${state}x`,
      `code=${code}&state=${state}&state=${state}`,
      `code=${code}&code=${code}&state=${state}`,
      `code=${code}&state=${'A'.repeat(5_000)}`,
      `code=${code}&state[]=${state}`,
    ]) {
      const page = await browser.visit(`/oauth2/callback?${query}`)
      assert.equal(page.reason, 'state_invalid', query)
      assert.equal(page.location, undefined)
    }
    assert.equal(forms.length, 0)
    assert.equal(browser.cookies.has(sessionCookie), false)
  })

  it('of another host do not count here', async () => {
    const asked = await start(openBrowser(service, 'wiki.contoso.example', browser.cookies), '/')
    const { code } = grantCode(service.authority, asked)
    const page = await browser.visit(callbackOf(asked, { code }))
    assert.equal(page.reason, 'state_invalid')
  })
})
