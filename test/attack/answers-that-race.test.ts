/**
 * What happens while Entra is asked: a person is revoked, signs out, or the configuration changes. The
 * token endpoint of the fixture is where the test makes it happen.
 */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { Revocation } from '../../src/revocation/revocation.ts'
import { sessionCookie } from '../../src/session/cookie.ts'
import { openSession } from '../../src/session/session.ts'
import { ids } from '../support/ids.ts'
import { fixtureConfig, verify } from '../support/service.ts'
import { sealingKeys, signIn, webClient, withSession } from '../support/sessions.ts'
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
import type { Members } from '../support/tokens.ts'

let service: SignInService
let browser: Browser
beforeEach(async () => {
  service = await startSignIn()
  browser = openBrowser(service)
})
afterEach(() => service.close())

const hour = 3_600_000
const seconds = () => Math.ceil(service.time.nowMs / 1_000)

function revoke(kind: Revocation['kind'], id: string): void {
  const before = seconds()
  service.revocations.push({ kind, id, before, until: before + 90_000, reason: 'attack' })
}

/** The callback where something happens between the question to Entra and its answer. */
async function returnWhile(happens: () => void, asked: URLSearchParams, claims: Members = {}) {
  const nowSeconds = Math.floor(service.time.nowMs / 1_000)
  const times = { iat: nowSeconds, nbf: nowSeconds, exp: nowSeconds + 3_600 }
  const { code } = grantCode(service.authority, asked, { ...times, ...claims })
  const granted = service.authority.token
  service.authority.token = (form) => {
    const answer = granted?.(form) ?? { status: 500, body: '' }
    service.time.nowMs += 1_000
    happens()
    service.time.nowMs += 9_000
    return { ...answer, headers: { date: new Date(service.time.nowMs).toUTCString() } }
  }
  return browser.visit(callbackOf(asked, { code }))
}

const sessionIn = ({ cookies }: Browser) =>
  openSession(sealingKeys, cookies.get(sessionCookie) ?? '')
const judged = ({ cookies }: Browser) =>
  verify(service, 'default', withSession(cookies.get(sessionCookie) ?? ''))

describe('a revocation while Entra answers', () => {
  for (const [kind, id] of [
    ['user', `${ids.contoso}/${ids.user}`],
    ['tenant', ids.contoso],
    ['client', `${ids.contoso}/${webClient}`],
  ] as const) {
    it(`of the ${kind} ends the session that the answer makes`, async () => {
      const asked = askedOf(await browser.visit('/oauth2/start'))
      await returnWhile(() => revoke(kind, id), asked)
      assert.ok(sessionIn(browser), 'signed in')
      assert.equal((await judged(browser)).reason, 'session_revoked')
    })

    it(`of the ${kind} ends the session that is re-checked`, async () => {
      await signInWith(service, browser)
      service.time.nowMs += hour
      const asked = askedOf(await browser.visit('/oauth2/start'))
      await returnWhile(() => revoke(kind, id), asked)
      assert.equal((await judged(browser)).reason, 'session_revoked')
    })
  }

  it('of the session brings no cookie of it back, and neither does an outage', async () => {
    for (const answer of ['token', 'outage'] as const) {
      browser = openBrowser(service)
      await signInWith(service, browser)
      service.time.nowMs += hour
      const asked = askedOf(await browser.visit('/oauth2/start?rd=/page'))
      const id = sessionIn(browser)?.id ?? ''
      const page = await returnWhile(() => {
        revoke('session', id)
        if (answer === 'outage') service.authority.token = () => ({ status: 503, body: '' })
      }, asked)
      assert.equal(page.location, '/page', answer)
      assert.deepEqual(page.setCookies, [], answer)
    }
  })

  it('by the id of the session at Entra ends it too', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start'))
    const sid = '00000000-0000-4000-8000-0000000000ee'
    await returnWhile(() => revoke('session', sid), asked, { sid })
    assert.equal(sessionIn(browser)?.entraSessionId, sid)
    assert.equal((await judged(browser)).reason, 'session_revoked')
  })
})

describe('a reload while Entra answers', () => {
  const session = { actor: 'user', session: true }
  const reloadWith = (section: object) =>
    service.reload(
      fixtureConfig(service.authority.url, {
        config: {
          signIn: { ...signIn, ...section },
          revocationFile: '/nowhere/revocations.json',
          policies: { default: { allow: [session] } },
        },
      }),
    )

  for (const [what, section] of [
    ['the registration', { clientId: '99999999-9999-4999-8999-999999999999' }],
    ['the hosts', { hosts: ['elsewhere.example'] }],
    ['the tenant', { tenant: 'fabrikam' }],
  ] as const) {
    it(`that changes ${what} leaves no session of before`, async () => {
      const asked = askedOf(await browser.visit('/oauth2/start'))
      let reloading: Promise<void> | undefined
      await returnWhile(() => {
        reloading = reloadWith(section)
      }, asked)
      await reloading
      const reply = await judged(browser)
      assert.equal(reply.status, 401)
      assert.equal(reply.reason, 'no_session')
    })
  }
})

describe('a session that was made under longer hours', () => {
  it('keeps the hard end of its first cookie, so that a sign-out ends each copy', async (t) => {
    await signInWith(service, browser)
    const first = sessionIn(browser)
    for (const answer of ['token', 'outage'] as const) {
      const shorter = await startSignIn({ section: { sessionHours: 2, recheckMinutes: 30 } })
      t.after(() => shorter.close())
      shorter.time.nowMs += hour
      const own = openBrowser(shorter, undefined, new Map(browser.cookies))
      const asked = askedOf(await own.visit('/oauth2/start'))
      const { code } = grantCode(shorter.authority, asked)
      if (answer === 'outage') shorter.authority.token = () => ({ status: 503, body: '' })
      await own.visit(callbackOf(asked, { code }))
      assert.notDeepEqual(sessionIn(own), first, answer)
      shorter.time.nowMs += 1_000
      await own.visit('/oauth2/sign_out', { method: 'POST' })
      const [revocation] = shorter.revocations
      assert.equal(revocation?.id, first?.id, answer)
      assert.ok(Number(revocation?.until) >= Number(first?.hardEnd), answer)
    }
  })
})
