import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { cookieOf, host } from '../support/sessions.ts'
import { askedOf, openBrowser, startSignIn } from '../support/sign-in.ts'

describe('the address that Entra sends a browser back to', () => {
  it('is http for this machine only, and only where the proxy does not say https', async (t) => {
    const local = 'localhost:8000'
    const service = await startSignIn({ section: { hosts: [local, host] } })
    t.after(() => service.close())
    const addressAt = async (at: string, headers: Record<string, string | readonly string[]>) =>
      askedOf(await openBrowser(service, at).visit('/oauth2/start', { headers })).get(
        'redirect_uri',
      )
    const proto = (value: string) => ({ 'X-Forwarded-Proto': value })
    assert.equal(await addressAt(local, proto('')), `http://${local}/oauth2/callback`)
    assert.equal(await addressAt(local, proto('http')), `http://${local}/oauth2/callback`)
    assert.equal(await addressAt(local, proto('HTTPS')), `https://${local}/oauth2/callback`)
    assert.equal(await addressAt(local, proto('https')), `https://${local}/oauth2/callback`)
    assert.equal(await addressAt(host, proto('http')), `https://${host}/oauth2/callback`)
  })
})

describe('two cookies of sessions', () => {
  it('are none: one of them may be somebody else’s', async (t) => {
    const service = await startSignIn()
    t.after(() => service.close())
    const ask = async (cookies: readonly string[]) => {
      const headers = { Cookie: cookies.map((value) => `${sessionCookie}=${value}`).join('; ') }
      return (await openBrowser(service).visit('/oauth2/userinfo', { headers })).status
    }
    const good = cookieOf()
    assert.equal(await ask([good]), 200)
    assert.equal(await ask([good, good]), 401)
    assert.equal(await ask([good, 'x']), 401)
    assert.equal(await ask(['x', good]), 401)
  })
})
