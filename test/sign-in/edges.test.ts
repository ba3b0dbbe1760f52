import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Revocation } from '../../src/revocation/revocation.ts'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { sessionCookie } from '../../src/session/cookie.ts'
import { seal } from '../../src/session/sealing.ts'
import { fingerprintOf } from '../../src/session/session.ts'
import type { SignInContext } from '../../src/sign-in/context.ts'
import { verifyIdToken } from '../../src/sign-in/id-token.ts'
import {
  countStart,
  createLogin,
  maxStarts,
  openLogin,
  openState,
} from '../../src/sign-in/login.ts'
import { countOwn, createAccountCounts, revokeSession } from '../../src/sign-in/own-revocations.ts'
import { createSignOutPage } from '../../src/sign-in/page.ts'
import { createSignInPart } from '../../src/sign-in/part.ts'
import { createRefusalPage } from '../../src/sign-in/refusal-page.ts'
import { readReturnPath } from '../../src/sign-in/return-path.ts'
import { createSignatureEngine } from '../../src/token/signature.ts'
import { tenantKey } from '../support/authority.ts'
import { assertAllowed } from '../support/expect.ts'
import { ids, startMs, startSeconds } from '../support/ids.ts'
import { type ConfigFile, fixtureConfig, loadFile, verify } from '../support/service.ts'
import { cookieOf, host, sealingKeys, signIn, webClient, withSession } from '../support/sessions.ts'
import {
  askedOf,
  type Browser,
  callbackOf,
  grantCode,
  idTokenOf,
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

describe('the starts of a sign-in', () => {
  it('of a clock that was ahead do not count for hours once it is set back', () => {
    const ahead = startSeconds + 8 * 3_600
    let login = createLogin(host, ahead)
    for (let index = 0; index < maxStarts; index++) {
      const next = countStart(login, '/page', ahead + index)
      assert.ok(next)
      login = next
    }
    assert.equal(countStart(login, '/page', ahead + maxStarts), undefined)
    assert.ok(countStart(login, '/page', startSeconds))
  })
})

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
    // What was sealed before goes on.
    assertAllowed(await verify(service, 'default', withSession(cookieOf())))
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

describe('the revocations that sign-in makes', () => {
  const now = startSeconds
  const own = (id: string, madeAt: number, more: Partial<Revocation> = {}) => ({
    ...{ kind: 'session', id, before: now, until: now + 60, reason: 'signed out', madeAt },
    ...more,
  })
  const contextOf = (list: unknown, add: () => Promise<void> = async () => {}) => {
    const lines: string[] = []
    const context = {
      clock: () => startMs,
      canRevoke: () => true,
      accounts: createAccountCounts(),
      revocations: { list, add },
      log: { error: (_fields: object, message: string) => void lines.push(message) },
    } as unknown as SignInContext
    return { context, lines }
  }

  it('are counted by their reason, of a store only the recent ones', () => {
    const entries = [
      own('a', now),
      own('b', now, { reason: 'signed out elsewhere' }),
      own('c', now, { reason: 'stolen' }),
      own('d', now, { until: now }),
      { kind: 'session', id: 'e', before: now, until: now + 60 },
    ]
    assert.equal(countOwn(contextOf({ entries }).context), 2)
    assert.equal(countOwn(contextOf({ entries }).context, 'signed out'), 1)
    const { madeAt: _, ...undated } = own('g', now)
    const recent = () =>
      [own('a', now), own('f', now - 3 * 3_600), undated].map((revocation) => ({ revocation }))
    assert.equal(countOwn(contextOf({ entries, recent }).context), 1)
  })

  it('that cannot be kept are an error in the log', async () => {
    const list = createRevocationList([])
    const { context, lines } = contextOf(list, () => Promise.reject(new Error('disk full')))
    await revokeSession(context, { id: 'a', hardEnd: now + 60 }, now, 'signed out')
    assert.deepEqual(lines, ['session not revoked: a copy of its cookie goes on to its hard end'])
  })
})

describe('an ID token that the library has let through', () => {
  it('is checked again: version, tenant, audience and nonce', async (t) => {
    const service = await start(t)
    const expected = {
      authorities: service.app.authorities,
      engine: createSignatureEngine(),
      tenantId: ids.contoso,
      clientId: webClient,
      nonce: 'n',
      nowMs: startMs,
      clockSkewSeconds: 300,
    }
    const fabrikam = {
      tid: ids.fabrikam,
      iss: `https://login.microsoftonline.com/${ids.fabrikam}/v2.0`,
    }
    for (const [failure, nonce, claims, options] of [
      ['version_unknown', 'n', { ver: '1.0', iss: `https://sts.windows.net/${ids.contoso}/` }, {}],
      ['tenant_not_allowed', 'n', fabrikam, { key: tenantKey(ids.fabrikam) }],
      ['audience_mismatch', 'n', { aud: ids.api }, {}],
      ['claim_malformed', 'm', {}, {}],
    ] as const) {
      const verified = await verifyIdToken(idTokenOf(nonce, claims, options), expected)
      assert.equal(verified.ok ? undefined : verified.failure, failure)
    }
    assert.equal((await verifyIdToken(idTokenOf('n'), expected)).ok, true)
  })
})

describe('what was sealed for a sign-in and has another form', () => {
  it('is none', () => {
    for (const form of ['{}', '"text"', 'null', '[]', '[2,"a"]']) {
      const [login = '', state = ''] = (['login', 'state'] as const).map((purpose) =>
        seal(sealingKeys, purpose, form),
      )
      assert.equal(openLogin(sealingKeys, login, host, startSeconds), undefined)
      assert.equal(openState(sealingKeys, state, host), undefined)
    }
  })
})

describe('the pages', () => {
  it('have a logo where one is configured, and none that breaks out of its attribute', () => {
    const style = { text: undefined, logo: 'data:image/png;base64,AA"><script>' }
    const page = createSignOutPage(style, undefined)
    assert.match(page, /<img src="data:image\/png;base64,AA&quot;&gt;&lt;script&gt;" alt="">/)
  })

  it('of a refusal leave logo and text out where HAProxy could not pass them on', () => {
    const authority = 'https://login.microsoftonline.com'
    const person = { failure: 'client_not_allowed', policy: 'p', requestId: '7F' } as const
    const small = createRefusalPage({ text: 'Call 12.', logo: undefined }, authority, {
      ...person,
      name: undefined,
    })
    assert.match(small.html, /the rules of this page do not admit you/)
    assert.match(small.html, /Call 12/)
    assert.doesNotMatch(small.html, /signed in as/)
    const large = { text: 'Call 12.', logo: `data:image/png;base64,${'A'.repeat(8_000)}` }
    const page = createRefusalPage(large, authority, { ...person, name: 'Adele' })
    assert.ok(page.html.length < 8_000)
    assert.doesNotMatch(page.html, /Call 12|<img/)
    assert.match(page.html, /signed in as Adele/)
  })
})

describe('a return path', () => {
  it('that is encoded again and again is /', () => {
    assert.equal(readReturnPath('/%2525252525252e'), '/')
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
