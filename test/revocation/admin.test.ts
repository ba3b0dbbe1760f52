import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { createRevocationStore } from '../../src/revocation/revocation-store.ts'
import { assertAllowed, assertInvalidToken } from '../support/expect.ts'
import { ids } from '../support/ids.ts'
import { startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const folder = await mkdtemp(join(tmpdir(), 'entra-auth-admin-'))
const store = createRevocationStore(join(folder, 'r.json'), () => service.time.nowMs)
const service = await startService({ revocations: store })
const { admin } = service.app
after(async () => {
  await service.close()
  await rm(folder, { recursive: true })
})

const local = { host: '127.0.0.1:9091' }
const user = `${ids.contoso}/${ids.user}`
const post = (payload: object | string, headers = {}) =>
  admin.inject({
    method: 'POST',
    url: '/revocations',
    headers: { ...local, 'content-type': 'application/json', ...headers },
    payload,
  })

describe('the admin listener', () => {
  it('revokes from now for the longest life of a token and the clock skew unless told otherwise', async () => {
    const reply = await post({ kind: 'user', id: user, reason: 'left' })
    assert.equal(reply.statusCode, 201)
    const before = Math.floor(service.time.nowMs / 1000)
    assert.deepEqual(reply.json(), {
      kind: 'user',
      id: user,
      before,
      until: before + 90_300,
      reason: 'left',
    })
    const listed = await admin.inject({ url: '/revocations', headers: local })
    assert.deepEqual(listed.json().revocations, [reply.json()])
  })

  it('revokes what was issued in the same second, before it', async () => {
    service.time.nowMs += 700
    const iat = Math.floor(service.time.nowMs / 1000)
    const id = `${ids.contoso}/${ids.user}`
    const token = v2User({ iat, nbf: iat, uti: 'same-second' })
    assert.equal((await post({ kind: 'user', id })).statusCode, 201)
    assertInvalidToken(await verify(service, 'default', token), 'user_revoked')
    service.time.nowMs += 300
    const next = v2User({ iat: iat + 1, nbf: iat + 1, uti: 'next-second' })
    assertAllowed(await verify(service, 'default', next))
    await admin.inject({
      method: 'DELETE',
      url: '/revocations',
      query: { kind: 'user', id },
      headers: local,
    })
  })

  it('revokes from the later of its own clock and that of the store', async (t) => {
    for (const [aheadMs, isLater] of [
      [180_000, true],
      [-180_000, false],
      [undefined, false],
    ] as const) {
      const storeMs = () => aheadMs && other.time.nowMs + aheadMs
      const shared = Object.assign(Object.create(store), { storeMs })
      const other = await startService({ revocations: shared })
      t.after(() => other.close())
      const reply = await other.app.admin.inject({
        method: 'POST',
        url: '/revocations',
        headers: { ...local, 'content-type': 'application/json' },
        payload: { kind: 'user', id: user },
      })
      const nowSeconds = Math.ceil(other.time.nowMs / 1000)
      const { before, until } = reply.json()
      assert.equal(before - nowSeconds, isLater ? 180 : 0, `${aheadMs}`)
      assert.ok(until >= before + 90_300, `${aheadMs}`)
    }
    await store.remove('user', user)
  })

  it('ends a revocation, once', async () => {
    await post({ kind: 'tenant', id: ids.fabrikam })
    const remove = () =>
      admin.inject({
        method: 'DELETE',
        url: '/revocations',
        query: { kind: 'tenant', id: ids.fabrikam },
        headers: local,
      })
    assert.equal((await remove()).statusCode, 204)
    assert.equal((await remove()).statusCode, 404)
  })

  it('revokes a key for ten years: whoever has it can sign new tokens at any time', async () => {
    const reply = await post({ kind: 'key', id: 'stolen' })
    const { before, until } = reply.json()
    assert.equal(until - before, 10 * 365 * 86_400)
  })

  it('keeps a later end, unless an earlier one is asked for', async () => {
    const later = Math.floor(service.time.nowMs / 1000) + 40 * 86_400
    const client = { kind: 'client', id: `${ids.contoso}/${ids.otherClient}` }
    await post({ ...client, until: later })
    assert.equal((await post(client)).json().until, later)
    const sooner = later - 39 * 86_400
    assert.equal((await post({ ...client, until: sooner })).json().until, sooner)
    assert.equal(store.list.get('client', client.id)?.until, sooner)
  })

  it('lists what is in force, and nothing that has ended', async () => {
    const until = Math.floor(service.time.nowMs / 1000) + 60
    await post({ kind: 'token', id: 'short', until })
    const listed = async () => {
      const reply = await admin.inject({ url: '/revocations', headers: local })
      return reply.json().revocations.map(({ id }: { id: string }) => id)
    }
    assert.ok((await listed()).includes('short'))
    service.time.nowMs += 61_000
    await post({ kind: 'token', id: 'another' })
    assert.equal((await listed()).includes('short'), false)
  })

  it('takes the longest reason in the longest spelling', async () => {
    const reason = '\u7d42'.repeat(256)
    const body = `{"kind":"token","id":"a-token","reason":"${'\\u7d42'.repeat(256)}"}`
    const reply = await post(body)
    assert.equal(reply.statusCode, 201)
    assert.equal(reply.json().reason, reason)
  })

  for (const [what, payload] of [
    ['no JSON', '{"kind":'],
    ['a list', []],
    ['an unknown kind', { kind: 'group', id: user }],
    ['an end in the past', { kind: 'user', id: user, until: 1 }],
    ['an end before its beginning', { kind: 'user', id: user, before: 9e9, until: 8e9 }],
    ['an end at its beginning', { kind: 'user', id: user, before: 9e9, until: 9e9 }],
  ] as const) {
    it(`answers 400 with a sentence to ${what}`, async () => {
      const reply = await post(payload)
      assert.equal(reply.statusCode, 400)
      assert.match(reply.json().error_description, /\w+ .*\w+/)
    })
  }

  it('keeps no token that somebody writes into the reason', async () => {
    const token = v2User().slice(0, 200)
    const reply = await post({ kind: 'session', id: 'a-session', reason: `stolen: ${token}!` })
    assert.equal(reply.statusCode, 201)
    assert.equal(reply.json().reason, 'stolen: [token]!')
    const listed = await admin.inject({ url: '/revocations', headers: local })
    for (const text of [reply.body, listed.body, ...service.log]) {
      assert.doesNotMatch(text, /eyJ/)
    }
  })

  it('lists many without holding requests up', async (t) => {
    const until = 9e9
    const many = Array.from({ length: 50_000 }, (_, i) => ({
      ...{ kind: 'session' as const, id: `session-${i}`, before: 0, until },
    }))
    const none = createRevocationStore(undefined, () => 0)
    const list = createRevocationList(many)
    const other = await startService({ revocations: { ...none, list, setLongest() {} } })
    t.after(() => other.close())
    let turns = 0
    let isOver = false
    const count = () => {
      turns++
      if (!isOver) setImmediate(count)
    }
    setImmediate(count)
    const listed = await other.app.admin.inject({ url: '/revocations', headers: local })
    isOver = true
    assert.deepEqual(listed.json().revocations, many)
    assert.ok(turns >= 100, `${turns} turns`)
  })

  it('says why nothing can be revoked without a file', async () => {
    const other = await startService()
    after(() => other.close())
    const reply = await other.app.admin.inject({
      method: 'POST',
      url: '/revocations',
      headers: local,
      payload: { kind: 'user', id: user },
    })
    assert.equal(reply.statusCode, 409)
    assert.match(reply.json().error_description, /set revocationFile/)
  })

  it('explains a verdict', async () => {
    const reply = await admin.inject({
      url: '/explain/default',
      headers: { ...local, authorization: `Bearer ${v2User({ aud: ids.otherApi, oid: ids.app })}` },
    })
    assert.equal(reply.statusCode, 200)
    assert.equal(reply.json().reason, 'audience_mismatch')
  })

  it('answers to no host name that is not this machine, as a web page could bring', async () => {
    const reply = await admin.inject({
      url: '/revocations',
      headers: { host: 'rebound.example:9091' },
    })
    assert.equal(reply.statusCode, 403)
    assert.equal(reply.headers['x-entra-auth-reason'], 'admin_key_missing')
  })

  it('answers to no web page', async () => {
    const reply = await post({ kind: 'user', id: user }, { origin: 'http://127.0.0.1:3000' })
    assert.equal(reply.statusCode, 403)
  })
})

describe('the admin key', async () => {
  const { guardAdmin } = await import('../../src/admin/guard.ts')
  const { default: fastify } = await import('fastify')
  const app = fastify()
  guardAdmin(app, () => ['correct-horse-battery-staple', 'the-next-admin-key'])
  app.get('/', () => 'inside')
  const call = (headers: Record<string, string>) => app.inject({ url: '/', headers })

  it('opens the listener as the next key does, while it is being replaced', async () => {
    const headers = { authorization: 'Bearer the-next-admin-key', host: '127.0.0.1' }
    assert.equal((await call(headers)).statusCode, 200)
  })

  it('opens the listener under any host name', async () => {
    const headers = { authorization: 'Bearer correct-horse-battery-staple', host: 'verifier:9091' }
    assert.equal((await call(headers)).statusCode, 200)
  })

  for (const [what, headers] of [
    ['missing', {}],
    ['wrong', { authorization: 'Bearer correct-horse-battery-stapl' }],
    ['in another scheme', { authorization: 'Basic correct-horse-battery-staple' }],
    ['empty', { authorization: 'Bearer ' }],
  ] as const) {
    it(`is asked for when it is ${what}`, async () => {
      assert.equal((await call({ ...headers, host: '127.0.0.1' })).statusCode, 403)
    })
  }
})
