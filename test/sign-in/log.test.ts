/** What the log says of sign-ins, line by line: who runs the service acts on it, and it must hold no secret. */
import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { eventually } from '../support/eventually.ts'
import { ids } from '../support/ids.ts'
import { cookieOf, host, sessionOf } from '../support/sessions.ts'
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
import { sessionIn, shareService } from './shared-service.ts'

let service: SignInService
let browser: Browser
shareService((shared) => {
  ;({ service, browser } = shared)
})
beforeEach(() => {
  service.log.length = 0
})

/** The lines of the log without time, process and request. */
function linesOf({ log }: Pick<SignInService, 'log'> = service): object[] {
  return log
    .map((line) => {
      const { time: _, pid: __, hostname: ___, reqId: ____, ...rest } = JSON.parse(line)
      return rest
    })
    .filter(({ msg }) => !/^(request|incoming|keys|verifier|ready)/.test(msg ?? ''))
}

const correlation = '8a1a9ac5-5b2f-4a54-8d5b-3ab5ae4e3b1f'
const outOfOrder = 'sign-in is out of order: Entra or the credential does not answer'

describe('the log', () => {
  it('names person, session and host of a sign-in, a re-check and a sign-out', async () => {
    await signInWith(service, browser)
    const { id } = sessionIn(browser) ?? {}
    const who = { tenant: ids.contoso, user: ids.user, session: id, host }
    assert.deepEqual(linesOf(), [{ level: 30, ...who, outcome: 'signed_in', msg: 'signed in' }])
    service.log.length = 0
    service.time.nowMs += 3_600_000
    await signInWith(service, browser)
    assert.deepEqual(linesOf(), [{ level: 30, ...who, outcome: 'rechecked', msg: 'signed in' }])
    service.log.length = 0
    await browser.visit('/oauth2/sign_out', { method: 'POST' })
    assert.deepEqual(linesOf(), [{ level: 30, user: ids.user, session: id, msg: 'signed out' }])
  })

  it('names error, number and id of a refusal in an address, and never the text', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start'))
    const description = `AADSTS50105: Adele is not assigned. Correlation ID: ${correlation} `
    await browser.visit(
      callbackOf(asked, { error: 'access_denied', error_description: description }),
    )
    const details = { number: 'AADSTS50105', correlationId: correlation }
    const refused = 'sign-in refused by Entra'
    assert.deepEqual(linesOf(), [
      { level: 30, error: 'access_denied', ...details, reason: 'access_denied', msg: refused },
    ])
    // Whatever somebody writes there, in the form of an error: 64 letters at most.
    for (const [error, logged] of [
      ['a'.repeat(64), 'a'.repeat(64)],
      ['a'.repeat(65), 'invalid_request'],
      ['Access_denied', 'invalid_request'],
      ['access_denied!', 'invalid_request'],
      ['', 'invalid_request'],
    ] as const) {
      service.log.length = 0
      const next = askedOf(await browser.visit(`/oauth2/start?rd=/${error}`))
      await browser.visit(callbackOf(next, { error }))
      assert.deepEqual(
        linesOf(),
        [{ level: 30, error: logged, reason: 'sign_in_failed', msg: refused }],
        error,
      )
    }
  })

  it('takes number and id from the first 1,000 characters of an address', async () => {
    for (const [before, number] of [
      [990, 'AADSTS1234'],
      [991, undefined],
    ] as const) {
      service.log.length = 0
      const asked = askedOf(await browser.visit(`/oauth2/start?rd=/${before}`))
      const description = `${' '.repeat(before)}AADSTS1234`
      await browser.visit(callbackOf(asked, { error: 'x', error_description: description }))
      assert.deepEqual(linesOf(), [
        {
          level: 30,
          error: 'x',
          ...(number && { number }),
          reason: 'sign_in_failed',
          msg: 'sign-in refused by Entra',
        },
      ])
    }
  })

  it('has an alarm with the words of Entra where it refuses the credential', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start'))
    const description = 'AADSTS7000222: The provided client secret keys are expired.'
    service.authority.token = () => ({
      status: 401,
      body: { error: 'invalid_client', error_description: description },
    })
    await browser.visit(callbackOf(asked, { code: 'x' }))
    const number = 'AADSTS7000222'
    assert.deepEqual(linesOf(), [
      { level: 50, error: 'invalid_client', number, description, msg: outOfOrder },
    ])
  })

  it('has an alarm where the token endpoint is out of order, and none where a code is used twice', async () => {
    const asked = askedOf(await browser.visit('/oauth2/start'))
    service.authority.token = () => ({ status: 503, body: 'gone' })
    await browser.visit(callbackOf(asked, { code: 'x' }))
    assert.deepEqual(linesOf(), [{ level: 50, error: 'entra_unavailable', msg: outOfOrder }])
    service.log.length = 0
    service.authority.token = undefined
    grantCode(service.authority, asked)
    await browser.visit(callbackOf(asked, { code: 'another' }))
    assert.deepEqual(linesOf(), [
      {
        level: 30,
        error: 'invalid_grant',
        number: 'AADSTS70008',
        reason: 'invalid_grant',
        msg: 'sign-in refused by Entra',
      },
    ])
  })

  it('has no alarm where strangers fill the 64 places for codes, and a session outlives that', async () => {
    await signInWith(service, browser)
    const asked = askedOf(await browser.visit('/oauth2/start?acrs=c1'))
    service.time.nowMs += 3_600_000
    const recheck = askedOf(await browser.visit('/oauth2/start?rd=/page'))
    let open = () => {}
    service.authority.contoso.v2.gate = new Promise((done) => {
      open = () => done(undefined)
    })
    service.log.length = 0
    const before = service.authority.requests.length
    const madeUp = Array.from({ length: 64 }, () => browser.visit(callbackOf(asked, { code: 'x' })))
    await eventually(
      () => service.authority.requests.length - before,
      (count) => count === 64,
    )
    const stranger = browser.copy()
    stranger.cookies.delete(sessionCookie)
    const page = await stranger.visit(callbackOf(asked, { code: 'x' }))
    assert.deepEqual([page.status, page.reason], [503, 'overloaded'])
    const rechecked = await browser.visit(callbackOf(recheck, { code: 'y' }))
    assert.deepEqual([rechecked.status, rechecked.location], [302, '/page'])
    assert.ok(browser.cookies.has(sessionCookie))
    const line = { level: 30, reason: 'overloaded', msg: 'too many sign-ins at a time' }
    assert.deepEqual(linesOf(), [line, line])
    open()
    await Promise.all(madeUp)
  })

  it('has no alarm, and no count that calls somebody, for a credential that an address calls wrong', async () => {
    const counted = async (outcome: string) => {
      const { body } = await service.app.metrics.inject('/metrics')
      return Number(
        body
          .split('\n')
          .find((line) => line.includes(`outcome="${outcome}"`))
          ?.split(' ')[1],
      )
    }
    const outcomes = ['invalid_client', 'sign_in_failed']
    const before = await Promise.all(outcomes.map(counted))
    for (const error of ['invalid_client', 'unauthorized_client', 'credential']) {
      const asked = askedOf(await browser.visit('/oauth2/start'))
      const page = await browser.visit(callbackOf(asked, { error }))
      assert.equal(page.reason, 'invalid_client')
    }
    assert.ok(linesOf().every((line) => (line as { level: number }).level === 30))
    const after = await Promise.all(outcomes.map(counted))
    assert.deepEqual(
      after.map((count, index) => count - Number(before[index])),
      [0, 3],
    )
  })

  it('names the claim for which an ID token was refused', async () => {
    await signInWith(service, browser, { claims: { acct: 2 } })
    const [first, second, ...rest] = linesOf()
    assert.deepEqual(first, {
      level: 50,
      reason: 'claim_malformed',
      claim: 'acct',
      msg: 'ID token refused',
    })
    assert.deepEqual(second, {
      level: 30,
      error: 'id_token_refused',
      reason: 'id_token_refused',
      msg: 'sign-in refused by Entra',
    })
    assert.deepEqual(rest, [])
  })

  it('says how many roles did not fit', async () => {
    const roles = Array.from({ length: 150 }, (_, i) => `Portal.Long.Role.Name.${i}`)
    await signInWith(service, browser, { claims: { roles } })
    assert.deepEqual(linesOf(), [
      { level: 40, user: ids.user, roles: 150, msg: 'session too large' },
    ])
  })

  it('says why a sign-in cannot begin', async (t) => {
    const other = await startSignIn()
    t.after(() => other.close())
    other.authority.contoso.v2.metadata.token_endpoint = 'https://evil.example/token'
    other.log.length = 0
    await openBrowser(other).visit('/oauth2/start')
    assert.deepEqual(linesOf(other), [
      {
        level: 50,
        problem: 'the metadata names an endpoint that is missing or not the authority’s',
        msg: 'Entra cannot be reached for a sign-in',
      },
    ])
  })

  it('holds no cookie, code, state or secret', async () => {
    await signInWith(service, browser)
    await browser.visit('/oauth2/sign_out', { method: 'POST' })
    const all = service.log.join('\n')
    for (const secret of [...browser.cookies.values(), 'a-client-secret', 'code-', 'state=']) {
      assert.equal(all.includes(secret), false, secret)
    }
  })
})

describe('a re-check of another page', () => {
  it('suggests the person to Entra, and a step-up does too', async () => {
    const { loginHint } = sessionOf()
    browser.cookies.set(sessionCookie, cookieOf())
    for (const [query, prompt] of [
      ['', 'none'],
      ['?acrs=c1', null],
      ['?acrs=c99', null],
      ['?acrs=c0', 'none'],
      ['?acrs=c1x', 'none'],
      ['?acrs=xc1', 'none'],
      ['?acrs=c1&acrs=c1', 'none'],
    ] as const) {
      const asked = askedOf(await browser.visit(`/oauth2/start${query}`))
      assert.equal(asked.get('login_hint'), loginHint, query)
      assert.equal(asked.get('prompt'), prompt, query)
      assert.equal(asked.get('response_mode'), 'query')
      browser.cookies.delete('__Host-entra-login')
    }
    browser.cookies.set(sessionCookie, cookieOf({ loginHint: undefined }))
    assert.equal(askedOf(await browser.visit('/oauth2/start')).has('login_hint'), false)
  })
})
