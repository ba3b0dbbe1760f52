import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { findTenant } from '../../src/dev-entra/directory.ts'
import {
  contoso,
  decode,
  fabrikam,
  getJson,
  nowMs,
  ordersId,
  origin,
  postForm,
  startDevEntra,
} from './support.ts'

const robot = {
  grant_type: 'client_credentials',
  client_id: '55555555-5555-4555-8555-555555555555',
  client_secret: 'robot-secret',
  scope: 'api://orders/.default',
}
const desktop = 'c1111111-1111-4111-8111-111111111111'
const web = 'c2222222-2222-4222-8222-222222222222'
const redirectUri = 'http://127.0.0.1:4000/callback'
const verifier = 'v'.repeat(43)
const challenge = createHash('sha256').update(verifier).digest('base64url')
const tokenPath = `/${contoso}/oauth2/v2.0/token`

test('client credentials fetch a token of the robot that verifies', async (t) => {
  const app = startDevEntra(t)
  const reply = await postForm(app, tokenPath, robot)
  assert.equal(reply.statusCode, 200, reply.body)
  assert.equal(reply.headers['cache-control'], 'no-store')
  const { token_type, expires_in, access_token } = reply.json()
  assert.equal(token_type, 'Bearer')
  const keys = createLocalJWKSet(await getJson(app, `/${contoso}/discovery/v2.0/keys`))
  const { payload } = await jwtVerify(access_token, keys, { currentDate: new Date(nowMs) })
  assert.equal(payload.exp, nowMs / 1000 + expires_in)
  assert.deepEqual(
    [payload.aud, payload.azp, payload.azpacr, payload.idtyp, payload.roles],
    [ordersId, robot.client_id, '1', 'app', ['Orders.Process']],
  )
})

test('the secret may stand in a Basic header', async (t) => {
  const app = startDevEntra(t)
  const { client_id, client_secret, ...form } = robot
  const send = (secret: string) =>
    app.inject({
      method: 'POST',
      url: tokenPath,
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        authorization: `Basic ${Buffer.from(`${client_id}:${secret}`).toString('base64')}`,
      },
      payload: new URLSearchParams(form).toString(),
    })
  assert.equal((await send(client_secret)).statusCode, 200)
  assert.equal((await send('wrong')).statusCode, 401)
})

test('a client that is no persona gets a token without roles and under its own ids', async (t) => {
  const form = { ...robot, client_id: web, client_secret: 'orders-web-secret' }
  const reply = await postForm(startDevEntra(t), tokenPath, form)
  const { claims } = decode(reply.json().access_token)
  assert.equal(claims.azp, web)
  assert.equal(claims.roles, undefined)
  assert.equal(claims.oid, claims.sub)
  assert.notEqual(claims.oid, 'b2222222-2222-4222-8222-222222222222')
})

test('the v1.0 endpoint takes a resource, and the API still picks the version', async (t) => {
  const app = startDevEntra(t)
  const { scope: _, ...form } = robot
  const version = async (resource: string) => {
    const reply = await postForm(app, `/${contoso}/oauth2/token`, { ...form, resource })
    const body = reply.json()
    assert.equal(typeof body.expires_in, 'string')
    return decode(body.access_token).claims.ver
  }
  assert.equal(await version('api://orders'), '2.0')
  assert.equal(await version('api://billing'), '1.0')
})

test('External ID has no v1.0 token endpoint', async (t) => {
  const app = startDevEntra(t, { flavour: 'external-id' })
  assert.equal((await postForm(app, `/${contoso}/oauth2/token`, robot)).statusCode, 404)
  assert.equal((await postForm(app, tokenPath, robot)).statusCode, 200)
})

const refusals: [string, number, string, number, object, string?][] = [
  ['a wrong secret', 401, 'invalid_client', 7000215, { client_secret: 'x' }],
  ['no secret', 401, 'invalid_client', 7000218, { client_secret: '' }],
  ['a secret of a public client', 401, 'invalid_client', 7000215, { client_id: desktop }],
  ['an unknown client', 400, 'unauthorized_client', 700016, { client_id: 'nobody' }],
  ['a scope without .default', 400, 'invalid_scope', 1002012, { scope: 'api://orders/X' }],
  ['two scopes', 400, 'invalid_scope', 1002012, { scope: `${robot.scope} ${robot.scope}` }],
  ['an unknown API', 400, 'invalid_resource', 500011, { scope: 'api://no/.default' }],
  ['no scope', 400, 'invalid_request', 900144, { scope: '' }],
  ['an unknown grant type', 400, 'unsupported_grant_type', 70003, { grant_type: 'password' }],
  ['no tenant', 400, 'invalid_request', 50059, {}, '/common/oauth2/v2.0/token'],
  ['an unknown tenant', 400, 'invalid_tenant', 90002, {}, '/acme/oauth2/v2.0/token'],
  ['another resource', 400, 'invalid_target', 9010010, { resource: 'api://billing' }],
]
for (const [what, status, error, code, changes, path = tokenPath] of refusals) {
  test(`client credentials with ${what} get AADSTS${code}`, async (t) => {
    const reply = await postForm(startDevEntra(t), path, { ...robot, ...changes })
    assert.equal(reply.statusCode, status)
    const body = reply.json()
    assert.equal(body.error, error)
    assert.deepEqual(body.error_codes, [code])
    assert.ok(body.error_description.startsWith(`AADSTS${code}: `))
  })
}

test('a repeated parameter is refused', async (t) => {
  const form = `${new URLSearchParams(robot)}&scope=api%3A%2F%2Fbilling%2F.default`
  const reply = await postForm(startDevEntra(t), tokenPath, form)
  assert.deepEqual(reply.json().error_codes, [9000411])
})

function createSignIn(t: TestContext, options = {}) {
  const app = startDevEntra(t, options)
  const authorize = async (changes: Record<string, string> = {}, tenant = contoso) => {
    const query = {
      client_id: desktop,
      redirect_uri: redirectUri,
      response_type: 'code',
      scope: 'openid profile api://orders/Orders.Read',
      state: 's t',
      code_challenge: challenge,
      code_challenge_method: 'S256',
      nonce: 'n-1',
      ...changes,
    }
    return app.inject({ url: `/${tenant}/oauth2/v2.0/authorize`, query })
  }
  const readRedirect = (reply: { headers: Record<string, unknown> }) =>
    new URL(String(reply.headers.location)).searchParams
  const redeem = (code: string, changes: Record<string, string> = {}) =>
    postForm(app, tokenPath, {
      grant_type: 'authorization_code',
      client_id: desktop,
      redirect_uri: redirectUri,
      code,
      code_verifier: verifier,
      ...changes,
    })
  const getCode = async (changes: Record<string, string> = {}, tenant = contoso) => {
    const parameters = readRedirect(await authorize(changes, tenant))
    assert.equal(parameters.get('error_description'), null)
    return parameters.get('code') ?? ''
  }
  return { app, authorize, readRedirect, redeem, getCode }
}

test('a sign-in with PKCE gives an access token and an ID token of the persona', async (t) => {
  const { getCode, redeem } = createSignIn(t)
  const reply = await redeem(await getCode({ login_hint: 'carol' }))
  assert.equal(reply.statusCode, 200, reply.body)
  const { access_token, id_token, scope } = reply.json()
  assert.equal(scope, 'api://orders/Orders.Read')
  const { claims: access } = decode(access_token)
  assert.deepEqual(
    [access.aud, access.azp, access.azpacr, access.scp, access.roles],
    [ordersId, desktop, '0', 'Orders.Read', ['Orders.Admin']],
  )
  const { claims: identity } = decode(id_token)
  assert.deepEqual([identity.aud, identity.nonce, identity.scp], [desktop, 'n-1', undefined])
  assert.equal(identity.oid, access.oid)
})

test('without a login_hint alice signs in, and state comes back', async (t) => {
  const { authorize, readRedirect, redeem } = createSignIn(t)
  const parameters = readRedirect(await authorize())
  assert.equal(parameters.get('state'), 's t')
  const reply = await redeem(parameters.get('code') ?? '')
  assert.equal(decode(reply.json().access_token).claims.name, 'Alice Anders')
})

test('common signs each persona in to its own tenant', async (t) => {
  const { getCode, redeem } = createSignIn(t)
  const reply = await redeem(await getCode({ login_hint: 'mallory' }, 'common'))
  const { claims } = decode(reply.json().access_token)
  assert.deepEqual([claims.tid, claims.iss], [fabrikam, `${origin}/${fabrikam}/v2.0`])
})

test('a code is good once', async (t) => {
  const { getCode, redeem } = createSignIn(t)
  const code = await getCode()
  assert.equal((await redeem(code)).statusCode, 200)
  assert.equal((await redeem(code)).json().error, 'invalid_grant')
})

test('a code is good for ten minutes', async (t) => {
  let timeMs = nowMs
  const { getCode, redeem } = createSignIn(t, { now: () => timeMs })
  const [first, second] = [await getCode(), await getCode()]
  timeMs += 10 * 60 * 1000 - 1
  assert.equal((await redeem(first)).statusCode, 200)
  timeMs += 1
  assert.equal((await redeem(second)).json().error, 'invalid_grant')
})

for (const [what, changes] of [
  ['another verifier', { code_verifier: 'w'.repeat(43) }],
  ['no verifier', { code_verifier: '' }],
  ['another redirect address', { redirect_uri: 'http://127.0.0.1:4001/callback' }],
  ['another client', { client_id: web, client_secret: 'orders-web-secret' }],
] as const) {
  test(`a code is not redeemed with ${what}`, async (t) => {
    const { getCode, redeem } = createSignIn(t)
    const reply = await redeem(await getCode(), changes)
    assert.equal(reply.statusCode, 400)
    assert.equal(reply.json().error, 'invalid_grant')
  })
}

test('a confidential client redeems with its secret only', async (t) => {
  const { getCode, redeem } = createSignIn(t)
  const asWeb = { client_id: web, code_challenge: '', code_challenge_method: '' }
  const withWeb = { client_id: web, code_verifier: '' }
  const refused = await redeem(await getCode(asWeb), withWeb)
  assert.equal(refused.statusCode, 401)
  const secret = { ...withWeb, client_secret: 'orders-web-secret' }
  const reply = await redeem(await getCode(asWeb), secret)
  assert.equal(decode(reply.json().access_token).claims.azpacr, '1')
})

const badSignIns: [string, string, number, Record<string, string>][] = [
  ['a resource of another API', 'invalid_target', 9010010, { resource: 'api://billing' }],
  ['an unknown resource', 'invalid_target', 9010010, { resource: 'http://127.0.0.1:1/orders' }],
  [
    'a resource without a scope of it',
    'invalid_target',
    9010010,
    { scope: 'openid', resource: ordersId },
  ],
  ['no challenge', 'invalid_request', 9002325, { code_challenge: '' }],
  ['a plain challenge', 'invalid_request', 501491, { code_challenge_method: 'plain' }],
  ['a bare scope, which means Graph', 'invalid_resource', 500011, { scope: 'Orders.Read' }],
  ['an unknown scope', 'invalid_client', 650053, { scope: 'api://orders/No' }],
  [
    'scopes of two APIs',
    'invalid_request',
    28000,
    { scope: 'api://orders/Orders.Read api://billing/Billing.Read' },
  ],
  ['an unknown persona', 'access_denied', 50034, { login_hint: 'nobody' }],
  ['an application as persona', 'access_denied', 50034, { login_hint: 'robot' }],
  ['another response type', 'unsupported_response_type', 70005, { response_type: 'token' }],
]
for (const [what, error, code, changes] of badSignIns) {
  test(`a sign-in with ${what} redirects with AADSTS${code}`, async (t) => {
    const { authorize, readRedirect } = createSignIn(t)
    const reply = await authorize(changes)
    assert.equal(reply.statusCode, 302, reply.body)
    const parameters = readRedirect(reply)
    assert.equal(parameters.get('error'), error)
    assert.ok(parameters.get('error_description')?.startsWith(`AADSTS${code}: `))
    assert.equal(parameters.get('code'), null)
    assert.equal(parameters.get('state'), 's t')
  })
}

for (const resource of ['api://orders', ordersId, 'https://api.contoso.com/orders']) {
  test(`a resource ${resource} fits the scopes of the orders API`, async (t) => {
    const { getCode, redeem } = createSignIn(t)
    assert.equal((await redeem(await getCode({ resource }), { resource })).statusCode, 200)
  })
}

test('an identifier URI that was given fits as scope and as resource', async (t) => {
  const resource = 'http://127.0.0.1:9999/mcp'
  const { getCode, redeem } = createSignIn(t, { identifierUris: [resource] })
  const code = await getCode({ resource, scope: `${resource}/Orders.Read` })
  const { access_token } = (await redeem(code)).json()
  assert.equal(decode(access_token).claims.aud, ordersId)
})

for (const redirect_uri of [
  'https://app.example.com/callback',
  'http://127.0.0.1.example.com/callback',
  'http://127.0.0.1@example.com/callback',
  'javascript:alert(1)//127.0.0.1',
  'callback',
]) {
  test(`nothing is sent to ${redirect_uri}`, async (t) => {
    const { authorize } = createSignIn(t)
    const reply = await authorize({ redirect_uri })
    assert.equal(reply.statusCode, 400)
    assert.equal(reply.headers.location, undefined)
    assert.deepEqual(reply.json().error_codes, [50011])
  })
}

test('an unknown client is not redirected', async (t) => {
  const { authorize } = createSignIn(t)
  const reply = await authorize({ client_id: 'nobody' })
  assert.equal(reply.headers.location, undefined)
  assert.deepEqual(reply.json().error_codes, [700016])
})

test('tenants are found in any letter case', () => {
  assert.equal(findTenant('CONTOSO.onmicrosoft.com')?.id, contoso)
  assert.equal(findTenant('constructor'), undefined)
})
