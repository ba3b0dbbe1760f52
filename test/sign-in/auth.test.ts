import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { openSession } from '../../src/session/session.ts'
import { assertAllowed } from '../support/expect.ts'
import { ids, startSeconds } from '../support/ids.ts'
import { callerKey, verify } from '../support/service.ts'
import { host, otherHost, sealingKeys, withSession } from '../support/sessions.ts'
import {
  type Browser,
  navigation,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'
import { v2User } from '../support/tokens.ts'
import { shareService } from './shared-service.ts'

let service: SignInService
let browser: Browser
shareService((shared) => {
  ;({ service, browser } = shared)
})

describe('/oauth2/userinfo', () => {
  it('tells who is signed in, and nobody else', async () => {
    const none = await browser.visit('/oauth2/userinfo')
    assert.equal(none.status, 401)
    assert.equal(none.reason, 'no_session')
    await signInWith(service, browser)
    const page = await browser.visit('/oauth2/userinfo')
    assert.equal(page.status, 200)
    const info = JSON.parse(page.body)
    assert.equal(info.user, ids.user)
    assert.equal(info.name, 'Adele Vance')
    assert.equal(info.endsAt, startSeconds + 8 * 3_600)
    assert.equal(
      (await openBrowser(service, otherHost, browser.cookies).visit('/oauth2/userinfo')).status,
      401,
    )
  })
})

describe('/oauth2/auth', () => {
  it('answers 202 with the identity for a session and for a token, and 401 without', async () => {
    const none = await browser.visit('/oauth2/auth')
    assert.equal(none.status, 401)
    assert.equal(none.headers['x-entra-auth-sign-in'], '/oauth2/start')
    await signInWith(service, browser)
    const page = await browser.visit('/oauth2/auth')
    assert.equal(page.status, 202)
    assert.equal(page.headers['x-auth-request-user'], ids.user)
    const token = await openBrowser(service).visit('/oauth2/auth?policy=mixed', {
      headers: { Authorization: `Bearer ${v2User()}` },
    })
    assert.equal(token.status, 202)
    assert.equal((await browser.visit('/oauth2/auth?policy=nowhere')).status, 404)
    assert.equal((await browser.visit('/oauth2/auth?policy=grouped')).status, 403)
  })

  it('refuses what a page of another site makes a browser do', async () => {
    await signInWith(service, browser)
    const ask = (headers: Record<string, string>, policy = 'default') =>
      browser.visit(`/oauth2/auth?policy=${policy}`, { headers })
    const post = { 'X-Forwarded-Method': 'POST' }
    for (const headers of [
      { ...post, 'Sec-Fetch-Site': 'cross-site' },
      { ...post, 'Sec-Fetch-Site': 'same-site', Origin: `https://${host}` },
      { ...post, Origin: 'https://evil.example' },
      { ...post },
      { 'X-Original-Method': 'DELETE' },
    ]) {
      const page = await ask(headers)
      assert.equal(page.reason, 'cross_site_request')
      assert.equal(page.status, 403)
      assert.equal((await ask(headers, 'open')).status, 202)
    }
    for (const headers of [
      { ...post, 'Sec-Fetch-Site': 'same-origin' },
      { ...post, 'Sec-Fetch-Site': 'none' },
      { ...post, Origin: `https://${host}` },
      { 'X-Forwarded-Method': 'GET', 'Sec-Fetch-Site': 'cross-site' },
    ]) {
      assert.equal((await ask(headers)).status, 202)
    }
  })

  it('refuses what may be a form of another site where the proxy does not say the method', async () => {
    await signInWith(service, browser)
    for (const headers of [
      { 'Sec-Fetch-Site': 'cross-site' },
      { 'Sec-Fetch-Site': 'same-site' },
      { Origin: 'https://evil.example' },
      { Origin: 'null' },
    ]) {
      assert.equal((await browser.visit('/oauth2/auth', { headers })).reason, 'cross_site_request')
    }
    for (const headers of [{ 'Sec-Fetch-Site': 'same-origin' }, { 'Sec-Fetch-Site': 'none' }, {}]) {
      assert.equal((await browser.visit('/oauth2/auth', { headers })).status, 202)
    }
  })

  it('shows a person a page where a policy refuses, and a script JSON', async () => {
    await signInWith(service, browser)
    const page = await browser.visit('/oauth2/auth?policy=grouped', { headers: navigation })
    assert.equal(page.status, 403)
    assert.equal(page.reason, 'group_missing')
    assert.match(page.headers['content-type'] ?? '', /^text\/html/)
    assert.match(page.body, /signed in as Adele Vance.*administrator/s)
    assert.match(page.headers['content-security-policy'] ?? '', /^default-src 'none'/)
    const form = { ...navigation, 'X-Forwarded-Method': 'POST', 'Sec-Fetch-Site': 'cross-site' }
    const sent = await browser.visit('/oauth2/auth', { headers: form })
    assert.match(sent.body, /page of another site sent this/)
    const script = await browser.visit('/oauth2/auth?policy=grouped')
    assert.equal(JSON.parse(script.body).reason, 'group_missing')
  })

  it('sends a navigation after the soft end to a re-check, and lets scripts go on', async () => {
    await signInWith(service, browser)
    service.time.nowMs += 3_600_000
    const page = await browser.visit('/oauth2/auth', { headers: navigation })
    assert.equal(page.reason, 'session_recheck')
    assert.equal(page.headers['x-entra-auth-sign-in'], '/oauth2/start')
    const script = {
      'Sec-Fetch-Mode': 'cors',
      'Sec-Fetch-Dest': 'empty',
      'Sec-Fetch-Site': 'same-origin',
    }
    assert.equal((await browser.visit('/oauth2/auth', { headers: script })).status, 202)
  })

  it('redirects a navigation itself if the proxy asks for it', async () => {
    const headers = {
      ...navigation,
      Host: 'auth.internal:8081',
      'X-Forwarded-Host': host,
      'X-Forwarded-Method': 'GET',
      'X-Forwarded-Uri': '/reports?a=b&c',
    }
    const page = await browser.visit('/oauth2/auth?redirect=true', { headers })
    assert.equal(page.status, 302)
    assert.equal(page.location, `https://${host}/oauth2/start?rd=%2Freports%3Fa%3Db%26c`)
    const script = { ...headers, 'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Dest': 'empty' }
    assert.equal(
      (await browser.visit('/oauth2/auth?redirect=true', { headers: script })).status,
      401,
    )
  })
})

describe('a refusal of the verify listener', () => {
  it('is a page where the action says that a person navigates with a session', async () => {
    await signInWith(service, browser)
    const value = browser.cookies.get(sessionCookie) ?? ''
    const forPerson = { 'X-Entra-Auth-Page': '1', 'X-Request-Id': 'request-7' }
    const ask = (policy: string, headers: Record<string, string>) =>
      verify(service, policy, withSession(value, headers))
    const page = await ask('grouped', forPerson)
    assert.equal(page.status, 403)
    assert.equal(page.reason, 'group_missing')
    assert.equal(page.headers['content-type'], 'text/html; charset=utf-8')
    assert.equal(page.headers['cache-control'], 'no-store')
    assert.match(page.headers['content-security-policy'] ?? '', /^default-src 'none'; /)
    assert.match(page.body, /signed in as Adele Vance/)
    assert.match(page.body, /group_missing.*grouped.*request-7/s)
    // It has to fit through HAProxy.
    assert.ok(Buffer.byteLength(page.body) < 8_192, `${page.body.length}`)
    // What signing in changes, what nobody looks at, and what a token asked for stay JSON.
    const others = [
      await ask('strong', forPerson),
      await ask('grouped', {}),
      await verify(service, 'mixed', {
        ...forPerson,
        Authorization: `Bearer ${v2User({ scp: 'x' })}`,
      }),
    ]
    assert.deepEqual(
      others.map(({ body }) => JSON.parse(body).reason),
      ['step_up_required', 'group_missing', 'scope_missing'],
    )
  })

  it('shows markup in a name as text, and the text of the operator up to its limit', async () => {
    const own = await startSignIn({ section: { page: { text: 'Help: extension 42' } } })
    const person = openBrowser(own)
    await signInWith(own, person, { claims: { name: '<script>alert(1)</script>' } })
    const value = person.cookies.get(sessionCookie) ?? ''
    const page = await verify(own, 'grouped', withSession(value, { 'X-Entra-Auth-Page': '1' }))
    assert.doesNotMatch(page.body, /<script/)
    assert.match(page.body, /&lt;script&gt;/)
    assert.match(page.body, /extension 42/)
    await own.close()
  })
})

describe('/oauth2/auth with a caller key', () => {
  let keyed: SignInService
  before(async () => {
    keyed = await startSignIn({ config: { callerKeyFile: '/nowhere/key' } })
  })
  after(() => keyed.close())

  it('answers nobody without it, and signs in as ever', async () => {
    const person = openBrowser(keyed)
    await signInWith(keyed, person)
    const ask = (headers: Record<string, string>) => person.visit('/oauth2/auth', { headers })
    assert.equal((await ask({})).reason, 'caller_not_allowed')
    assert.equal((await ask({ 'X-Entra-Auth-Key': `${callerKey}k` })).reason, 'caller_not_allowed')
    assert.equal((await ask({ 'X-Entra-Auth-Key': callerKey })).status, 202)
  })
})

describe('the audit', () => {
  it('has one line for each session and policy, wherever it was first seen', async () => {
    const lines: { policy: string; user: string; session?: string; token_id?: string }[] = []
    const audited = await startSignIn({
      audit: { info: (fields) => void lines.push(fields as (typeof lines)[number]) },
    })
    const person = openBrowser(audited)
    await signInWith(audited, person)
    const ask = (policy: string) =>
      verify(audited, policy, withSession(person.cookies.get(sessionCookie) ?? ''))
    assertAllowed(await ask('default'))
    assertAllowed(await ask('default'))
    await person.visit('/oauth2/auth')
    await person.visit('/oauth2/auth?policy=open')
    assertAllowed(await ask('open'))
    const { id } = openSession(sealingKeys, person.cookies.get(sessionCookie) ?? '') ?? {}
    assert.deepEqual(
      lines.map(({ policy, user, session }) => [policy, user, session]),
      [
        ['default', ids.user, id],
        ['open', ids.user, id],
      ],
    )
    // A token that comes by /oauth2/auth first has its line all the same.
    const authorization = `Bearer ${v2User()}`
    await person.visit('/oauth2/auth?policy=mixed', { headers: { Authorization: authorization } })
    await verify(audited, 'mixed', { Authorization: authorization })
    assert.deepEqual(
      lines.slice(2).map(({ policy }) => policy),
      ['mixed'],
    )
    await audited.close()
  })
})
