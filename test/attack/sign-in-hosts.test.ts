import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { verify } from '../support/service.ts'
import { host, otherHost, withSession } from '../support/sessions.ts'
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

const redirectUri = async (headers: Record<string, string>) => {
  const page = await openBrowser(service).visit('/oauth2/start', { headers })
  return page.location === undefined ? page.reason : askedOf(page).get('redirect_uri')
}
const own = `https://${host}/oauth2/callback`

describe('the host of a sign-in', () => {
  it('is that of the request, whatever forwarded headers say', async () => {
    for (const headers of [
      { 'X-Forwarded-Host': 'evil.example' },
      { 'X-Forwarded-Host': otherHost },
      { 'X-Forwarded-Server': 'evil.example' },
      { 'X-Host': 'evil.example' },
      { Forwarded: 'host=evil.example;proto=http' },
      { 'X-Original-Host': 'evil.example' },
      { 'X-Forwarded-Port': '444' },
      { 'X-Forwarded-Prefix': '//evil.example' },
      { 'X-Forwarded-Proto': 'http' },
      { 'X-Forwarded-Proto': 'javascript' },
      { 'X-Forwarded-Uri': '//evil.example' },
      { 'X-Rewrite-Url': '//evil.example' },
    ]) {
      assert.equal(await redirectUri(headers as unknown as Record<string, string>), own)
    }
  })

  it('is one of the configured ones, or there is no sign-in', async () => {
    for (const name of [
      'evil.example',
      `${host}.evil.example`,
      `evil.example:${host}`,
      `${host}:8443`,
      `${host}.`,
      `.${host}`,
      `${host}@evil.example`,
      `evil.example#${host}`,
      `evil.example/${host}`,
      `${host},evil.example`,
    ]) {
      assert.equal(await redirectUri({ Host: name }), 'host_unknown', name)
      const both = { Host: name, 'X-Forwarded-Host': 'evil.example' }
      assert.equal(await redirectUri(both), 'host_unknown', name)
    }
    assert.equal(await redirectUri({ Host: host.toUpperCase() }), own)
    assert.equal(await redirectUri({ Host: 'proxy.internal:8081', 'X-Forwarded-Host': host }), own)
  })

  it('of a session cannot be claimed by a second header or a list', async () => {
    const browser = openBrowser(service)
    await signInWith(service, browser)
    const value = browser.cookies.get(sessionCookie) ?? ''
    for (const forwarded of [
      [host, otherHost],
      [otherHost, host],
      `${host},${otherHost}`,
      `${otherHost}, ${host}`,
    ]) {
      const reply = await verify(
        service,
        'default',
        withSession(value, { 'X-Forwarded-Host': forwarded }),
      )
      assert.equal(reply.reason, 'no_session')
    }
    const page = await browser.visit('/oauth2/auth', {
      headers: { 'X-Forwarded-Host': [host, host] },
    })
    assert.equal(page.status, 401)
  })
})
