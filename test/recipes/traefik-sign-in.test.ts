/** The recipe for Traefik with browser sign-in. Traefik itself does not run here: see `traefik.ts`. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { parse } from 'yaml'
import { managedHeaders } from '../../src/haproxy/strip.ts'
import { ids } from '../support/ids.ts'
import { cookieOf, host, otherHost } from '../support/sessions.ts'
import { navigation, type SignInService, startSignIn } from '../support/sign-in.ts'
import { recipeFile } from './recipe-files.ts'
import { type Answer, askAsTraefik, type ForwardAuth, forwarded, type Header } from './traefik.ts'

const { routers, middlewares, services } = parse(recipeFile('traefik/sign-in.yaml')).http
const forwardAuth: ForwardAuth = middlewares['entra-sign-in'].forwardAuth

const going: Header[] = Object.entries(navigation)
const script: Header[] = [
  ['Sec-Fetch-Mode', 'cors'],
  ['Sec-Fetch-Dest', 'empty'],
  ['Sec-Fetch-Site', 'same-origin'],
]

function sessionLine(): Header {
  return ['Cookie', `theme=dark; __Host-entra-session=${cookieOf()}; __Host-entra-login=l`]
}

describe('the recipe traefik with sign-in', () => {
  it('overwrites or deletes every managed header and the cookies', () => {
    const ofSessions = [
      'X-Entra-Auth-Session',
      'X-Entra-Auth-Session-Id',
      'X-Entra-Auth-Session-Sid',
    ]
    assert.deepEqual(
      forwardAuth.authResponseHeaders.toSorted(),
      [...managedHeaders('x-auth-request'), ...ofSessions, 'Cookie'].toSorted(),
    )
    assert.equal(forwardAuth.trustForwardHeader, false)
  })

  it('sends /oauth2/ to the listener without asking it first, and everything else is asked for', () => {
    const { portal, 'portal-sign-in': signIn } = routers
    assert.deepEqual(portal.middlewares, ['entra-sign-in'])
    assert.equal(signIn.rule, `${portal.rule} && PathPrefix(\`/oauth2/\`)`)
    assert.ok(signIn.priority > portal.rule.length)
    assert.deepEqual(signIn.middlewares, ['without-token'])
    const [server] = services[signIn.service].loadBalancer.servers
    assert.equal(new URL(forwardAuth.address).origin, server.url)
  })

  it('has the entry points of its routers delete what is spelled otherwise', () => {
    const { entryPoints } = parse(recipeFile('traefik/traefik.yaml'))
    for (const router of Object.values<{ entryPoints: string[] }>(routers)) {
      for (const name of router.entryPoints) {
        assert.equal(entryPoints[name].http.aliasHeadersStrategy, 'delete')
        assert.equal(entryPoints[name].forwardedHeaders, undefined)
      }
    }
  })
})

describe('the recipe traefik with sign-in against the listener', () => {
  let service: SignInService

  before(async () => {
    const session = { actor: 'user', session: true }
    const policies = {
      portal: { allow: [session] },
      admins: { allow: [{ ...session, roles: ['Portal.Admin'] }] },
    }
    service = await startSignIn({ config: { policies } })
  })
  after(() => service.close())

  function replay(
    client: readonly Header[],
    method = 'GET',
    at = host,
    policy = 'portal',
  ): Promise<Answer> {
    const address = new URL(forwardAuth.address)
    assert.equal(address.searchParams.get('policy'), 'portal')
    address.searchParams.set('policy', policy)
    address.host = `127.0.0.1:${service.signInPort}`
    const request = { host: at, method, uri: '/orders/1?sort=up' }
    return askAsTraefik({ ...forwardAuth, address: address.href }, client, request)
  }

  it('sends who goes to a page without a session to sign in, and answers scripts 401', async () => {
    const away = await replay(going)
    const rd = encodeURIComponent('/orders/1?sort=up')
    assert.equal(away.status, 302)
    assert.deepEqual(away.header.get('Location'), [`https://${host}/oauth2/start?rd=${rd}`])
    assert.deepEqual(away.header.get('Cache-Control'), ['no-store'])
    for (const client of [script, [...going, ['X-Moz', 'prefetch'] as const]]) {
      const refused = await replay(client)
      assert.equal(refused.status, 401)
      assert.equal(JSON.parse(refused.body).reason, 'no_session')
    }
  })

  it('lets a session through, with the identity and without a cookie', async () => {
    const client: Header[] = [
      ...going,
      sessionLine(),
      ['x-auth-request-user', 'forged'],
      ['X-Auth-Request-Roles', 'forged'],
      ['X-Entra-Auth-Session', 'forged'],
      ['X-Entra-Auth-Session-Id', 'forged'],
    ]
    const answer = await replay(client)
    assert.equal(answer.status, 202)
    const application = forwarded(forwardAuth, client, answer)
    assert.deepEqual(application.get('X-Auth-Request-User'), [ids.user])
    assert.equal(application.has('Cookie'), false)
    assert.equal([...application.values()].flat().includes('forged'), false)
    assert.equal((await replay(client, 'GET', otherHost)).status, 302)
  })

  it('refuses forms and WebSockets of another site', async () => {
    const key: Header = ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ==']
    const foreign: Header = ['Origin', 'https://evil.example']
    const own: Header = ['Origin', `https://${host}`]
    for (const [client, method] of [
      [[sessionLine(), foreign], 'POST'],
      [[sessionLine()], 'POST'],
      [[sessionLine(), ['Sec-Fetch-Site', 'cross-site']], 'POST'],
      [[sessionLine(), key, foreign], 'GET'],
    ] as [Header[], string][]) {
      const refused = await replay(client, method)
      assert.equal(refused.status, 403)
      assert.equal(JSON.parse(refused.body).reason, 'cross_site_request')
    }
    assert.equal((await replay([sessionLine(), own], 'POST')).status, 202)
    assert.equal((await replay([sessionLine(), key, own])).status, 202)
  })

  it('shows a page to a person whom the policy refuses, which Traefik reads whole', async () => {
    const refused = await replay([...going, sessionLine()], 'GET', host, 'admins')
    assert.equal(refused.status, 403)
    assert.match(refused.header.get('Content-Type')?.[0] ?? '', /^text\/html/)
    assert.match(refused.body, /Adele Vance/)
    const { maxResponseBodySize } = middlewares['entra-sign-in'].forwardAuth
    assert.ok(refused.body.length < maxResponseBodySize)
    const inScript = await replay([...script, sessionLine()], 'GET', host, 'admins')
    assert.equal(JSON.parse(inScript.body).reason, 'role_missing')
  })
})
