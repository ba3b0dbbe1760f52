/** Sessions in the action: cookie, host in the cache key, redirects of navigations, the cross-site guard. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { type CacheStack, startCacheStack } from './cache-stack.ts'
import { type Ask, askRaw, bearer, values } from './client.ts'
import { allowHeaders, answer, type Call, deny, revocations } from './fake-verifier.ts'

const cookie = ['Cookie', 'theme=dark; __Host-entra-session=good; lang=de'] as const
const document = [
  ['Sec-Fetch-Mode', 'navigate'],
  ['Sec-Fetch-Dest', 'document'],
] as const

/** What a session's allow says besides that of a token. */
const ofSession = [
  ['X-Entra-Auth-Session-Id', 'session-1'],
  ['X-Entra-Auth-Session-Sid', 'entra-sid-1'],
] as const

/**
 * Ways to write the cookie in which HAProxy or another program finds it, and which the configuration does
 * not remove before the application.
 */
const notPlain = (name: string, value: string): Record<string, [string, string][]> =>
  Object.fromEntries(
    [
      [`a=1;\t${name}=${value}`],
      [`a=1; \t${name}=${value}`],
      [`a=1, ${name}=${value}`],
      [`a=1,${name}=${value}`],
      [`a=1 ${name}=${value}`],
      [`a=${name}=${value}`],
      [`=${name}=${value}`],
      [`${name} =${value}`],
      [`${name}\t=${value}`],
      [`a=1; ${name}  =${value}; b=2`],
      [`${name}= ${value}`],
      [`${name}=\t${value}`],
      [`${name}=${value} ; b=2`],
      [`${name}=${value}, b=2`],
      [`a="; "${name}=${value}`],
      [`a="; ${name}=${value}; ", ${name}=${value}`],
      [`${name}=${value}; a=1, ${name}=${value}`],
      [`a=1, ${name}=other; ${name}=${value}`],
      ['b=2', `a=1, ${name}=${value}`],
      [`a=1, ${name}=${value}`, 'b=2'],
      [`${name} =other`, `${name}=${value}`],
      [`${name}=${value}`, `a="; ${name}=other; "`],
    ].map((lines) => [
      `the cookie written ${JSON.stringify(lines).replaceAll(value, value.slice(0, 9))}`,
      lines.map((line) => ['Cookie', line] as [string, string]),
    ]),
  )

/** A verifier that knows one session, on one host. */
function sessions(more: readonly (readonly [string, string])[] = []) {
  return (call: Call) => {
    const [session] = values(call, 'x-entra-auth-session')
    const [host] = values(call, 'x-forwarded-host')
    return session === 'good' && host === 'portal.example'
      ? answer(200, [...allowHeaders(), ...ofSession, ...more])
      : noSession
  }
}

const noSession = deny(401, 'no_session', [], [['X-Entra-Auth-Sign-In', '/oauth2/start']])

describe('a session', () => {
  let stack: CacheStack
  before(async () => {
    stack = await startCacheStack()
  })
  after(() => stack.stop())
  beforeEach(() => {
    stack.reset()
    stack.verifier.script = sessions()
    stack.verifier.feed = revocations()
  })

  /** Asks on one connection, so in one thread, as portal.example. */
  const ask = (what: Ask = {}) => {
    const { headers = [cookie], ...rest } = what
    return stack.askFor('', { host: 'portal.example', headers, ...rest })
  }
  const untilHit = () =>
    eventually(
      () => ask(),
      (reply) => values(reply, 'x-cache')[0] === 'hit',
    )

  it('is asked for with the value of its cookie and its host, and no other cookie', async () => {
    assert.equal((await ask({ path: '/a' })).status, 200)
    const [seen] = stack.app.requests
    assert.deepEqual(seen && values(seen, 'x-auth-request-user'), ['alice-oid'])
    const [call] = stack.verifier.calls.slice(-1)
    assert.ok(call)
    assert.deepEqual(values(call, 'cookie'), [])
    assert.deepEqual(values(call, 'x-entra-auth-prepared'), [])
  })

  it('is answered out of the cache for its own host only', async () => {
    await untilHit()
    stack.verifier.calls.length = 0
    assert.equal((await ask()).status, 200)
    assert.equal(stack.verifier.calls.length, 0)
    const other = await stack.askFor('', { host: 'wiki.example', headers: [cookie] })
    assert.equal(other.status, 401)
    assert.deepEqual(values(other, 'x-entra-auth-reason'), ['no_session'])
  })

  for (const [what, headers] of Object.entries({
    'two such cookies': [['Cookie', '__Host-entra-session=good; __Host-entra-session=good']],
    'two such cookies in two lines': [
      ['Cookie', '__Host-entra-session=good'],
      ['Cookie', '__Host-entra-session=other'],
    ],
    'another value': [['Cookie', '__Host-entra-session=goo']],
    'a longer value': [['Cookie', '__Host-entra-session=goodgood']],
    'another case of the name': [['Cookie', '__host-entra-session=good']],
    'a prefix of the name': [['Cookie', 'x__Host-entra-session=good']],
    'a strange character': [['Cookie', '__Host-entra-session=go%6fd']],
    quotes: [['Cookie', '__Host-entra-session="good"']],
    ...notPlain('__Host-entra-session', 'good'),
    'a value without end': [['Cookie', `__Host-entra-session=${'g'.repeat(5000)}`]],
    'no cookie': [],
    'a header of the client': [['X-Entra-Auth-Session', 'good']],
    'another spelling of that header': [['X_Entra_Auth_Session', 'good']],
  } as Record<string, [string, string][]>)) {
    it(`is none with ${what}, with a hot cache too`, async () => {
      await untilHit()
      const reply = await ask({ headers })
      assert.equal(reply.status, 401)
      assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['no_session'])
      assert.deepEqual(values(reply, 'x-entra-auth-sign-in'), ['/oauth2/start'])
      assert.deepEqual(values(reply, 'cache-control'), ['no-store'])
    })
  }

  describe('that is as long as those of the verifier, found at a glance', () => {
    const own = `${'Q'.repeat(900)}_-own`
    const script = (call: Call) => {
      const [session] = values(call, 'x-entra-auth-session')
      const [host] = values(call, 'x-forwarded-host')
      return session === own && host === 'portal.example'
        ? answer(200, [...allowHeaders(), ...ofSession])
        : noSession
    }
    const named = `__Host-entra-session=${own}`
    const here = ['Sec-Fetch-Site', 'same-origin'] as const
    const isGood = ({ status, headers }: { status: number; headers: Headers }) =>
      status === 200 && values({ headers }, 'x-cache')[0] === 'hit'
    type Headers = readonly (readonly [string, string])[]
    beforeEach(async () => {
      stack.verifier.script = script
      await eventually(() => ask({ headers: [['Cookie', named], here] }), isGood)
    })

    for (const [what, headers] of Object.entries({
      'a page of this host': [['Cookie', named], here],
      'a person at the browser': [
        ['Cookie', named],
        ['Sec-Fetch-Site', 'none'],
      ],
      'a link of another site': [
        ['Cookie', named],
        ['Sec-Fetch-Site', 'cross-site'],
      ],
      'a client that does not say': [['Cookie', named]],
      'other cookies around it': [['Cookie', `a=1; ${named}; b=2`], here],
      'a cookie whose value begins with its name': [['Cookie', `a=x__Host-entra; ${named}`], here],
      'other cookies in a second line': [
        ['Cookie', named],
        ['X-Between', '1'],
        ['Cookie', 'b=2'],
        here,
      ],
    } as Record<string, Headers>)) {
      it(`is a hit for ${what}`, async () => {
        stack.verifier.calls.length = 0
        const reply = await ask({ headers })
        assert.ok(isGood(reply), `${reply.status} ${values(reply, 'x-cache')}`)
        assert.equal(stack.verifier.calls.length, 0)
      })
    }

    for (const [what, headers] of Object.entries({
      'a second one': [['Cookie', `${named}; ${named}`], here],
      'another one before it': [['Cookie', `__Host-entra-session=other; ${named}`], here],
      'another one before it, with a blank in front of =': [
        ['Cookie', `__Host-entra-session =other; ${named}`],
        here,
      ],
      'another one after it, with a blank in front of =': [
        ['Cookie', `${named}; __Host-entra-session =other`],
        here,
      ],
      'another one before it, with a tab in front of =': [
        ['Cookie', `__Host-entra-session\t=other; ${named}`],
        here,
      ],
      'another one in the line before': [
        ['Cookie', '__Host-entra-session=other'],
        ['Cookie', named],
        here,
      ],
      'another one in a line after': [
        ['Cookie', named],
        ['X-Between', '1'],
        ['Cookie', '__Host-entra-session=other'],
        here,
      ],
      'one letter less': [['Cookie', named.slice(0, -1)], here],
      'one letter less in front': [['Cookie', named.replace('=Q', '=')], here],
      'one letter more': [['Cookie', `${named}Q`], here],
      'one letter more in front': [['Cookie', named.replace('=', '=Q')], here],
      'another letter in front': [['Cookie', named.replace('=Q', '=q')], here],
      'another letter in the middle': [['Cookie', named.replace('QQQQQQQQ_', 'QQQQqQQQ_')], here],
      'another case of the name': [['Cookie', named.replace('Host', 'host')], here],
      'something in front of the name': [['Cookie', `a=1; x${named}`], here],
      'a name that ends with it': [['Cookie', `x${named}`], here],
      'a value that holds it': [['Cookie', `a=${named}`], here],
      'a quoted value around it': [['Cookie', `a="; ${named}; b="`], here],
      'a character more in the name': [['Cookie', named.replace('=', 's=')], here],
      ...Object.fromEntries(
        Object.entries(notPlain('__Host-entra-session', own)).map(([what, headers]) => [
          what,
          [...headers, here],
        ]),
      ),
      'another header that looks like it': [['X-Cookie', named], here],
      'a value of another header': [['X-Odd', `\tcookie: ${named}`], here],
      'an unknown scheme beside it': [['Cookie', named], ['Authorization', 'Basic eDp5'], here],
    } as Record<string, Headers>)) {
      it(`is none with ${what}`, async () => {
        const seen = stack.app.requests.length
        const reply = await ask({ headers })
        assert.equal(reply.status, 401)
        assert.equal(stack.app.requests.length, seen)
      })
    }

    for (const host of [
      'wiki.example',
      'portal.example:8443',
      'xportal.example',
      'portal.example.evil',
    ]) {
      it(`is none at ${host}`, async () => {
        const reply = await stack.askFor('', { host, headers: [['Cookie', named], here] })
        assert.equal(reply.status, 401)
      })
    }

    for (const [what, headers] of Object.entries({
      'another site': [['Sec-Fetch-Site', 'cross-site']],
      'another host of the site': [['Sec-Fetch-Site', 'same-site']],
      'this host and another site': [here, ['Sec-Fetch-Site', 'cross-site']],
      'another site and this host': [['Sec-Fetch-Site', 'cross-site'], here],
      'this host with a blank more': [['Sec-Fetch-Site', 'same-origin, cross-site']],
      'a client that does not say': [],
      'another origin': [['Origin', 'https://evil.example']],
      'a header that looks like it': [['X-Sec-Fetch-Site', 'same-origin']],
    } as Record<string, Headers>)) {
      for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
        it(`does not admit a ${method} of ${what}`, async () => {
          const reply = await ask({ method, headers: [['Cookie', named], ...headers] })
          assert.equal(reply.status, 403)
          assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['cross_site_request'])
        })
      }
    }

    it('admits a POST of this host', async () => {
      const reply = await ask({ method: 'POST', headers: [['Cookie', named], here] })
      assert.ok(isGood(reply))
    })

    it('brings the identity and not what the client says it is', async () => {
      const reply = await ask({
        headers: [['Cookie', named], here, ['X-Auth-Request-User', 'eve']],
      })
      assert.ok(isGood(reply))
      const seen = stack.app.requests.at(-1)
      assert.deepEqual(seen && values(seen, 'x-auth-request-user'), ['alice-oid'])
    })

    it('is refused as soon as it is revoked', async () => {
      const until = Math.floor(Date.now() / 1000) + 600
      // Another id: what is revoked here stays so, and the other tests need theirs.
      const other = own.replace('-own', '-out')
      const headers = [['Cookie', `__Host-entra-session=${other}`], here] as const
      stack.verifier.script = () =>
        answer(200, [...allowHeaders(), ['X-Entra-Auth-Session-Id', 'glance-1']])
      await eventually(() => ask({ headers }), isGood)
      stack.verifier.script = () => noSession
      stack.verifier.feed = revocations([{ kind: 'session', id: 'glance-1', before: 0, until }])
      const reply = await eventually(
        () => ask({ headers }),
        ({ status }) => status !== 200,
      )
      assert.equal(reply.status, 401)
    })
  })

  it('does not count beside a token', async () => {
    await untilHit()
    stack.verifier.script = () => deny(401, 'token_expired', ['Bearer realm="x"'])
    for (const value of ['Bearer other', 'Basic eDp5', '']) {
      const reply = await ask({ headers: [cookie, ['Authorization', value]] })
      assert.notEqual(reply.status, 200, value)
      const [call] = stack.verifier.calls.slice(-1)
      assert.deepEqual(call && values(call, 'x-entra-auth-session'), [], value)
    }
    const twice = await ask({ headers: [cookie, bearer, bearer] })
    assert.equal(twice.status, 400)
  })

  it('stays refused where the allow does not say which session it is', async () => {
    stack.verifier.script = () => answer(200, allowHeaders())
    const reply = await ask({ headers: [['Cookie', '__Host-entra-session=fresh']] })
    assert.equal(reply.status, 503)
  })

  for (const [kind, revoked] of [
    ['its own id', 'own-1'],
    ["Entra's id", 'entra-2'],
  ] as const) {
    it(`that is revoked by ${kind} leaves the cache`, async () => {
      const number = revoked.slice(-1)
      const headers = [['Cookie', `__Host-entra-session=revoked-${number}`]] as const
      const ids = [
        ['X-Entra-Auth-Session-Id', `own-${number}`],
        ['X-Entra-Auth-Session-Sid', `entra-${number}`],
      ] as const
      stack.verifier.script = () => answer(200, [...allowHeaders(), ...ids])
      await eventually(
        () => ask({ headers }),
        (reply) => values(reply, 'x-cache')[0] === 'hit',
      )
      stack.verifier.script = () => noSession
      const until = Math.floor(Date.now() / 1000) + 600
      stack.verifier.feed = revocations([{ kind: 'session', id: revoked, before: 0, until }])
      const reply = await eventually(
        () => ask({ headers }),
        ({ status }) => status !== 200,
      )
      assert.equal(reply.status, 401)
      // Whatever the verifier says of it now: it does not come into the cache again.
      stack.verifier.script = () => answer(200, [...allowHeaders(), ...ids])
      await ask({ headers })
      assert.deepEqual(values(await ask({ headers }), 'x-cache'), ['miss'])
    })
  }
})

describe('a request without a session', () => {
  let stack: CacheStack
  before(async () => {
    stack = await startCacheStack()
  })
  after(() => stack.stop())
  beforeEach(() => {
    stack.reset()
    stack.verifier.script = () => noSession
  })
  const ask = (headers: readonly (readonly [string, string])[], what: Ask = {}) =>
    stack.ask({ ...what, host: 'portal.example', headers })

  it('sends a person who navigates to sign-in, and back to the path and query', async () => {
    const reply = await ask(document, { path: '/a/b?x=1&y=%20%26' })
    assert.equal(reply.status, 302)
    const [location = ''] = values(reply, 'location')
    assert.equal(location, '/oauth2/start?rd=%2Fa%2Fb%3Fx%3D1%26y%3D%2520%2526')
    assert.equal(new URL(location, 'https://x').searchParams.get('rd'), '/a/b?x=1&y=%20%26')
    assert.deepEqual(values(reply, 'cache-control'), ['no-store'])
    assert.equal(stack.app.requests.length, 0)
  })

  it('goes to sign in where an older browser navigates', async () => {
    assert.equal((await ask([['Accept', 'text/html,*/*']], { path: '/' })).status, 302)
  })

  it('goes to sign in with the context that a step-up needs', async () => {
    stack.verifier.script = () =>
      deny(401, 'step_up_required', [], [['X-Entra-Auth-Sign-In', '/oauth2/start?acrs=c1']])
    const reply = await ask(document, { path: '/a' })
    assert.deepEqual(values(reply, 'location'), ['/oauth2/start?acrs=c1&rd=%2Fa'])
  })

  it('comes back to the start page where its own path is too long', async () => {
    const reply = await ask(document, { path: `/${'a'.repeat(1100)}` })
    assert.deepEqual(values(reply, 'location'), ['/oauth2/start?rd=%2F'])
  })

  for (const [what, headers] of Object.entries({
    'a fetch': [
      ['Sec-Fetch-Mode', 'cors'],
      ['Sec-Fetch-Dest', 'empty'],
      ['Accept', 'text/html'],
    ],
    'an image': [
      ['Sec-Fetch-Mode', 'no-cors'],
      ['Sec-Fetch-Dest', 'image'],
    ],
    'a frame': [
      ['Sec-Fetch-Mode', 'navigate'],
      ['Sec-Fetch-Dest', 'iframe'],
    ],
    'a prefetch': [...document, ['Sec-Purpose', 'prefetch;prerender']],
    'a preview': [...document, ['Purpose', 'preview']],
    'a prefetch of an older browser': [
      ['Accept', 'text/html'],
      ['X-Moz', 'Prefetch'],
    ],
    'a preview of an older browser': [
      ['Accept', 'text/html'],
      ['X-Purpose', 'preview'],
    ],
    'a request whose Fetch Metadata says no mode': [
      ['Accept', 'text/html'],
      ['Sec-Fetch-Site', 'none'],
    ],
    'a request whose Fetch Metadata says only that a person clicked': [
      ['Accept', 'text/html'],
      ['Sec-Fetch-User', '?1'],
    ],
    'an old XHR': [
      ['Accept', 'text/html'],
      ['X-Requested-With', 'XMLHttpRequest'],
    ],
    curl: [['Accept', '*/*']],
  } as Record<string, [string, string][]>)) {
    it(`gets 401 and its reason as ${what}`, async () => {
      const reply = await ask(headers)
      assert.equal(reply.status, 401)
      assert.deepEqual(values(reply, 'x-entra-auth-sign-in'), ['/oauth2/start'])
      assert.deepEqual(values(reply, 'location'), [])
      assert.equal(JSON.parse(reply.body).reason, 'no_session')
    })
  }

  it('gets a page that says that the form was not sent', async () => {
    const reply = await ask(document, { method: 'POST', path: '/save?a=1', body: 'x=1' })
    assert.equal(reply.status, 401)
    assert.match(values(reply, 'content-type').join(), /^text\/html/)
    assert.match(values(reply, 'content-security-policy').join(), /default-src 'none'/)
    assert.match(reply.body, /not passed on/)
    assert.match(reply.body, /href="\/oauth2\/start\?rd=%2Fsave%3Fa%3D1"/)
    assert.equal(stack.app.requests.length, 0)
  })

  const forbidden = (kind: string, more: readonly (readonly [string, string])[] = []) =>
    answer(
      403,
      [
        ['Content-Type', kind],
        ['X-Entra-Auth-Contract', '1'],
        ['X-Entra-Auth-Reason', 'group_missing'],
        ...more,
      ],
      '<h1>You cannot open this page</h1>',
    )
  const policy = ['Content-Security-Policy', "default-src 'none'"] as const

  it('gets the page of the verifier where a policy refuses a navigation with a session', async () => {
    stack.verifier.script = () => forbidden('text/html; charset=utf-8', [policy])
    const reply = await ask([cookie, ...document])
    const [call] = stack.verifier.calls.slice(-1)
    assert.deepEqual(call && values(call, 'x-entra-auth-page'), ['1'])
    assert.equal(reply.status, 403)
    assert.equal(reply.body, '<h1>You cannot open this page</h1>')
    assert.deepEqual(values(reply, 'content-type'), ['text/html; charset=utf-8'])
    assert.deepEqual(values(reply, 'content-security-policy'), ["default-src 'none'"])
    assert.deepEqual(values(reply, 'x-content-type-options'), ['nosniff'])
    assert.deepEqual(values(reply, 'cache-control'), ['no-store'])
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['group_missing'])
  })

  it('is no page of the verifier without a policy of its own, or of another kind', async () => {
    for (const script of [
      forbidden('text/html; charset=utf-8'),
      forbidden('text/html', [policy]),
      forbidden('image/svg+xml', [policy]),
    ]) {
      stack.verifier.script = () => script
      const reply = await ask([cookie, ...document])
      assert.equal(reply.status, 403)
      assert.equal(JSON.parse(reply.body).reason, 'group_missing')
    }
  })

  it('is asked for no page by a script or without a session', async () => {
    for (const headers of [[cookie], document, [cookie, ['Accept', '*/*'] as const]]) {
      await ask(headers)
      const [call] = stack.verifier.calls.slice(-1)
      assert.ok(call)
      assert.deepEqual(values(call, 'x-entra-auth-page'), [])
    }
  })

  it('is not redirected by a policy without sessions', async () => {
    stack.verifier.script = () => deny(401, 'no_credentials', ['Bearer realm="x"'])
    assert.equal((await ask(document)).status, 401)
  })

  for (const value of [
    '//evil.example',
    'https://evil.example/',
    '/oauth2/start?x=1&y=2',
    '/a b',
  ]) {
    it(`is not led to ${value}`, async () => {
      stack.verifier.script = () => deny(401, 'no_session', [], [['X-Entra-Auth-Sign-In', value]])
      const reply = await ask(document)
      assert.equal(reply.status, 401)
      assert.deepEqual(values(reply, 'location'), [])
    })
  }
})

describe('a session whose re-check is due', () => {
  let stack: CacheStack
  before(async () => {
    stack = await startCacheStack()
  })
  after(() => stack.stop())
  beforeEach(() => {
    stack.reset()
    stack.verifier.script = sessions([['X-Entra-Auth-Recheck', '1']])
  })
  const ask = (what: Ask = {}) => {
    const { headers = [], ...rest } = what
    return stack.askFor('', { host: 'portal.example', headers: [cookie, ...headers], ...rest })
  }

  it('continues for all requests except navigations, which go to Entra, also with a hot cache', async () => {
    await eventually(
      () => ask(),
      (reply) => values(reply, 'x-cache')[0] === 'hit',
    )
    assert.equal((await ask({ headers: [['Sec-Fetch-Mode', 'cors']] })).status, 200)
    const post = await ask({
      method: 'POST',
      body: 'x',
      headers: [...document, ['Sec-Fetch-Site', 'same-origin']],
    })
    assert.equal(post.status, 200)
    stack.app.requests.length = 0
    const reply = await ask({ headers: document, path: '/p' })
    assert.equal(reply.status, 302)
    assert.deepEqual(values(reply, 'location'), ['/oauth2/start?rd=%2Fp'])
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['session_recheck'])
    assert.equal(stack.app.requests.length, 0)
  })
})

describe('a request of another site', () => {
  let stack: CacheStack
  before(async () => {
    stack = await startCacheStack()
  })
  after(() => stack.stop())
  beforeEach(() => {
    stack.reset()
    stack.verifier.script = sessions()
  })
  const ask = (value: string, what: Ask = {}) => {
    const { headers = [], ...rest } = what
    const own = ['Cookie', `__Host-entra-session=${value}`] as const
    return stack.askFor('', { host: 'portal.example', headers: [own, ...headers], ...rest })
  }
  const refused: Record<string, [string, string][]> = {
    'no header that says where it comes from': [],
    'a page of another site': [['Sec-Fetch-Site', 'cross-site']],
    'a page of a sister host': [['Sec-Fetch-Site', 'same-site']],
    'a sister host with our Origin': [
      ['Sec-Fetch-Site', 'same-site'],
      ['Origin', 'https://portal.example'],
    ],
    'another Origin': [['Origin', 'https://evil.example']],
    'the Origin null': [['Origin', 'null']],
    'our Origin without TLS': [['Origin', 'http://portal.example']],
    'another port': [['Origin', 'https://portal.example:8443']],
    'our host as a prefix': [['Origin', 'https://portal.example.evil.example']],
    'two Origins': [
      ['Origin', 'https://portal.example'],
      ['Origin', 'https://evil.example'],
    ],
    'two Sec-Fetch-Site': [
      ['Sec-Fetch-Site', 'same-origin'],
      ['Sec-Fetch-Site', 'cross-site'],
    ],
  }
  const admitted: Record<string, [string, string][]> = {
    'a page of this host': [['Sec-Fetch-Site', 'same-origin']],
    'the address bar': [['Sec-Fetch-Site', 'none']],
    'our Origin': [['Origin', 'https://portal.example']],
    'our Origin with its port': [['Origin', 'https://PORTAL.example:443']],
  }

  for (const [what, headers] of Object.entries(refused)) {
    it(`changes nothing with the session: ${what}, with a cold and a hot cache`, async () => {
      for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'PROPFIND']) {
        const reply = await ask('good', { method, headers })
        assert.equal(reply.status, 403, method)
        assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['cross_site_request'])
      }
      await eventually(
        () => ask('good'),
        (reply) => values(reply, 'x-cache')[0] === 'hit',
      )
      stack.app.requests.length = 0
      assert.equal((await ask('good', { method: 'POST', headers })).status, 403)
      assert.equal(stack.app.requests.length, 0)
    })
  }

  for (const [what, headers] of Object.entries(admitted)) {
    it(`is none: ${what}`, async () => {
      assert.equal((await ask('good', { method: 'POST', headers })).status, 200)
    })
  }

  it('may lead a person to a page: Upgrade-Insecure-Requests of browsers is no upgrade', async () => {
    for (const site of ['cross-site', 'same-site', 'none']) {
      const reply = await ask('good', {
        headers: [...document, ['Upgrade-Insecure-Requests', '1'], ['Sec-Fetch-Site', site]],
      })
      assert.equal(reply.status, 200, site)
    }
    const old: [string, string][] = [
      ['Accept', 'text/html'],
      ['Upgrade-Insecure-Requests', '1'],
    ]
    assert.equal((await ask('good', { headers: old })).status, 200)
  })

  it('opens no WebSocket with the session, and a page of this host does', async () => {
    const open = (origin: string) =>
      askRaw(
        stack.haproxy.port,
        [
          'GET /ws HTTP/1.1',
          'Host: portal.example',
          'Cookie: __Host-entra-session=good',
          'Connection: Upgrade',
          'Upgrade: websocket',
          'Sec-WebSocket-Version: 13',
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
          `Origin: ${origin}`,
          '\r\n',
        ].join('\r\n'),
      )
    assert.match(await open('https://evil.example'), /^HTTP\/1\.1 403 .*cross_site_request/s)
    assert.equal(stack.app.requests.length, 0)
    assert.match(await open('https://portal.example'), /^HTTP\/1\.1 101 /)
  })

  it('may use a session where the policy says so, and a token always', async () => {
    const headers: [string, string][] = [['Sec-Fetch-Site', 'cross-site']]
    stack.verifier.script = () =>
      answer(200, [...allowHeaders(), ...ofSession, ['X-Entra-Auth-Cross-Site', 'allow']])
    assert.equal((await ask('shared', { method: 'POST', headers })).status, 200)
    stack.verifier.script = () => answer(200, allowHeaders())
    const reply = await stack.ask({ method: 'POST', headers: [bearer, ...headers] })
    assert.equal(reply.status, 200)
  })
})
