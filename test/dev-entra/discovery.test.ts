import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { contoso, getJson, mappedId, origin, startDevEntra } from './support.ts'

const v2 = 'v2.0/.well-known/openid-configuration'
const v1 = '.well-known/openid-configuration'

test('v2.0 metadata names issuer, keys and endpoints of the tenant', async (t) => {
  const metadata = await getJson(startDevEntra(t), `/${contoso}/${v2}`)
  assert.equal(metadata.issuer, `${origin}/${contoso}/v2.0`)
  assert.equal(metadata.jwks_uri, `${origin}/${contoso}/discovery/v2.0/keys`)
  assert.equal(metadata.token_endpoint, `${origin}/${contoso}/oauth2/v2.0/token`)
  assert.equal(metadata.authorization_endpoint, `${origin}/${contoso}/oauth2/v2.0/authorize`)
  assert.equal('registration_endpoint' in metadata, false)
})

test('v1.0 metadata has an issuer with a slash at the end', async (t) => {
  const metadata = await getJson(startDevEntra(t), `/${contoso}/${v1}`)
  assert.equal(metadata.issuer, `${origin}/${contoso}/`)
  assert.equal(metadata.jwks_uri, `${origin}/${contoso}/discovery/keys`)
})

test('the appid of the metadata address is passed on to the key address', async (t) => {
  const app = startDevEntra(t)
  for (const [path, keys] of [
    [v2, 'discovery/v2.0/keys'],
    [v1, 'discovery/keys'],
  ]) {
    const metadata = await getJson(app, `/${contoso}/${path}?appid=${mappedId}`)
    assert.equal(metadata.jwks_uri, `${origin}/${contoso}/${keys}?appid=${mappedId}`)
  }
})

for (const authority of ['common', 'organizations']) {
  test(`${authority} has {tenantid} for a tenant, in the metadata and on each key`, async (t) => {
    const app = startDevEntra(t)
    const metadata = await getJson(app, `/${authority}/${v2}`)
    assert.equal(metadata.issuer, `${origin}/{tenantid}/v2.0`)
    const { keys } = await getJson(app, new URL(metadata.jwks_uri).pathname)
    assert.equal(keys[0].issuer, metadata.issuer)
  })
}

test('each v2.0 key names issuer and cloud as the metadata do', async (t) => {
  const app = startDevEntra(t)
  const metadata = await getJson(app, `/${contoso}/${v2}`)
  const { keys } = await getJson(app, new URL(metadata.jwks_uri).pathname)
  for (const key of keys) {
    assert.equal(key.issuer, metadata.issuer)
    assert.equal(key.cloud_instance_name, metadata.cloud_instance_name)
  }
})

test('a tenant is also found by its domain, and its issuer has the id', async (t) => {
  const metadata = await getJson(startDevEntra(t), `/contoso.onmicrosoft.com/${v2}`)
  assert.equal(metadata.issuer, `${origin}/${contoso}/v2.0`)
})

test('an unknown tenant gets AADSTS90002 in the shape of Entra', async (t) => {
  const reply = await startDevEntra(t).inject(`/99999999-9999-4999-8999-999999999999/${v2}`)
  assert.equal(reply.statusCode, 400)
  const body = reply.json()
  assert.equal(body.error, 'invalid_tenant')
  assert.match(body.error_description, /^AADSTS90002: .*Timestamp: 2026-01-02 03:04:05Z$/)
  assert.deepEqual(body.error_codes, [90002])
  assert.equal(body.timestamp, '2026-01-02 03:04:05Z')
  assert.match(body.trace_id, /^[0-9a-f-]{36}$/)
  assert.match(body.correlation_id, /^[0-9a-f-]{36}$/)
})

test('an appid that is no GUID is refused', async (t) => {
  const reply = await startDevEntra(t).inject(`/${contoso}/${v2}?appid=../x`)
  assert.equal(reply.statusCode, 400)
})

test('External ID has v2.0 discovery, but neither v1.0 nor shared authorities', async (t) => {
  const app = startDevEntra(t, { flavour: 'external-id' })
  const status = async (path: string) => (await app.inject(path)).statusCode
  assert.equal(await status(`/${contoso}/${v2}`), 200)
  assert.equal(await status(`/${contoso}/discovery/v2.0/keys`), 200)
  assert.equal(await status(`/${contoso}/${v1}`), 404)
  assert.equal(await status(`/${contoso}/discovery/keys`), 404)
  assert.equal(await status(`/common/${v2}`), 400)
})

test('instance discovery knows this authority and no other', async (t) => {
  const app = startDevEntra(t)
  const ask = (endpoint: string) =>
    app.inject({
      url: '/common/discovery/instance',
      query: { 'api-version': '1.1', authorization_endpoint: endpoint },
    })
  const known = (await ask(`${origin}/${contoso}/oauth2/v2.0/authorize`)).json()
  assert.equal(known.tenant_discovery_endpoint, `${origin}/${contoso}/${v2}`)
  assert.deepEqual(known.metadata[0].aliases, ['127.0.0.1:8400'])
  const other = await ask('https://login.example.com/common/oauth2/v2.0/authorize')
  assert.equal(other.json().error, 'invalid_instance')
})

test('the origin follows the address that it listens on', async (t) => {
  const app = startDevEntra(t)
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const reply = await fetch(`${address}/${contoso}/${v2}`)
  const metadata = (await reply.json()) as { issuer: string }
  assert.equal(metadata.issuer, `${address}/${contoso}/v2.0`)
  assert.doesNotMatch(address, /:8400$/)
})

test('an origin that was given wins', async (t) => {
  const app = startDevEntra(t, { origin: 'https://login.example.com/' })
  const metadata = await getJson(app, `/${contoso}/${v2}`)
  assert.equal(metadata.issuer, `https://login.example.com/${contoso}/v2.0`)
})

const remoteAddress = Object.values(networkInterfaces())
  .flat()
  .find((address) => address?.family === 'IPv4' && !address.internal)?.address

test('answers on loopback only, wherever it listens, unless remote callers are allowed', {
  skip: remoteAddress === undefined && 'this machine has loopback only',
}, async (t) => {
  for (const [allowRemote, status] of [
    [false, 403],
    [true, 200],
  ] as const) {
    const app = startDevEntra(t, { allowRemote })
    const { port } = new URL(await app.listen({ host: '0.0.0.0', port: 0 }))
    const reply = await fetch(`http://${remoteAddress}:${port}/${contoso}/${v2}`)
    assert.equal(reply.status, status)
  }
})
