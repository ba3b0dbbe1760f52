/** The recipe for nginx with browser sign-in, on a real nginx with a real sign-in listener behind. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { managedHeaders, spellingsOf } from '../../src/haproxy/strip.ts'
import { type Ask, ask, askRaw, type Reply, values } from '../e2e/client.ts'
import { ids } from '../support/ids.ts'
import { cookieOf, host, otherHost } from '../support/sessions.ts'
import {
  navigation,
  openBrowser,
  type SignInService,
  signInWith,
  startSignIn,
} from '../support/sign-in.ts'
import { type Nginx, startNginx } from './nginx.ts'
import { recipeFile } from './recipe-files.ts'

type Headers = [string, string][]

const going: Headers = Object.entries(navigation)
const script: Headers = [
  ['Sec-Fetch-Mode', 'cors'],
  ['Sec-Fetch-Dest', 'empty'],
  ['Sec-Fetch-Site', 'same-origin'],
  ['Accept', 'application/json'],
]
/** Answers of the listener that the application must not take from a client either. */
const ofSessions = [
  'X-Entra-Auth-Session',
  'X-Entra-Auth-Session-Id',
  'X-Entra-Auth-Session-Sid',
] as const
const managed = [...managedHeaders('x-auth-request'), ...ofSessions]

function sessionLine(value = cookieOf()): [string, string] {
  return ['Cookie', `__Host-entra-session=${value}`]
}

describe('the recipe nginx with sign-in', () => {
  it('sets every managed header and the cookie, so that none of the client is left', () => {
    const [, rest = ''] = recipeFile('nginx/entra-sign-in.conf').split('location / {')
    const [own = ''] = rest.split('location = /_entra_web')
    const names = [...own.matchAll(/^ +proxy_set_header (\S+)/gm)].map(([, name = '']) => name)
    assert.deepEqual(
      names.filter((name) => /^X-(Auth-Request|Entra-Auth)-/.test(name)).toSorted(),
      managed.toSorted(),
    )
    assert.ok(names.includes('Cookie'))
  })
})

describe('the recipe nginx with sign-in on nginx', () => {
  const cleanUps: (() => unknown)[] = []
  const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  const policy = { allow: [{ actor: 'user', session: true }] }
  let service: SignInService
  let app: EchoApp
  let nginx: Nginx

  before(async () => {
    service = await startSignIn({
      config: {
        policies: {
          portal: policy,
          strong: { allow: [{ actor: 'user', session: true, authContext: 'c1' }] },
        },
      },
    })
    life.after(() => service.close())
    app = await startEchoApp()
    life.after(() => app.stop())
    nginx = await start()
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })
  beforeEach(() => {
    app.requests.length = 0
  })

  function start(
    edit?: (config: string) => string,
    signInPort = service.signInPort,
  ): Promise<Nginx> {
    return startNginx(life, {
      recipe: 'entra-sign-in.conf',
      verifier: `127.0.0.1:${signInPort}`,
      application: app.address,
      ...(edit && { edit }),
    })
  }

  function send(what: Ask, { port } = nginx): Promise<Reply> {
    return ask(port, { host, ...what })
  }

  /** What the application gets of a request that is let through. */
  async function seenOf(headers: Headers, what: Ask = {}) {
    app.requests.length = 0
    const reply = await send({ headers, ...what })
    assert.equal(reply.status, 200, reply.body)
    const [seen] = app.requests
    assert.ok(seen)
    return seen
  }

  it('sends who goes to a page without a session to sign in, and back to that page', async () => {
    const path = '/orders/1?sort=up&x=%2F%20&y=1'
    const reply = await send({ path, headers: going })
    assert.equal(reply.status, 302)
    const [location = ''] = values(reply, 'location')
    const url = new URL(location)
    assert.equal(url.origin + url.pathname, `https://${host}/oauth2/start`)
    assert.deepEqual([...url.searchParams], [['rd', path]])
    assert.deepEqual(values(reply, 'cache-control'), ['no-store'])
    assert.deepEqual(app.requests, [])
  })

  it('answers scripts, forms and prefetches without a session 401 with JSON', async () => {
    const asked: Ask[] = [
      { headers: script },
      { headers: [['X-Requested-With', 'XMLHttpRequest'], ...going.slice(3)] },
      { headers: [] },
      { headers: going, method: 'POST', body: 'a=1' },
      { headers: [...going, ['Sec-Purpose', 'prefetch']] },
    ]
    for (const what of asked) {
      const reply = await send(what)
      assert.equal(reply.status, 401)
      const { error, reason } = JSON.parse(reply.body)
      assert.deepEqual([error, reason], ['no_session', 'no_session'])
      assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['no_session'])
      assert.deepEqual(values(reply, 'x-entra-auth-sign-in'), ['/oauth2/start'])
      assert.deepEqual(values(reply, 'cache-control'), ['no-store'])
    }
    assert.deepEqual(app.requests, [])
  })

  it('lets a session through, with the identity and without its cookies', async () => {
    const value = cookieOf()
    const ours = [`__Host-entra-session=${value}`, '__Host-entra-login=l']
    const sent: [Headers, string[]][] = [
      [[['Cookie', ours.join('; ')]], []],
      [[['Cookie', `a=1; ${ours.join('; ')}; b="2; c=3`]], ['a=1; b="2; c=3']],
      [[['Cookie', `a=1;${ours[1]};b=2 ; ${ours[0]}`]], ['a=1;b=2']],
      [
        [['Cookie', `${ours[1]};; a=__Host-entra-session=x; ${ours[0]}`]],
        ['a=__Host-entra-session=x'],
      ],
      [[['Cookie', 'e=5'], sessionLine(value), ['Cookie', 'f=6']], ['e=5; f=6']],
      [[['Cookie', `${ours.join('; ')}; __host-ENTRA-session=x; g=7`]], []],
    ]
    for (const [headers, left] of sent) {
      const seen = await seenOf([...going, ...headers])
      assert.deepEqual(values(seen, 'x-auth-request-user'), [ids.user])
      assert.deepEqual(values(seen, 'x-auth-request-name'), ['Adele Vance'])
      assert.equal(JSON.stringify(seen.headers).includes(value), false)
      assert.deepEqual(values(seen, 'cookie'), left, JSON.stringify(headers))
    }
  })

  it('rejects two sessions in one request, an odd spelling, and the session of another host', async () => {
    const odd: Headers = [['Cookie', `__Host-entra-session =${cookieOf()}; d=4`]]
    const two: Headers = [['Cookie', `__Host-entra-session=${cookieOf()}; __Host-entra-session=x`]]
    const lines: Headers = [sessionLine(), sessionLine('x')]
    const foreign: Headers = [sessionLine(cookieOf({ host: otherHost }))]
    const named: Headers = [['X-Entra-Auth-Session', cookieOf()]]
    for (const headers of [odd, two, lines, foreign, named]) {
      assert.equal((await send({ headers: [...script, ...headers] })).status, 401)
    }
    assert.deepEqual(app.requests, [])
  })

  it('lets nothing through that a client forged, in any spelling', async () => {
    const forged = managed.flatMap(spellingsOf).map((name): [string, string] => [name, 'forged'])
    for (let from = 0; from < forged.length; from += 40) {
      const seen = await seenOf([sessionLine(), ...script, ...forged.slice(from, from + 40)])
      assert.deepEqual(
        seen.headers.filter(([, value]) => value === 'forged'),
        [],
      )
      assert.deepEqual(values(seen, 'x-auth-request-user'), [ids.user])
    }
  })

  it('tells the listener its own host and method, whatever the client forwards', async () => {
    const forwarded: Headers = [
      ['X-Forwarded-Host', otherHost],
      ['X-Forwarded-Proto', 'http'],
      ['X-Forwarded-Uri', '//evil.example'],
      ['X-Forwarded-Method', 'GET'],
      ['X-Original-Method', 'GET'],
    ]
    const away = await send({ path: '/a', headers: [...going, ...forwarded] })
    assert.deepEqual(values(away, 'location'), [`https://${host}/oauth2/start?rd=%2Fa`])
    const other = sessionLine(cookieOf({ host: otherHost }))
    assert.equal((await send({ headers: [...script, other, ...forwarded] })).status, 401)
    const crossSite: Headers = [sessionLine(), ['Sec-Fetch-Site', 'cross-site']]
    const headers = [...crossSite, ...forwarded]
    assert.equal((await send({ method: 'POST', headers, body: 'a=1' })).status, 403)
    const start = await send({ path: '/oauth2/start?rd=/a', headers: [...going, ...forwarded] })
    const asked = new URL(values(start, 'location')[0] ?? '').searchParams
    assert.equal(asked.get('redirect_uri'), `https://${host}/oauth2/callback`)
    assert.deepEqual(app.requests, [])
  })

  it('refuses a form of another site with 403, and takes one of its own', async () => {
    const foreign: Headers[] = [
      [['Sec-Fetch-Site', 'cross-site']],
      [['Sec-Fetch-Site', 'same-site']],
      [['Origin', 'https://evil.example']],
      [['Origin', 'null']],
      [],
    ]
    for (const headers of foreign) {
      for (const method of ['POST', 'DELETE']) {
        const reply = await send({ method, headers: [sessionLine(), ...headers], body: 'a=1' })
        assert.equal(reply.status, 403)
        const { error, reason } = JSON.parse(reply.body)
        assert.deepEqual([error, reason], ['cross_site_request', 'cross_site_request'])
      }
    }
    assert.deepEqual(app.requests, [])
    for (const own of [
      ['Sec-Fetch-Site', 'same-origin'],
      ['Origin', `https://${host}`],
    ] as Headers) {
      const seen = await seenOf([sessionLine(), own], { method: 'POST', body: 'a=1' })
      assert.deepEqual([seen.method, seen.body], ['POST', 'a=1'])
    }
    // A link on another site: plain reads pass.
    await seenOf([sessionLine(), ...going.slice(0, 2), ['Sec-Fetch-Site', 'cross-site']])
  })

  it('opens a WebSocket of its own page, and none of another site', async () => {
    const upgrade = (origin: string) =>
      [
        'GET /live HTTP/1.1',
        `Host: ${host}`,
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        `Origin: ${origin}`,
        sessionLine().join(': '),
        '\r\n',
      ].join('\r\n')
    assert.match(await askRaw(nginx.port, upgrade('https://evil.example')), /^HTTP\/1.1 403 /)
    assert.deepEqual(app.requests, [])
    assert.match(await askRaw(nginx.port, upgrade(`https://${host}`)), /^HTTP\/1.1 101 /)
    const [seen] = app.requests
    assert.ok(seen)
    assert.deepEqual(values(seen, 'x-auth-request-user'), [ids.user])
    assert.deepEqual(values(seen, 'cookie'), [])
  })

  it('signs a person in and out from end to end', async () => {
    const browser = openBrowser({ signInPort: nginx.port })
    const rd = '/orders/1?sort=up'
    const back = await signInWith(service, browser, { rd })
    assert.deepEqual([back.status, back.location], [302, rd])
    const page = await browser.visit(rd, { headers: navigation })
    assert.equal(page.status, 200)
    assert.deepEqual(values(app.requests[0] ?? { headers: [] }, 'x-auth-request-user'), [ids.user])
    const headers = { 'Sec-Fetch-Site': 'same-origin' }
    const out = await browser.visit('/oauth2/sign_out', { method: 'POST', headers })
    assert.equal(out.status, 303)
    const again = await browser.visit(rd, { headers: navigation })
    assert.equal(again.status, 302)
    assert.equal(app.requests.length, 1)
  })

  it('sends a navigation to sign in anew where a policy asks for more', async () => {
    const strong = await start((config) => config.replace('policy=portal', 'policy=strong'))
    const reply = await send({ path: '/pay', headers: [...going, sessionLine()] }, strong)
    const location = `https://${host}/oauth2/start?acrs=c1&rd=%2Fpay`
    assert.deepEqual([reply.status, values(reply, 'location')], [302, [location]])
    const refused = await send({ headers: [...script, sessionLine()] }, strong)
    assert.equal(JSON.parse(refused.body).reason, 'step_up_required')
    assert.deepEqual(app.requests, [])
  })

  it('lets no client call its internal location or the one it asks', async () => {
    for (const path of ['/_entra_web', '/oauth2/auth', '/oauth2/%61uth?policy=portal']) {
      const reply = await send({ path, headers: [...script, sessionLine()] })
      assert.equal(reply.status, 404)
      assert.deepEqual(values(reply, 'x-auth-request-user'), [])
    }
    assert.deepEqual(app.requests, [])
  })

  it('keeps nothing in a cache that stands above it', async () => {
    const cached = await start(
      (config) =>
        `proxy_cache_path cache keys_zone=all:1m;\nproxy_cache all;\nproxy_cache_key all;\n` +
        `proxy_cache_valid any 1h;\nproxy_ignore_headers Cache-Control Expires Set-Cookie Vary;\n${config}`,
    )
    const headers = [...script, sessionLine()]
    assert.equal((await send({ headers }, cached)).status, 200)
    assert.equal((await send({ headers: script }, cached)).status, 401)
    assert.equal((await send({ headers }, cached)).status, 200)
    assert.equal(app.requests.length, 2)
  })

  it('refuses with 503 where the policy is not known to the listener', async () => {
    const other = await start((config) => config.replace('policy=portal', 'policy=Portal'))
    const reply = await send({ headers: [...going, sessionLine()] }, other)
    assert.equal(reply.status, 503)
    assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['unknown_policy'])
    assert.deepEqual(app.requests, [])
  })

  it('refuses everything with 5xx when the listener is gone', async () => {
    await service.app.signIn?.close()
    for (const headers of [going, script]) {
      const reply = await send({ headers: [...headers, sessionLine()] })
      assert.equal(reply.status, 503)
      assert.deepEqual(values(reply, 'retry-after'), ['2'])
      assert.deepEqual(values(reply, 'cache-control'), ['no-store'])
    }
    assert.equal((await send({ path: '/oauth2/start', headers: going })).status, 502)
    assert.deepEqual(app.requests, [])
  })
})
