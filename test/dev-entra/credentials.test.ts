import assert from 'node:assert/strict'
import {
  constants,
  createHash,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
  X509Certificate,
} from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { createCertificate } from '../../src/dev-entra/certificate.ts'
import { portal, tokenPath } from './browser.ts'
import {
  contoso,
  getJson,
  nowMs,
  nowSeconds,
  origin,
  post,
  postForm,
  startDevEntra,
} from './support.ts'

const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const der = createCertificate({
  commonName: 'portal',
  serial: Buffer.from('01020304', 'hex'),
  notBeforeMs: nowMs,
  notAfterMs: nowMs + 86_400_000,
  publicKey,
  privateKey,
})
const thumbprint = createHash('sha256').update(der).digest('base64url')
const pem = new X509Certificate(der).toString()

type Fields = Record<string, unknown>

const goodHeader = { alg: 'PS256', typ: 'JWT', 'x5t#S256': thumbprint }
const goodClaims = {
  aud: `${origin}${tokenPath}`,
  iss: portal,
  sub: portal,
  jti: 'j',
  nbf: nowSeconds,
  iat: nowSeconds,
  exp: nowSeconds + 300,
}

function makeAssertion(header: Fields, claims: Fields, key: KeyObject = privateKey): string {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const input = `${encode(header)}.${encode(claims)}`
  const padding =
    header.alg === 'PS256' ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING
  const signature = sign('sha256', Buffer.from(input), { key, padding, saltLength: 32 })
  return `${input}.${signature.toString('base64url')}`
}

async function start(t: TestContext) {
  const app = startDevEntra(t)
  await post(app, '/dev/registration', { client: 'portal', certificate: pem })
  const ask = (client_assertion: string, changes: Record<string, string> = {}) =>
    postForm(app, tokenPath, {
      grant_type: 'client_credentials',
      client_id: portal,
      client_assertion_type: assertionType,
      client_assertion,
      scope: 'https://vault.azure.net/.default',
      ...changes,
    })
  return { app, ask }
}

for (const header of [goodHeader, { ...goodHeader, alg: 'RS256' }]) {
  test(`an assertion signed with ${header.alg} by a registered certificate is accepted`, async (t) => {
    const { ask } = await start(t)
    const reply = await ask(makeAssertion(header, goodClaims))
    assert.equal(reply.statusCode, 200, reply.body)
  })
}

const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
const refused: [string, number, () => string][] = [
  ['another key', 700027, () => makeAssertion(goodHeader, goodClaims, stranger)],
  [
    'an unregistered certificate',
    700027,
    () => makeAssertion({ ...goodHeader, 'x5t#S256': 'A'.repeat(43) }, goodClaims),
  ],
  ['another algorithm', 700027, () => makeAssertion({ ...goodHeader, alg: 'none' }, goodClaims)],
  [
    'another audience',
    700023,
    () => makeAssertion(goodHeader, { ...goodClaims, aud: 'https://login.microsoftonline.com' }),
  ],
  ['another subject', 700021, () => makeAssertion(goodHeader, { ...goodClaims, sub: 'x' })],
  ['another issuer', 700021, () => makeAssertion(goodHeader, { ...goodClaims, iss: 'x' })],
  [
    'an end in the past',
    700024,
    () => makeAssertion(goodHeader, { ...goodClaims, exp: nowSeconds - 301 }),
  ],
  ['no end', 700024, () => makeAssertion(goodHeader, { ...goodClaims, exp: undefined })],
  [
    'a begin in the future',
    700024,
    () => makeAssertion(goodHeader, { ...goodClaims, nbf: nowSeconds + 301 }),
  ],
  ['no form', 50027, () => 'a.b.c'],
]
for (const [what, code, make] of refused) {
  test(`an assertion with ${what} gets AADSTS${code}`, async (t) => {
    const { ask } = await start(t)
    const reply = await ask(make())
    assert.equal(reply.statusCode, 401)
    assert.deepEqual(
      [reply.json().error, reply.json().error_codes],
      ['invalid_client', [code]],
      reply.body,
    )
  })
}

test('the type of the assertion has to be named', async (t) => {
  const { ask } = await start(t)
  const reply = await ask(makeAssertion(goodHeader, goodClaims), { client_assertion_type: 'x' })
  assert.equal(reply.json().error, 'invalid_client')
})

test("a certificate's key does for its own client only", async (t) => {
  const { ask } = await start(t)
  const reply = await ask(makeAssertion(goodHeader, goodClaims), {
    client_id: 'c2222222-2222-4222-8222-222222222222',
  })
  assert.deepEqual(reply.json().error_codes, [700027])
})

test('a token of the Kubernetes issuer stands for a secret', async (t) => {
  const { app, ask } = await start(t)
  const { token } = (await post(app, '/dev/federated-token', {})).json()
  assert.equal((await ask(token)).statusCode, 200)
})

const badFederated: [string, number, object][] = [
  ['another subject', 700213, { subject: 'system:serviceaccount:default:default' }],
  ['another audience', 700212, { audience: 'https://kubernetes.default.svc' }],
  ['an end in the past', 700024, { expiresInSeconds: -301 }],
]
for (const [what, code, wish] of badFederated) {
  test(`a federated token with ${what} gets AADSTS${code}`, async (t) => {
    const { app, ask } = await start(t)
    const { token } = (await post(app, '/dev/federated-token', wish)).json()
    assert.deepEqual((await ask(token)).json().error_codes, [code])
  })
}

test('a token of another issuer gets AADSTS700211', async (t) => {
  const { ask } = await start(t)
  const token = makeAssertion({ alg: 'RS256', kid: 'k' }, { ...goodClaims, iss: 'https://x.test' })
  assert.deepEqual((await ask(token)).json().error_codes, [700211])
})

const imds = '/metadata/identity/oauth2/token?api-version=2018-02-01&resource='

test('a managed identity gets a token, which stands for a secret', async (t) => {
  const { app, ask } = await start(t)
  const reply = await app.inject({
    url: `${imds}api%3A%2F%2FAzureADTokenExchange`,
    headers: { metadata: 'true' },
  })
  assert.equal(reply.statusCode, 200, reply.body)
  assert.equal(reply.json().token_type, 'Bearer')
  assert.equal((await ask(reply.json().access_token)).statusCode, 200)
})

for (const [what, url, headers] of [
  ['the header', `${imds}https%3A%2F%2Fvault.azure.net`, {}],
  ['the resource', '/metadata/identity/oauth2/token?api-version=2018-02-01', { metadata: 'true' }],
  ['the version', '/metadata/identity/oauth2/token?resource=x', { metadata: 'true' }],
  ['a known identity', `${imds}x&client_id=${portal}`, { metadata: 'true' }],
  ['a direct way', `${imds}x`, { metadata: 'true', 'x-forwarded-for': '1.2.3.4' }],
] as const) {
  test(`the metadata service refuses a request without ${what}`, async (t) => {
    const { app } = await start(t)
    const reply = await app.inject({ url, headers })
    assert.equal(reply.statusCode, 400)
    assert.equal(reply.json().error, 'invalid_request')
  })
}

test('the key vault signs for the portal, and its certificate is registered', async (t) => {
  const { app, ask } = await start(t)
  const managed = await app.inject({
    url: `${imds}https%3A%2F%2Fvault.azure.net`,
    headers: { metadata: 'true' },
  })
  const headers = { authorization: `Bearer ${managed.json().access_token}` }
  const { cer, kid } = (await app.inject({ url: '/certificates/portal', headers })).json()
  const certificate = Buffer.from(cer, 'base64')
  const header = {
    alg: 'PS256',
    'x5t#S256': createHash('sha256').update(certificate).digest('base64url'),
  }
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  for (const alg of ['PS256', 'RS256']) {
    const input = `${encode({ ...header, alg })}.${encode(goodClaims)}`
    const reply = await app.inject({
      method: 'POST',
      url: `${new URL(kid).pathname}/sign?api-version=7.4`,
      headers,
      payload: { alg, value: createHash('sha256').update(input).digest('base64url') },
    })
    assert.equal(reply.statusCode, 200, reply.body)
    const key = new X509Certificate(certificate).publicKey
    const padding = alg === 'PS256' ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING
    const signature = Buffer.from(reply.json().value, 'base64url')
    assert.ok(verify('sha256', Buffer.from(input), { key, padding, saltLength: 32 }, signature))
    assert.equal((await ask(`${input}.${reply.json().value}`)).statusCode, 200)
  }
})

test('the key vault answers 401 without a token for it, and tells where to get one', async (t) => {
  const { app } = await start(t)
  const { token } = (await post(app, '/dev/token', { persona: 'robot' })).json()
  for (const headers of [{}, { authorization: `Bearer ${token}` }, { authorization: 'Bearer x' }]) {
    const reply = await app.inject({ url: '/keys/portal', headers })
    assert.equal(reply.statusCode, 401)
    assert.match(
      String(reply.headers['www-authenticate']),
      /resource="https:\/\/vault\.azure\.net"/,
    )
  }
})

test('an expired secret gets AADSTS7000222, a wrong one still AADSTS7000215', async (t) => {
  const { app } = await start(t)
  await post(app, '/dev/refusal', { subject: 'portal', kind: 'secret-expired' })
  const ask = (client_secret: string) =>
    postForm(app, tokenPath, {
      grant_type: 'client_credentials',
      client_id: portal,
      client_secret,
      scope: 'api://orders/.default',
    })
  const expired = await ask('portal-secret')
  assert.equal(expired.statusCode, 401)
  assert.deepEqual(expired.json().error_codes, [7000222])
  assert.deepEqual((await ask('wrong')).json().error_codes, [7000215])
})

test('a correlation id of the client comes back in the error', async (t) => {
  const app = startDevEntra(t)
  const id = 'dddddddd-dddd-4ddd-8ddd-dddddddddddd'
  const reply = await app.inject({
    method: 'POST',
    url: tokenPath,
    headers: { 'content-type': 'application/x-www-form-urlencoded', 'client-request-id': id },
    payload: 'grant_type=refresh_token&client_id=nobody',
  })
  assert.equal(reply.json().correlation_id, id)
})

test('the metadata name the ways that there are', async (t) => {
  const metadata = await getJson(
    startDevEntra(t),
    `/${contoso}/v2.0/.well-known/openid-configuration`,
  )
  assert.equal(metadata.end_session_endpoint, `${origin}/${contoso}/oauth2/v2.0/logout`)
  assert.equal(metadata.frontchannel_logout_supported, true)
  assert.ok(metadata.token_endpoint_auth_methods_supported.includes('private_key_jwt'))
})
