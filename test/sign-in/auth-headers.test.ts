import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { ids, startMs } from '../support/ids.ts'
import { host } from '../support/sessions.ts'
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

describe('the answer of /oauth2/auth', () => {
  it('has the verdict, the names of the headers, and these headers', async () => {
    await signInWith(service, browser)
    const page = await browser.visit('/oauth2/auth')
    assert.equal(page.headers['x-entra-auth-verdict'], 'allow')
    const names = page.headers['x-entra-auth-headers']?.split(/,\s*/) ?? []
    assert.ok(names.length > 5)
    for (const name of names) assert.ok(name.toLowerCase() in page.headers, name)
    assert.equal(page.headers.undefined, undefined)
  })

  it('is 202 for a person who navigates, as long as no re-check is due', async () => {
    await signInWith(service, browser)
    assert.equal((await browser.visit('/oauth2/auth', { headers: navigation })).status, 202)
  })

  it('is 202 for a person whose name is that of a header', async () => {
    await signInWith(service, browser, { claims: { name: 'X-Entra-Auth-Recheck' } })
    assert.equal((await browser.visit('/oauth2/auth', { headers: navigation })).status, 202)
  })

  it('is JSON for a token, also where somebody navigates with it', async () => {
    const page = await browser.visit('/oauth2/auth?policy=mixed', {
      headers: { ...navigation, Authorization: `Bearer ${v2User({ scp: 'Other.Read' })}` },
    })
    assert.equal(page.status, 403)
    assert.equal(JSON.parse(page.body).reason, 'scope_missing')
  })

  it('is JSON where signing in would change it', async () => {
    const page = await browser.visit('/oauth2/auth', { headers: navigation })
    assert.equal(page.status, 401)
    assert.equal(JSON.parse(page.body).reason, 'no_session')
  })

  it('is no redirect where signing in would not change it', async () => {
    await signInWith(service, browser)
    const page = await browser.visit('/oauth2/auth?policy=grouped&redirect=true', {
      headers: navigation,
    })
    assert.deepEqual([page.status, page.reason], [403, 'group_missing'])
    assert.equal(page.location, undefined)
  })

  it('for a token does not depend on where the request comes from', async () => {
    const page = await browser.visit('/oauth2/auth?policy=mixed', {
      headers: {
        Authorization: `Bearer ${v2User()}`,
        Origin: 'https://elsewhere.example',
        'Sec-Fetch-Site': 'cross-site',
        'X-Forwarded-Method': 'POST',
      },
    })
    assert.equal(page.status, 202)
  })

  it('of a policy that only reports is a refusal from its date on, and counted as what it is', async (t) => {
    const until = startMs + 1_000
    const own = await startSignIn({
      config: {
        policies: {
          default: {
            allow: [{ actor: 'user', session: true, roles: ['Portal.Admin'] }],
            reportOnlyUntil: new Date(until).toISOString(),
          },
        },
      },
    })
    t.after(() => own.close())
    const person = openBrowser(own)
    await signInWith(own, person)
    assert.equal((await person.visit('/oauth2/auth')).status, 202)
    own.time.nowMs = until
    assert.equal((await person.visit('/oauth2/auth')).status, 403)
    const { body } = await own.app.metrics.inject('/metrics')
    for (const verdict of ['report', 'deny']) {
      const labels = `policy="default",verdict="${verdict}",reason="role_missing"`
      assert.ok(body.includes(`entra_auth_verdicts_total{${labels}} 1`), labels)
    }
  })

  it('is audited where it is the first sight of a session', async (t) => {
    const seen: string[] = []
    const own = await startSignIn({
      audit: { info: (fields) => void seen.push((fields as { policy: string }).policy) },
    })
    t.after(() => own.close())
    const person = openBrowser(own)
    await signInWith(own, person)
    await person.visit('/oauth2/auth')
    assert.deepEqual(seen, ['default'])
  })
})

describe('the host of a request to /oauth2/auth', () => {
  it('is the one that the proxy forwards, and otherwise that of the request', async () => {
    await signInWith(service, browser)
    const ask = (headers: Record<string, string>) => browser.visit('/oauth2/auth', { headers })
    const there = 'auth.internal:8081'
    assert.equal((await ask({ Host: there, 'X-Forwarded-Host': host })).status, 202)
    assert.equal((await ask({ Host: there, 'x-forwarded-host': host })).status, 202)
    assert.equal((await ask({ 'X-Forwarded-Host': 'other.example' })).reason, 'no_session')
    assert.equal((await ask({ Host: there })).reason, 'no_session')
    // A value that looks like the name of that header is none.
    assert.equal((await ask({ 'X-Note': 'x-forwarded-host' })).status, 202)
  })
})

describe('the scheme of a redirect by /oauth2/auth', () => {
  it('is http for this machine only, and only where the proxy does not say https', async (t) => {
    const local = 'localhost:8000'
    const own = await startSignIn({ section: { hosts: [local, host] } })
    t.after(() => own.close())
    const locationAt = async (at: string, proto: string | undefined) => {
      const { location } = await openBrowser(own, at).visit('/oauth2/auth?redirect=true', {
        headers: { ...navigation, 'X-Forwarded-Proto': proto ?? '' },
      })
      return location
    }
    assert.equal(await locationAt(local, undefined), `http://${local}/oauth2/start?rd=%2F`)
    assert.equal(await locationAt(local, 'http'), `http://${local}/oauth2/start?rd=%2F`)
    assert.equal(await locationAt(local, 'HTTPS'), `https://${local}/oauth2/start?rd=%2F`)
    assert.equal(await locationAt(host, 'http'), `https://${host}/oauth2/start?rd=%2F`)
  })
})

describe('/oauth2/userinfo', () => {
  it('is JSON, and says who signed in and until when', async () => {
    await signInWith(service, browser, { claims: { roles: ['Reader'] } })
    const page = await browser.visit('/oauth2/userinfo')
    assert.equal(page.headers['content-type'], 'application/json; charset=utf-8')
    const { user, tenant, roles, signedInAt, recheckAt, endsAt } = JSON.parse(page.body)
    const seconds = startMs / 1_000
    assert.deepEqual(
      { user, tenant, roles, signedInAt, recheckAt, endsAt },
      {
        user: ids.user,
        tenant: ids.contoso,
        roles: ['Reader'],
        signedInAt: seconds,
        recheckAt: seconds + 3_600,
        endsAt: seconds + 8 * 3_600,
      },
    )
    assert.equal(browser.cookies.has(sessionCookie), true)
  })
})
