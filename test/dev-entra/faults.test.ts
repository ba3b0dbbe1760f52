import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { faultKinds, faultTargets } from '../../src/dev-entra/faults.ts'
import { contoso, getJson, order, post, startDevEntra } from './support.ts'

const paths = {
  metadata: `/${contoso}/v2.0/.well-known/openid-configuration`,
  keys: `/${contoso}/discovery/v2.0/keys`,
} as const

async function setFault(app: FastifyInstance, body: object) {
  const reply = await post(app, '/dev/fault', body)
  assert.equal(reply.statusCode, 200, reply.body)
}

for (const target of faultTargets) {
  test(`${target}: 500, html and empty`, async (t) => {
    const app = startDevEntra(t)
    await setFault(app, { target, kind: '500' })
    assert.equal((await app.inject(paths[target])).statusCode, 500)
    await setFault(app, { target, kind: 'html' })
    const html = await app.inject(paths[target])
    assert.equal(html.statusCode, 200)
    assert.match(String(html.headers['content-type']), /^text\/html/)
    await setFault(app, { target, kind: 'empty' })
    const empty = await getJson(app, paths[target])
    assert.deepEqual(empty, target === 'keys' ? { keys: [] } : {})
    await setFault(app, { target, kind: 'none' })
    assert.notDeepEqual(await getJson(app, paths[target]), empty)
  })

  test(`${target}: slow waits for the given time and then answers`, async (t) => {
    const waits: number[] = []
    const app = startDevEntra(t, { wait: async (ms) => waits.push(ms) })
    const before = await getJson(app, paths[target])
    await setFault(app, { target, kind: 'slow', ms: 1234 })
    assert.deepEqual(await getJson(app, paths[target]), before)
    assert.deepEqual(waits, [1234])
  })

  test(`${target}: redirect leads to good content, and who follows is counted`, async (t) => {
    const app = startDevEntra(t)
    const before = await getJson(app, paths[target])
    await setFault(app, { target, kind: 'redirect' })
    const reply = await app.inject(paths[target])
    assert.equal(reply.statusCode, 302)
    assert.deepEqual(await getJson(app, String(reply.headers.location)), before)
    assert.equal((await getJson(app, '/dev/requests')).counts.elsewhere, 1)
  })

  test(`${target}: huge is valid JSON of more than 16 MiB`, async (t) => {
    const app = startDevEntra(t)
    await setFault(app, { target, kind: 'huge' })
    const reply = await app.inject(paths[target])
    assert.ok(reply.body.length > 16 * 1024 * 1024)
    assert.ok(reply.json())
  })

  test(`${target}: half cuts the connection within the body`, async (t) => {
    const app = startDevEntra(t)
    await setFault(app, { target, kind: 'half' })
    const address = await app.listen({ host: '127.0.0.1', port: 0 })
    const reply = await fetch(`${address}${paths[target]}`)
    assert.equal(reply.status, 200)
    await assert.rejects(reply.text())
  })

  test(`${target}: hang never answers, and does not keep the app from closing`, async (t) => {
    const app = startDevEntra(t)
    await setFault(app, { target, kind: 'hang' })
    const address = await app.listen({ host: '127.0.0.1', port: 0 })
    const outcome = fetch(`${address}${paths[target]}`).then(
      () => 'answered',
      () => 'cut',
    )
    // Ten answers on the same loop after the request has arrived: its own would have come first.
    for (let seen = 0; seen < 10; ) {
      const { counts } = (await (await fetch(`${address}/dev/requests`)).json()) as {
        counts: Record<string, number>
      }
      if (counts[target] === 1) seen += 1
    }
    await app.close()
    assert.equal(await outcome, 'cut')
  })

  test(`${target}: a fault leaves the other endpoint alone`, async (t) => {
    const app = startDevEntra(t)
    await setFault(app, { target, kind: '500' })
    const other = target === 'keys' ? paths.metadata : paths.keys
    assert.equal((await app.inject(other)).statusCode, 200)
  })
}

test('wrong-keys lists other keys under the same ids', async (t) => {
  const app = startDevEntra(t)
  const before = (await getJson(app, paths.keys)).keys
  await setFault(app, { kind: 'wrong-keys' })
  const after = (await getJson(app, paths.keys)).keys
  const list = (keys: Record<string, string>[], name: string) => keys.map((key) => key[name])
  assert.deepEqual(list(after, 'kid'), list(before, 'kid'))
  assert.ok(list(after, 'n').every((n) => !list(before, 'n').includes(n)))
})

test('keys can name the consumer tenant or a template as issuer', async (t) => {
  const app = startDevEntra(t)
  const issuers = async () =>
    new Set((await getJson(app, paths.keys)).keys.map((key: { issuer: string }) => key.issuer))
  await setFault(app, { kind: 'foreign-issuer' })
  assert.match(String([...(await issuers())]), /\/9188040d-6c67-4c5b-b112-36a304b66dad\/v2\.0$/)
  await setFault(app, { kind: 'template-issuer' })
  assert.match(String([...(await issuers())]), /\/\{tenantid\}\/v2\.0$/)
})

test('metadata can name a foreign issuer and a foreign key address', async (t) => {
  const app = startDevEntra(t)
  await setFault(app, { target: 'metadata', kind: 'foreign-issuer' })
  const { issuer } = await getJson(app, paths.metadata)
  assert.match(issuer, /\/9188040d-6c67-4c5b-b112-36a304b66dad\/v2\.0$/)
  await setFault(app, { target: 'metadata', kind: 'foreign-keys' })
  const { jwks_uri } = await getJson(app, paths.metadata)
  assert.match(jwks_uri, /^https:\/\/keys\.example\.invalid\//)
})

test('refuses kinds and targets that are not there', async (t) => {
  const app = startDevEntra(t)
  for (const body of [
    { kind: 'odd' },
    { kind: 'slow', target: 'token' },
    { kind: 'slow', ms: -1 },
    { kind: 'wrong-keys', target: 'metadata' },
    { kind: 'foreign-keys', target: 'keys' },
  ]) {
    assert.equal((await post(app, '/dev/fault', body)).statusCode, 400, JSON.stringify(body))
  }
  assert.equal((await app.inject(paths.keys)).statusCode, 200)
})

test('every kind of fault can be set on each target that it names', async (t) => {
  const app = startDevEntra(t)
  for (const [kind, { targets }] of Object.entries(faultKinds)) {
    for (const target of targets) await setFault(app, { kind, target })
  }
})

test('requests are counted by endpoint and path, and reset ends faults', async (t) => {
  const app = startDevEntra(t)
  await app.inject(paths.keys)
  await app.inject(paths.keys)
  await app.inject(paths.metadata)
  await order(app, { persona: 'alice' })
  const { counts, paths: byPath } = await getJson(app, '/dev/requests')
  assert.deepEqual([counts.keys, counts.metadata, counts.token], [2, 1, 0])
  assert.equal(byPath[paths.keys], 2)
  await setFault(app, { kind: '500' })
  const after = (await post(app, '/dev/reset')).json()
  assert.equal(after.counts.keys, 0)
  assert.equal((await app.inject(paths.keys)).statusCode, 200)
})
