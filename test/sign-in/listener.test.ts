import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { keepBusy } from '../support/busy.ts'
import { eventually } from '../support/eventually.ts'
import { startService } from '../support/service.ts'
import { host } from '../support/sessions.ts'
import {
  type Browser,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'
import { shareService } from './shared-service.ts'

let service: SignInService
let browser: Browser
shareService((shared) => {
  ;({ service, browser } = shared)
})

describe('a listener whose event loop lags above the limit', () => {
  it('begins no sign-in, and lets people sign out', async (t) => {
    const busy = await startSignIn({ config: { overload: { maxEventLoopLagMs: 20 } } })
    t.after(() => busy.close())
    const person = openBrowser(busy)
    // On a machine with much to do it may be overloaded by itself now and then.
    await eventually(
      () =>
        signInWith(busy, person).then(
          () => true,
          () => false,
        ),
      (isSignedIn) => isSignedIn,
    )
    const rest = keepBusy(60)
    t.after(rest)
    const refused = await eventually(
      () => person.visit('/oauth2/start'),
      ({ status }) => status === 503,
    )
    assert.equal(refused.reason, 'overloaded')
    assert.match(refused.body, /too much to do/)
    assert.match(refused.headers['retry-after'] ?? '', /^\d+$/)
    const asked = await eventually(
      () => person.visit('/oauth2/auth'),
      ({ status }) => status === 503,
    )
    assert.equal(JSON.parse(asked.body).reason, 'overloaded')
    const ended = await eventually(
      () => person.visit('/oauth2/callback'),
      ({ status }) => status === 503,
    )
    assert.match(ended.body, /too much to do/)
    const info = await eventually(
      () => person.visit('/oauth2/userinfo'),
      ({ status }) => status === 503,
    )
    assert.equal(JSON.parse(info.body).reason, 'overloaded')
    const out = await person.visit('/oauth2/sign_out', { method: 'POST' })
    assert.equal(out.status, 303)
    rest()
    const { body } = await busy.app.metrics.inject('/metrics')
    const counted = /verdicts_total\{policy="",verdict="unavailable",reason="overloaded"\} [1-9]/
    assert.match(body, counted)
    await eventually(
      () => person.visit('/oauth2/start'),
      ({ status }) => status === 302,
    )
  })
})

describe('the listener', () => {
  it('answers GET and POST at its own paths and nothing else', async () => {
    for (const [method, path, status] of [
      ['GET', '/', 404],
      ['GET', '/oauth2', 404],
      ['GET', '/oauth2/start/', 404],
      ['GET', '/OAUTH2/start', 404],
      ['GET', '/verify/default', 404],
      ['GET', '/metrics', 404],
      ['HEAD', '/nowhere', 404],
      ['POST', '/nowhere', 404],
      ['GET', '/oauth2/%zz', 400],
    ] as const) {
      const page = await browser.visit(path, { method })
      assert.equal(page.status, status, `${method} ${path}`)
    }
  })

  it('says which methods a path has, to whoever used another one', async () => {
    for (const [method, path, allow] of [
      ['HEAD', '/oauth2/start', 'GET'],
      ['HEAD', '/oauth2/callback?code=x', 'GET'],
      ['HEAD', '/oauth2/sign_out', 'GET, POST'],
      ['POST', '/oauth2/start', 'GET'],
      ['POST', '/oauth2/callback', 'GET'],
      ['PUT', '/oauth2/sign_out', 'GET, POST'],
      ['DELETE', '/oauth2/sign_out', 'GET, POST'],
      ['OPTIONS', '/oauth2/start', 'GET'],
      ['POST', '/readyz', 'GET, HEAD'],
    ] as const) {
      const page = await browser.visit(path, { method })
      const { status, reason, headers } = page
      assert.deepEqual(
        [status, reason, headers.allow],
        [405, 'method_not_allowed', allow],
        `${method} ${path}`,
      )
      assert.deepEqual(page.setCookies, [])
    }
  })

  it('says of a body that is too long that it is, and not that the method is wrong', async () => {
    const body = 'a'.repeat(1_025)
    const out = await browser.visit('/oauth2/sign_out', { method: 'POST', body })
    assert.deepEqual([out.status, out.reason], [400, 'malformed_request'])
    const start = await browser.visit('/oauth2/start', { method: 'POST', body })
    assert.deepEqual([start.status, start.reason], [405, 'method_not_allowed'])
  })

  it('reads no body: a form of ours is empty, and nobody else has anything to say', async () => {
    for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
      const headers = { 'Content-Type': type }
      const page = await browser.visit('/oauth2/sign_out', { method: 'POST', headers, body: '{' })
      assert.deepEqual([page.status, page.location], [303, '/oauth2/signed_out'], type)
    }
  })

  it('lets no other site load what it answers', async () => {
    for (const path of ['/oauth2/start', '/oauth2/userinfo', '/oauth2/signed_out', '/nowhere']) {
      const { headers } = await browser.visit(path)
      assert.equal(headers['cross-origin-resource-policy'], 'same-origin', path)
    }
  })

  it('serves no other host', async () => {
    for (const at of ['evil.example', `${host}.evil.example`, `${host}:444`, '127.0.0.1']) {
      for (const path of ['/oauth2/start', '/oauth2/callback?code=x&state=y', '/oauth2/sign_out']) {
        const page = await openBrowser(service, at).visit(path)
        assert.equal(page.status, 421)
        assert.deepEqual(page.setCookies, [])
      }
    }
  })

  it('is not there without the section signIn', async () => {
    const plain = await startService()
    assert.equal(plain.app.signIn, undefined)
    await plain.close()
  })
})
