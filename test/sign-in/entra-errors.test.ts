import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { startAuthority } from '../support/authority.ts'
import { ids, startSeconds } from '../support/ids.ts'
import {
  askedOf,
  type Browser,
  callbackOf,
  grantCode,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'
import { signingKey } from '../support/signing-keys.ts'
import { notFromEntra, sessionIn, shareService } from './shared-service.ts'

let service: SignInService
let browser: Browser
shareService((shared) => {
  ;({ service, browser } = shared)
})

describe('an error of Entra', () => {
  for (const [error, reason, status] of [
    ['access_denied', 'access_denied', 403],
    ['consent_required', 'consent_required', 403],
    ['interaction_required', 'access_denied', 403],
    ['invalid_client', 'invalid_client', 503],
    ['server_error', 'entra_unavailable', 503],
    ['temporarily_unavailable', 'entra_unavailable', 503],
    ['invalid_resource', 'sign_in_failed', 502],
    ['AADSTS50105', 'sign_in_failed', 502],
  ] as const) {
    it(`${error} is the page ${reason}, with number and correlation id`, async () => {
      const asked = askedOf(await browser.visit('/oauth2/start?rd=/page'))
      const description =
        'AADSTS50105: The signed in user is blocked. Trace ID: 1 Correlation ID: 8a1a9ac5-5b2f-4a54-8d5b-3ab5ae4e3b1f Timestamp: 2026'
      const page = await browser.visit(callbackOf(asked, { error, error_description: description }))
      assert.equal(page.reason, reason)
      assert.equal(page.status, status)
      assert.match(page.body, /AADSTS50105/)
      assert.match(page.body, /8a1a9ac5-5b2f-4a54-8d5b-3ab5ae4e3b1f/)
      assert.doesNotMatch(page.body, /signed in user/)
      assert.deepEqual(page.setCookies, [])
    })
  }

  it('at the token endpoint is a page too, and an alarm where the credential is refused', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start'))
    service.authority.token = () => ({
      status: 401,
      body: { error: 'invalid_client', error_description: 'AADSTS7000222: expired.' },
    })
    const page = await browser.visit(callbackOf(asked, { code: 'x' }))
    assert.equal(page.reason, 'invalid_client')
    assert.match(page.body, /AADSTS7000222/)
    const line = JSON.parse(service.log.at(-1) ?? '{}')
    assert.equal(line.level, 50)
    assert.equal(line.error, 'invalid_client')
  })

  it('in an address raises no alarm, and no long text is worked on or logged', async () => {
    for (const error of ['invalid_client', 'server_error', 'credential']) {
      const asked = askedOf(await openBrowser(service).visit('/oauth2/start'))
      const fresh = openBrowser(service)
      await fresh.visit('/oauth2/start')
      const own = askedOf(await fresh.visit('/oauth2/start'))
      assert.notEqual(own.get('state'), asked.get('state'))
      const from = service.log.length
      await fresh.visit(callbackOf(own, { error, error_description: 'a://'.repeat(3_000) }))
      const lines = service.log.slice(from)
      assert.ok(lines.some((line) => line.includes(error)))
      for (const line of lines) {
        assert.ok(JSON.parse(line).level < 50, line)
        assert.doesNotMatch(line, /a:\/\/a:/)
      }
    }
  })

  it('or an answer that is none is Entra out of reach', async () => {
    for (const answer of [
      { status: 500, body: { error: 'x' } },
      { status: 503, body: 'Service unavailable' },
      ...notFromEntra,
    ]) {
      const fresh = openBrowser(service)
      const asked = askedOf(await fresh.visit('/oauth2/start'))
      service.authority.token = () => answer
      const page = await fresh.visit(callbackOf(asked, { code: 'x' }))
      assert.equal(page.reason, 'entra_unavailable')
      assert.equal(page.status, 503)
      assert.equal(page.headers['retry-after'], '60')
    }
  })
})

describe('a sign-in while the keys of Entra are out of reach', () => {
  it('ends in the page of an outage, and works once they are there', async (t) => {
    const authority = await startAuthority()
    t.after(() => authority.close())
    authority.contoso.v2.keysFault = 'error'
    const other = await startSignIn({ authority })
    t.after(() => other.close())
    const page = await signInWith(other, openBrowser(other))
    assert.equal(page.reason, 'entra_unavailable')
    assert.equal(page.status, 503)
    assert.ok(other.log.some((line) => /"level":50.*out of order/.test(line)))
    authority.contoso.v2.keysFault = undefined
    await other.app.authorities.get(ids.contoso)?.issuerKeys('2.0').refresh()
    assert.equal((await signInWith(other, openBrowser(other))).location, '/')
  })

  it('lets a session go on whose re-check brings an ID token that cannot be judged', async (t) => {
    const other = await startSignIn()
    t.after(() => other.close())
    const someone = openBrowser(other)
    await signInWith(other, someone)
    other.time.nowMs += 3_600_000
    const asked = askedOf(await someone.visit('/oauth2/start?rd=/page'))
    other.authority.contoso.v2.keysFault = 'error'
    const key = { key: signingKey('of a roll-over'), header: { kid: 'of-a-roll-over' } }
    const { code } = grantCode(other.authority, asked, {}, key)
    const page = await someone.visit(callbackOf(asked, { code }))
    assert.equal(page.location, '/page')
    const session = sessionIn(someone)
    assert.equal(session?.checkedAt, startSeconds)
    assert.equal(session?.softEnd, startSeconds + 3_900)
  })
})
