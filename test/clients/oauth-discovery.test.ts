import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import * as oauth from 'oauth4webapi'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { makeFolder, startService, untilReady } from '../serve/process.ts'
import { contoso, ordersId } from './authority.ts'

const client: oauth.Client = { client_id: 'c1111111-1111-4111-8111-111111111111' }
// Everything here is on loopback.
const insecure = { [oauth.allowInsecureRequests]: true }

interface Stack {
  /** Origin of dev-entra. */
  readonly authority: string
  /** The protected resource, as a client knows it: an address at HAProxy. */
  readonly resource: URL
  readonly app: EchoApp
}

/** dev-entra, the verifier as a process, an application, and the shipped HAProxy in front of it. */
async function startStack(cleanUps: (() => unknown)[]): Promise<Stack> {
  const t = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  const [port = 0] = await freePorts(1)
  const resource = new URL(`http://127.0.0.1:${port}/orders`)
  const entra = buildDevEntra({ now: Date.now, identifierUris: [resource.href] })
  cleanUps.push(() => entra.close())
  const authority = await entra.listen({ host: '127.0.0.1', port: 0 })
  const file = join(makeFolder(t), 'config.yaml')
  writeFileSync(
    file,
    `
tenants: { contoso: { id: ${contoso}, authority: ${authority} } }
policies:
  orders:
    audiences: [${ordersId}, ${resource.href}]
    resource: ${resource.href}
    allow: [{ actor: user, scopes: [Orders.Read] }]
`,
  )
  const service = await startService(t, { ENTRA_AUTH_CONFIG: file })
  const app = await startEchoApp()
  cleanUps.push(() => app.stop())
  await untilReady(service)
  const haproxy: Haproxy = await startHaproxy({
    verifier: service.address,
    application: app.address,
    port,
  })
  cleanUps.push(() => haproxy.stop())
  return { authority, resource, app }
}

/** The challenge for a request, as the client reads it: with this token, or without any. */
async function challengeOf(url: URL, token?: string): Promise<oauth.WWWAuthenticateChallenge> {
  const attempt = oauth.protectedResourceRequest(
    token ?? 'none',
    'GET',
    url,
    undefined,
    undefined,
    {
      ...insecure,
      [oauth.customFetch]: (address, options) => {
        const { authorization, ...rest } = options.headers
        return fetch(address, {
          method: options.method,
          headers: token === undefined ? rest : { ...rest, authorization: authorization ?? '' },
        })
      },
    },
  )
  const error = await attempt.then(
    () => assert.fail('the request is let through'),
    (cause: unknown) => cause,
  )
  assert.ok(error instanceof oauth.WWWAuthenticateChallengeError, String(error))
  assert.equal(error.status, 401)
  const [challenge] = error.cause
  assert.ok(challenge)
  return challenge
}

async function discover(resource: URL): Promise<oauth.ResourceServer> {
  const { parameters } = await challengeOf(resource)
  const response = await fetch(parameters.resource_metadata ?? '')
  return oauth.processResourceDiscoveryResponse(resource, response)
}

async function discoverAuthorizationServer({ authorization_servers }: oauth.ResourceServer) {
  const issuer = new URL(authorization_servers?.[0] ?? '')
  const response = await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oidc' })
  return oauth.processDiscoveryResponse(issuer, response)
}

interface SignIn {
  readonly persona: string
  readonly scope: string
  readonly resource: string
}

/** Signs in by the browser's way, with a listener on loopback for the redirect. */
async function signIn(as: oauth.AuthorizationServer, { persona, scope, resource }: SignIn) {
  const listener = createServer((_request, response) => response.end('You may close this page.'))
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const redirectUri = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/callback`
  const state = oauth.generateRandomState()
  const codeVerifier = oauth.generateRandomCodeVerifier()
  const address = new URL(as.authorization_endpoint ?? '')
  address.search = new URLSearchParams({
    client_id: client.client_id,
    response_type: 'code',
    redirect_uri: redirectUri,
    scope,
    resource,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(codeVerifier),
    code_challenge_method: 'S256',
    login_hint: persona,
  }).toString()
  const arrived = once(listener, 'request')
  const page = await fetch(address)
  await page.arrayBuffer()
  const [{ url }] = await arrived
  listener.close()
  const callback = oauth.validateAuthResponse(as, client, new URL(url, redirectUri), state)
  const response = await oauth.authorizationCodeGrantRequest(
    as,
    client,
    oauth.None(),
    callback,
    redirectUri,
    codeVerifier,
    { ...insecure, additionalParameters: { resource } },
  )
  return oauth.processAuthorizationCodeResponse(as, client, response)
}

describe('an OAuth client that knows nothing but the address of the API', () => {
  const cleanUps: (() => unknown)[] = []
  let stack: Stack
  before(async () => {
    stack = await startStack(cleanUps)
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  it('is told where the metadata are, without an error code', async () => {
    const { scheme, parameters } = await challengeOf(stack.resource)
    assert.equal(scheme, 'bearer')
    assert.equal(
      parameters.resource_metadata,
      `${stack.resource.origin}/.well-known/oauth-protected-resource/orders`,
    )
    assert.equal(parameters.error, undefined)
  })

  it('is told the same with a bad token, and that it is bad', async () => {
    const { parameters } = await challengeOf(stack.resource, 'not.a.token')
    assert.equal(parameters.error, 'invalid_token')
    assert.ok(parameters.resource_metadata)
  })

  it('finds the metadata by itself where the challenge says that they are', async () => {
    const response = await oauth.resourceDiscoveryRequest(stack.resource, insecure)
    const { parameters } = await challengeOf(stack.resource)
    assert.equal(response.url, parameters.resource_metadata)
    const found = await oauth.processResourceDiscoveryResponse(stack.resource, response)
    assert.deepEqual(found, await discover(stack.resource))
  })

  it('finds the authorization server, with the issuer that was named', async () => {
    const resourceServer = await discover(stack.resource)
    const as = await discoverAuthorizationServer(resourceServer)
    assert.equal(as.issuer, `${stack.authority}/${contoso}/v2.0`)
  })

  it('gets from the 401 to the 200, and the application knows who it is', async () => {
    const resourceServer = await discover(stack.resource)
    const as = await discoverAuthorizationServer(resourceServer)
    const { access_token } = await signIn(as, {
      persona: 'alice',
      scope: resourceServer.scopes_supported?.join(' ') ?? '',
      resource: resourceServer.resource,
    })
    stack.app.requests.length = 0
    const headers = new Headers({ 'x-auth-request-user': 'admin' })
    const reply = await oauth.protectedResourceRequest(
      access_token,
      'GET',
      stack.resource,
      headers,
      undefined,
      insecure,
    )
    assert.equal(reply.status, 200)
    await reply.body?.cancel()
    const seen = Object.fromEntries(stack.app.requests[0]?.headers ?? [])
    assert.equal(seen['x-auth-request-user'], 'a1111111-1111-4111-8111-111111111111')
    assert.equal(seen['x-auth-request-actor'], 'user')
    assert.equal(seen['x-auth-request-client'], client.client_id)
    assert.equal(seen['x-auth-request-scopes'], 'Orders.Read')
  })

  it('asks for scopes in the name of the resource, as Entra wants it beside `resource`', async () => {
    const { scopes_supported, resource } = await discover(stack.resource)
    assert.deepEqual(scopes_supported, [`${resource}/Orders.Read`])
  })

  it('is refused with AADSTS9010010 when the resource does not fit the scopes', async () => {
    const resourceServer = await discover(stack.resource)
    const as = await discoverAuthorizationServer(resourceServer)
    const scope = resourceServer.scopes_supported?.join(' ') ?? ''
    for (const resource of [
      'api://billing',
      `${resourceServer.resource}/`,
      'https://other.test/',
    ]) {
      await assert.rejects(
        signIn(as, { persona: 'alice', scope, resource }),
        (error) =>
          error instanceof oauth.AuthorizationResponseError &&
          error.error === 'invalid_target' &&
          /^AADSTS9010010: /.test(error.error_description ?? ''),
        resource,
      )
    }
  })

  it('cannot register itself: there is no such endpoint, as in Entra', async () => {
    const as = await discoverAuthorizationServer(await discover(stack.resource))
    assert.equal(as.registration_endpoint, undefined)
    await assert.rejects(
      oauth.dynamicClientRegistrationRequest(as, {}, insecure),
      /registration_endpoint/,
    )
  })

  it('finds no metadata of RFC 8414: those of OpenID Connect are the ones that Entra has', async () => {
    const issuer = new URL(`${stack.authority}/${contoso}/v2.0`)
    const response = await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' })
    assert.equal(response.status, 404)
  })
})
