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

describe('a sign-out in another tab', () => {
  const signOut = (from: Browser) => from.visit('/oauth2/sign_out', { method: 'POST' })
  const stepUp = async () => askedOf(await browser.visit('/oauth2/start?rd=/room&acrs=c1'))
  const strong = { acrs: ['c1'] }
  const come = (from: Browser, asked: URLSearchParams, claims: Members = {}) =>
    from.visit(callbackOf(asked, { code: grantCode(service.authority, asked, claims).code }))

  it('while Entra answers a step-up leaves nobody signed in', async () => {
    await signInWith(service, browser)
    service.time.nowMs += 5_000
    const asked = await stepUp()
    const id = sessionIn(browser)?.id ?? ''
    const page = await returnWhile(() => revoke('session', id), asked, strong)
    assert.deepEqual([page.status, page.location], [302, '/room'])
    assert.deepEqual(page.setCookies, [])
  })

  it('before the answer to a step-up leaves nobody signed in, and the next sign-in works', async () => {
    for (const end of ['here', 'at Entra'] as const) {
      browser = openBrowser(service)
      await signInWith(service, browser)
      service.time.nowMs += 5_000
      const asked = await stepUp()
      service.time.nowMs += 5_000
      const session = sessionIn(browser)
      // This tab still sends the cookies of before.
      if (end === 'here') await signOut(browser.copy())
      else await browser.copy().visit(`/oauth2/frontchannel_logout?sid=${session?.entraSessionId}`)
      const page = await come(browser, asked, strong)
      assert.deepEqual([page.status, page.location], [302, '/room'], end)
      assert.equal(browser.cookies.has(sessionCookie), false, end)
      service.time.nowMs += 1_000
      await signInWith(service, browser, { claims: { sid: `another-session-${end}` } })
      assert.equal((await judged(browser)).status, 200, end)
    }
  })

  it('ends a session that began before this sign-in and does not stand in its way', async () => {
    await signInWith(service, browser)
    const former = browser.cookies.get(sessionCookie) ?? ''
    service.time.nowMs += 5_000
    revoke('session', sessionIn(browser)?.id ?? '')
    service.time.nowMs += 5_000
    await signInWith(service, browser)
    assert.notEqual(browser.cookies.get(sessionCookie), former)
    assert.equal((await judged(browser)).status, 200)
  })

  it('that signed in first ends the sign-in of this tab, too', async () => {
    const [first, second] = [
      askedOf(await browser.visit('/oauth2/start?rd=/a')),
      askedOf(await browser.visit('/oauth2/start?rd=/b')),
    ]
    service.time.nowMs += 2_000
    const other = browser.copy()
    await come(other, first)
    const page = await returnWhile(() => revoke('session', sessionIn(other)?.id ?? ''), second)
    assert.deepEqual([page.status, page.location], [302, '/b'])
    assert.deepEqual(page.setCookies, [])
  })

  it('ends both sessions of two step-ups at once, which are one', async () => {
    for (const order of ['at once', 'one after the other'] as const) {
      browser = openBrowser(service)
      await signInWith(service, browser)
      service.time.nowMs += 5_000
      const [one, two] = [await stepUp(), await stepUp()]
      service.time.nowMs += 2_000
      const tabs = [browser.copy(), browser.copy()] as const
      const codes = [one, two].map((asked) => grantCode(service.authority, asked, strong).code)
      const arrive = (index: 0 | 1) =>
        tabs[index].visit(callbackOf(index ? two : one, { code: codes[index] ?? '' }))
      if (order === 'at once') {
        // It takes a moment until the first one has revoked the session that it replaces.
        const late: Revocation[] = []
        service.revocations.push = (...added) => late.push(...added)
        await Promise.all([arrive(0), arrive(1)])
        Reflect.deleteProperty(service.revocations, 'push')
        service.revocations.push(...late)
      } else for (const index of [0, 1] as const) await arrive(index)
      assert.ok(sessionIn(tabs[0]), order)
      assert.equal(sessionIn(tabs[0])?.id, sessionIn(tabs[1])?.id, order)
      assert.notEqual(sessionIn(tabs[0])?.id, sessionIn(browser)?.id, order)
      await signOut(tabs[1].copy())
      service.time.nowMs += 1_000
      for (const tab of [browser, ...tabs]) {
        assert.equal((await judged(tab)).reason, 'session_revoked', order)
      }
    }
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
  it('is ended at Entra for as long as its cookie lasts, whatever the hours are then', async (t) => {
    const shorter = await startSignIn({ section: { sessionHours: 1 } })
    t.after(() => shorter.close())
    await signInWith(service, browser)
    const session = sessionIn(browser)
    const cookie = browser.cookies.get(sessionCookie) ?? ''
    assert.equal((await verify(shorter, 'default', withSession(cookie))).status, 200)
    await openBrowser(shorter).visit(`/oauth2/frontchannel_logout?sid=${session?.entraSessionId}`)
    const [revocation] = shorter.revocations
    assert.ok(Number(revocation?.until) >= Number(session?.hardEnd))
    // The hours are as before.
    service.revocations.push(...shorter.revocations)
    service.time.nowMs += 2 * hour
    assert.equal((await judged(browser)).reason, 'session_revoked')
  })

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
