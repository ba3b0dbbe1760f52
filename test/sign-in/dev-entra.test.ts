import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { sessionCookie } from '../../src/session/cookie.ts'
import { openSession } from '../../src/session/session.ts'
import type { FakeAuthority } from '../support/authority.ts'
import { assertAllowed } from '../support/expect.ts'
import { ids, startMs } from '../support/ids.ts'
import { verify } from '../support/service.ts'
import { sealingKeys } from '../support/sessions.ts'
import {
  type Browser,
  openBrowser,
  type Page,
  type SignInService,
  startSignIn,
} from '../support/sign-in.ts'

const host = 'localhost'
let nowMs = startMs
const entra = buildDevEntra({ now: () => nowMs })
let service: SignInService
let secret = 'portal-secret'
before(async () => {
  await entra.listen({ host: '127.0.0.1', port: 0 })
  const url = `http://127.0.0.1:${(entra.server.address() as AddressInfo).port}`
  service = await startSignIn({
    authority: { url, close: async () => {} } as unknown as FakeAuthority,
    section: { hosts: [host] },
    readSecret: () => secret,
  })
})
after(async () => {
  await service.close()
  await entra.close()
})

/** Goes where Entra sends the browser, with its own cookies for Entra. */
async function passEntra(
  jar: Map<string, string>,
  location: string,
  hint?: string,
): Promise<string> {
  const url = new URL(location)
  if (hint !== undefined) url.searchParams.set('login_hint', hint)
  const cookie = [...jar].map((pair) => pair.join('=')).join('; ')
  const reply = await fetch(url, { redirect: 'manual', headers: { cookie } })
  for (const line of reply.headers.getSetCookie()) {
    const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
    jar.set(name, value)
  }
  const back = reply.headers.get('location')
  assert.ok(back, `Entra shows a page: ${reply.status}`)
  const { pathname, search } = new URL(back)
  return pathname + search
}

async function signIn(
  browser: Browser,
  jar: Map<string, string>,
  rd = '/',
  hint?: string,
): Promise<Page> {
  const start = await browser.visit(`/oauth2/start?rd=${rd}`, plain)
  return browser.visit(await passEntra(jar, start.location ?? '', hint), plain)
}

const plain = { headers: { 'X-Forwarded-Proto': 'http' } }

describe('dev-entra signs people in', () => {
  it('with an ID token that passes every check, and a session that /verify admits', async () => {
    const browser = openBrowser(service, host)
    const page = await signIn(browser, new Map(), '/reports', 'alice')
    assert.equal(page.location, '/reports', `${page.reason}: ${service.log.at(-1)}`)
    const session = openSession(sealingKeys, browser.cookies.get(sessionCookie) ?? '')
    assert.equal(session?.tenantId, ids.contoso)
    assert.ok(session?.loginHint)
    assert.ok(session?.entraSessionId)
    const reply = await verify(service, 'default', {
      'X-Entra-Auth-Session': browser.cookies.get(sessionCookie) ?? '',
      'X-Forwarded-Host': host,
    })
    assertAllowed(reply)
  })

  it('re-checks without a page', async () => {
    const browser = openBrowser(service, host)
    const jar = new Map<string, string>()
    await signIn(browser, jar, '/', 'alice')
    const id = openSession(sealingKeys, browser.cookies.get(sessionCookie) ?? '')?.id
    nowMs += 3_600_000
    service.time.nowMs = nowMs
    const page = await signIn(browser, jar, '/later')
    assert.equal(page.location, '/later')
    const session = openSession(sealingKeys, browser.cookies.get(sessionCookie) ?? '')
    assert.equal(session?.id, id)
    assert.equal(session?.checkedAt, nowMs / 1000)
  })

  it('refuses a wrong secret, which is an alarm and a page', async () => {
    secret = 'expired'
    const page = await signIn(openBrowser(service, host), new Map(), '/', 'alice')
    secret = 'portal-secret'
    assert.equal(page.reason, 'invalid_client')
    assert.match(page.body, /AADSTS7000215/)
    assert.equal(JSON.parse(service.log.at(-1) ?? '{}').level, 50)
  })
})
