import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { sessionCookie } from '../../src/session/cookie.ts'
import { fingerprintOf } from '../../src/session/session.ts'
import { createSignInPart } from '../../src/sign-in/part.ts'
import { assertAllowed } from '../support/expect.ts'
import { ids, startMs } from '../support/ids.ts'
import { type ConfigFile, fixtureConfig, loadFile, verify } from '../support/service.ts'
import { cookieOf, host, sealingKeys, signIn, withSession } from '../support/sessions.ts'
import {
  askedOf,
  type Browser,
  callbackOf,
  grantCode,
  navigation,
  openBrowser,
  type SignInOptions,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'

type Life = { after(cleanUp: () => unknown): void }

async function start(t: Life, options: SignInOptions = {}): Promise<SignInService> {
  const service = await startSignIn(options)
  t.after(() => service.close())
  return service
}

/** A browser with a session that the test made. */
function browserWith(service: SignInService, members: Parameters<typeof cookieOf>[0]): Browser {
  return openBrowser(service, host, new Map([[sessionCookie, cookieOf(members)]]))
}

describe('/oauth2/auth', () => {
  const session = { actor: 'user', session: true }

  it('only reports where the policy does, and passes no identity on', async (t) => {
    const service = await start(t, {
      config: {
        policies: {
          default: {
            allow: [{ ...session, roles: ['Portal.Admin'] }],
            reportOnlyUntil: new Date(startMs + 86_400_000).toISOString(),
          },
        },
      },
    })
    const page = await browserWith(service, {}).visit('/oauth2/auth')
    assert.equal(page.status, 202)
    assert.equal(page.headers['x-entra-auth-report'], 'role_missing')
    assert.equal(page.headers['x-entra-auth-user'], undefined)
    assert.equal(page.headers['x-entra-auth-verdict'], undefined)
    const [line] = service.log.filter((one) => one.includes('refusal only reported'))
    assert.equal(JSON.parse(line ?? '{}').reason, 'role_missing')
  })

  it('logs and counts what it answers, as /verify does', async (t) => {
    const service = await start(t)
    const browser = browserWith(service, { groupsLookedAt: fingerprintOf([ids.group]) })
    const from = { 'X-Request-Id': 'a-request', 'X-Forwarded-Uri': '/page?secret=1' }
    await browser.visit('/oauth2/auth?policy=grouped', { headers: from })
    await openBrowser(service).visit('/oauth2/auth', { headers: from })
    await openBrowser(service).visit('/oauth2/auth?policy=nowhere', { headers: from })
    await browser.visit('/oauth2/auth')
    const lines = service.log.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'refused')
    assert.deepEqual(
      lines.map(({ reason, policy, requestId, user }) => [reason, policy, requestId, user]),
      [
        ['group_missing', 'grouped', 'a-request', ids.user],
        ['no_session', 'default', 'a-request', undefined],
        ['unknown_policy', undefined, 'a-request', undefined],
      ],
    )
    assert.equal(lines[0].forwarded.uri, '/page')
    const metrics = await service.app.metrics.inject('/metrics')
    for (const labels of [
      'policy="grouped",verdict="deny",reason="group_missing"',
      'policy="default",verdict="deny",reason="no_session"',
      'policy="",verdict="deny",reason="unknown_policy"',
      'policy="default",verdict="allow",reason=""',
    ]) {
      assert.ok(metrics.body.includes(`entra_auth_verdicts_total{${labels}} 1`), labels)
    }
  })

  it('refuses two policies, and an unknown one', async (t) => {
    const service = await start(t)
    const browser = browserWith(service, {})
    for (const query of ['?policy=default&policy=open', '?policy=nowhere', '?policy=']) {
      assert.equal((await browser.visit(`/oauth2/auth${query}`)).reason, 'unknown_policy')
    }
  })

  it('names a person by the user name where there is no other', async (t) => {
    const service = await start(t)
    const members = { name: undefined, groupsLookedAt: fingerprintOf([ids.group]) }
    const refused = await browserWith(service, members).visit('/oauth2/auth?policy=grouped', {
      headers: navigation,
    })
    assert.equal(refused.status, 403)
    assert.match(refused.body, /You are signed in as adele@contoso\.example/)
    // It has a form for the sign-out.
    assert.equal(refused.headers['referrer-policy'], 'same-origin')
  })

  it('comes back to the address that the proxy says, or to the start', async (t) => {
    const service = await start(t)
    const ask = async (path: string, headers: Record<string, string>) => {
      const page = await openBrowser(service).visit(path, {
        headers: { ...navigation, ...headers },
      })
      return page.location
    }
    const at = `https://${host}/oauth2/start`
    const plain = '/oauth2/auth?redirect=true'
    assert.equal(await ask(plain, { 'X-Original-Uri': '/a?b=1' }), `${at}?rd=%2Fa%3Fb%3D1`)
    assert.equal(await ask(plain, {}), `${at}?rd=%2F`)
    assert.equal(await ask(plain, { 'X-Forwarded-Uri': '//evil.example' }), `${at}?rd=%2F`)
    const stronger = await browserWith(service, {}).visit(`${plain}&policy=strong`, {
      headers: { ...navigation, 'X-Forwarded-Uri': '/room' },
    })
    assert.equal(stronger.location, `${at}?acrs=c1&rd=%2Froom`)
  })

  it('redirects to no host that nobody signs in at', async (t) => {
    const service = await start(t)
    const page = await openBrowser(service).visit('/oauth2/auth?redirect=true', {
      headers: { ...navigation, 'X-Forwarded-Host': 'evil.example' },
    })
    assert.equal(page.location, undefined)
    assert.equal(page.status, 401)
  })
})

describe('/oauth2/userinfo', () => {
  it('has null for what Entra did not say', async (t) => {
    const service = await start(t)
    const members = { name: undefined, preferredUsername: undefined, email: undefined }
    const page = await browserWith(service, members).visit('/oauth2/userinfo')
    const { name, preferredUsername, email } = JSON.parse(page.body)
    assert.deepEqual([name, preferredUsername, email], [null, null, null])
  })
})

describe('a step-up', () => {
  it('whose callback is loaded again leads to its page again', async (t) => {
    const service = await start(t)
    const browser = openBrowser(service)
    const asked = askedOf(await browser.visit('/oauth2/start?rd=/room&acrs=c1'))
    const { code } = grantCode(service.authority, asked, { acrs: ['c1'] })
    await browser.visit(callbackOf(asked, { code }))
    const cookie = browser.cookies.get(sessionCookie)
    const again = await browser.visit(callbackOf(asked, { code }))
    assert.deepEqual([again.status, again.location], [302, '/room'])
    assert.equal(browser.cookies.get(sessionCookie), cookie)
  })
})

describe('a reload', () => {
  it('puts other words on the pages, and takes sign-in away with its section', async (t) => {
    const service = await start(t)
    const browser = openBrowser(service)
    const file = (section: ConfigFile) => fixtureConfig(service.authority.url, { config: section })
    const policies = { default: { allow: [{ actor: 'user', session: true }] } }
    await service.reload(file({ signIn: { ...signIn, page: { text: 'Call 12.' } }, policies }))
    assert.match((await browser.visit('/oauth2/signed_out')).body, /<footer>Call 12\.</)
    await service.reload(file({}))
    for (const path of ['start', 'callback', 'sign_out', 'signed_out', 'frontchannel_logout']) {
      assert.equal((await browser.visit(`/oauth2/${path}`)).reason, 'host_unknown', path)
    }
    assert.equal((await browser.visit('/oauth2/userinfo')).status, 401)
  })
})

describe('a sign-out', () => {
  it('asks where a picture or a script of the same site calls it', async (t) => {
    const service = await start(t)
    const browser = browserWith(service, { name: undefined, preferredUsername: undefined })
    for (const mode of ['no-cors', 'cors']) {
      const page = await browser.visit('/oauth2/sign_out', {
        headers: { 'Sec-Fetch-Mode': mode, 'Sec-Fetch-Site': 'same-origin' },
      })
      assert.match(page.body, /Do you want to sign out of this application\?/)
      assert.equal(browser.cookies.has(sessionCookie), true)
    }
  })

  it('ends here where the authority has no page for it, or does not answer', async (t) => {
    for (const answer of ['none', 'silent'] as const) {
      const service = await start(t)
      const { v2 } = service.authority.contoso
      if (answer === 'none') v2.metadata.end_session_endpoint = undefined
      else v2.metadataFault = 'error'
      const page = await browserWith(service, {}).visit('/oauth2/sign_out', { method: 'POST' })
      assert.deepEqual([page.status, page.location], [303, '/oauth2/signed_out'])
      assert.equal(service.revocations.length, 1)
    }
  })

  it('clears the cookie also without a place for revocations, which has no front channel', async (t) => {
    const service = await start(t, { withoutRevocations: true })
    const browser = browserWith(service, {})
    const page = await browser.visit('/oauth2/sign_out', { method: 'POST' })
    assert.equal(page.status, 303)
    assert.equal(browser.cookies.has(sessionCookie), false)
    assert.deepEqual(service.revocations, [])
    const sid = '00000000-0000-4000-8000-0000000000dd'
    const call = await browser.visit(`/oauth2/frontchannel_logout?sid=${sid}`)
    assert.deepEqual([call.status, call.reason], [404, 'not_found'])
  })

  it('elsewhere names one session in the form of Entra, or is refused', async (t) => {
    const service = await start(t)
    for (const query of [
      '',
      '?sid=',
      '?sid=short',
      `?sid=${'a'.repeat(129)}`,
      '?sid=a%20b',
      '?sid=a&sid=b',
    ]) {
      const page = await openBrowser(service).visit(`/oauth2/frontchannel_logout${query}`)
      assert.deepEqual([page.status, page.reason], [400, 'malformed_request'], query)
    }
    assert.deepEqual(service.revocations, [])
  })
})

describe('the metadata of the authority', () => {
  it('with an address elsewhere begins no sign-in', async (t) => {
    for (const member of ['authorization_endpoint', 'token_endpoint', 'end_session_endpoint']) {
      for (const address of ['https://evil.example/authorize', 17]) {
        const service = await start(t)
        service.authority.contoso.v2.metadata[member] = address
        const page = await openBrowser(service).visit('/oauth2/start')
        assert.deepEqual([page.status, page.reason], [503, 'entra_unavailable'], member)
        assert.equal(page.location, undefined)
      }
    }
  })
})

describe('a credential that cannot be used', () => {
  it('is an alarm and the page for whoever runs this', async (t) => {
    const service = await start(t, {
      readSecret: () => {
        throw Object.assign(new Error('no'), { code: 'EACCES' })
      },
    })
    const page = await signInWith(service, openBrowser(service))
    assert.deepEqual([page.status, page.reason], [503, 'invalid_client'])
    assert.ok(service.log.some((line) => /"level":50.*out of order/.test(line)))
  })
})

describe('without a sealing key', () => {
  it('a sign-in is an error of the server, and nothing is set', async (t) => {
    const service = await start(t, {
      sealingKeys: { sealing: undefined, get: (id) => sealingKeys.get(id) },
    })
    const page = await openBrowser(service).visit('/oauth2/start')
    assert.deepEqual([page.status, page.reason], [500, 'internal_error'])
    assert.deepEqual(page.setCookies, [])
    assert.ok(service.log.some((line) => line.includes('there is no sealing key')))
    // What was sealed before goes on.
    assertAllowed(await verify(service, 'default', withSession(cookieOf())))
  })
})

describe('without a sealing key and without Entra', () => {
  it('a re-check is an error of the server, and no circle of redirects', async (t) => {
    const service = await start(t, {
      sealingKeys: { sealing: undefined, get: (id) => sealingKeys.get(id) },
    })
    service.authority.contoso.v2.metadataFault = 'error'
    const page = await browserWith(service, {}).visit('/oauth2/start?rd=/page')
    assert.deepEqual([page.status, page.reason], [500, 'internal_error'])
    assert.deepEqual([page.location, page.setCookies], [undefined, []])
  })
})

describe('a cookie of a sign-in that is none', () => {
  it('is replaced by a good one', async (t) => {
    const service = await start(t)
    for (const value of ['x', '', 'A'.repeat(5_000)]) {
      const browser = openBrowser(service, host, new Map([['__Host-entra-login', value]]))
      const page = await browser.visit('/oauth2/start')
      assert.equal(page.status, 302)
      assert.notEqual(browser.cookies.get('__Host-entra-login'), value)
    }
  })
})

describe('the part', () => {
  it('is not built for a configuration without signIn', async () => {
    const config = await loadFile(fixtureConfig('http://127.0.0.1:1'))
    const credential = { env: {}, randomId: () => 'id', readFile: () => 'secret' }
    const part = createSignInPart({ sealingKeys, credential })
    assert.throws(() => part.build(config, {} as never), /without the section signIn/)
  })
})
