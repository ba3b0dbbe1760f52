import assert from 'node:assert/strict'
import { createHmac, createPublicKey, verify, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { createLocalJWKSet, errors, jwtVerify } from 'jose'
import { contoso, getJson, mappedId, nowMs, order, post, startDevEntra } from './support.ts'

const keysPath = `/${contoso}/discovery/v2.0/keys`
const kids = async (app: FastifyInstance, path = keysPath): Promise<string[]> =>
  (await getJson(app, path)).keys.map(({ kid }: { kid: string }) => kid)

async function verifies(app: FastifyInstance, token: string, path = keysPath): Promise<boolean> {
  try {
    const keys = createLocalJWKSet(await getJson(app, path))
    await jwtVerify(token, keys, { currentDate: new Date(nowMs) })
    return true
  } catch (failure) {
    const expected =
      failure instanceof errors.JWKSNoMatchingKey ||
      failure instanceof errors.JWSSignatureVerificationFailed
    if (expected) return false
    throw failure
  }
}

test('a key has the members that Entra publishes, and no alg', async (t) => {
  const app = startDevEntra(t)
  const common = ['kty', 'use', 'kid', 'x5t', 'n', 'e', 'x5c']
  const [v2] = (await getJson(app, keysPath)).keys
  const [v1] = (await getJson(app, `/${contoso}/discovery/keys`)).keys
  assert.deepEqual(Object.keys(v2), [...common, 'cloud_instance_name', 'issuer'])
  assert.deepEqual(Object.keys(v1), common)
})

test('x5c is a certificate of the key, and kid its SHA-1', async (t) => {
  const [key] = (await getJson(startDevEntra(t), keysPath)).keys
  const certificate = new X509Certificate(Buffer.from(key.x5c[0], 'base64'))
  assert.ok(certificate.verify(certificate.publicKey))
  assert.equal(certificate.publicKey.export({ format: 'jwk' }).n, key.n)
  const sha1 = Buffer.from(certificate.fingerprint.replaceAll(':', ''), 'hex')
  assert.equal(sha1.toString('base64url'), key.kid)
  assert.equal(key.x5t, key.kid)
})

test('two keys are published from the start, and both verify', async (t) => {
  const app = startDevEntra(t)
  assert.equal((await kids(app)).length, 2)
  for (const key of ['current', 'previous']) {
    const { token } = await order(app, { persona: 'alice', key })
    assert.ok(await verifies(app, token), key)
  }
})

test('after a rotation a new key signs and the old one stays published', async (t) => {
  const app = startDevEntra(t)
  const before = await order(app, { persona: 'alice' })
  const reply = (await post(app, '/dev/rotate')).json()
  const after = await order(app, { persona: 'alice' })
  assert.notEqual(after.header.kid, before.header.kid)
  assert.equal(reply.current, after.header.kid)
  assert.deepEqual(await kids(app), reply.published)
  assert.ok(await verifies(app, before.token))
  assert.ok(await verifies(app, after.token))
  const previous = await order(app, { persona: 'alice', key: 'previous' })
  assert.equal(previous.header.kid, before.header.kid)
})

test('a withdrawn key is no longer published, but can still be ordered', async (t) => {
  const app = startDevEntra(t)
  const before = await order(app, { persona: 'alice' })
  await post(app, '/dev/rotate')
  const reply = (await post(app, '/dev/withdraw')).json()
  assert.deepEqual(await kids(app), [reply.current])
  assert.equal(await verifies(app, before.token), false)
  const previous = await order(app, { persona: 'alice', key: 'previous' })
  assert.equal(previous.header.kid, before.header.kid)
})

test('a token of the unpublished key does not verify', async (t) => {
  const app = startDevEntra(t)
  const { token } = await order(app, { persona: 'alice', key: 'unpublished' })
  assert.equal(await verifies(app, token), false)
})

test('the key of an application is published to those only who ask with its appid', async (t) => {
  const app = startDevEntra(t)
  const { token } = await order(app, { persona: 'alice', key: `app:${mappedId}` })
  assert.equal(await verifies(app, token), false)
  assert.ok(await verifies(app, token, `${keysPath}?appid=${mappedId}`))
})

test('an API with claims mapping gets tokens of its own key without asking', async (t) => {
  const app = startDevEntra(t)
  const { header } = await order(app, { persona: 'alice', audience: 'api://mapped' })
  const ordinary = await kids(app)
  const own = (await kids(app, `${keysPath}?appid=${mappedId}`)).filter(
    (kid) => !ordinary.includes(kid),
  )
  assert.deepEqual(own, [header.kid])
})

test('signs exactly the text that it is given', async (t) => {
  const app = startDevEntra(t)
  const payload = '{"tid":"a","tid":"b"}'
  const { token } = (await post(app, '/dev/sign', { payload })).json()
  assert.equal(Buffer.from(token.split('.')[1], 'base64url').toString(), payload)
  const [key] = (await getJson(app, keysPath)).keys
  const [, , signature] = token.split('.')
  const input = Buffer.from(token.slice(0, token.lastIndexOf('.')))
  const publicKey = createPublicKey({ key, format: 'jwk' })
  assert.ok(verify('sha256', input, publicKey, Buffer.from(signature, 'base64url')))
})

for (const alg of ['RS512', 'PS256']) {
  test(`signs with ${alg} where the header says so`, async (t) => {
    const app = startDevEntra(t)
    const { token } = await order(app, { persona: 'alice', header: { alg } })
    assert.ok(await verifies(app, token))
  })
}

test('HS256 is keyed with the text of the public key', async (t) => {
  const app = startDevEntra(t)
  const { token } = await order(app, { persona: 'alice', header: { alg: 'HS256' } })
  const [key] = (await getJson(app, keysPath)).keys
  const pem = createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  const [header, payload, signature] = token.split('.')
  const mac = createHmac('sha256', pem).update(`${header}.${payload}`).digest('base64url')
  assert.equal(signature, mac)
})

test('none in any letter case has an empty signature', async (t) => {
  const { token } = await order(startDevEntra(t), { persona: 'alice', header: { alg: 'NonE' } })
  assert.match(token, /^[\w-]+\.[\w-]+\.$/)
})
