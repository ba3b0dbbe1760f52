import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, describe, it } from 'node:test'
import type { FastifyInstance } from 'fastify'
import type { RevocationKind } from '../../src/revocation/revocation.ts'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import {
  createRevocationStore,
  type RevocationStore,
} from '../../src/revocation/revocation-store.ts'
import { addRevocationFeed } from '../../src/verify/revocation-feed.ts'
import { compileRules } from '../../src/verify/rules.ts'
import { tenantKey } from '../support/authority.ts'
import { assertAllowed, assertInsufficientClaims, assertInvalidToken } from '../support/expect.ts'
import { ids } from '../support/ids.ts'
import { ask, fixtureConfig, loadFile, startService, verify } from '../support/service.ts'
import { jwkOf, signingKey } from '../support/signing-keys.ts'
import { v2App, v2User } from '../support/tokens.ts'

const folder = await mkdtemp(join(tmpdir(), 'entra-auth-revocation-'))
const revocations = createRevocationStore(
  join(folder, 'revocations.json'),
  () => service.time.nowMs,
)
const service = await startService({ revocations })
after(async () => {
  await service.close()
  await rm(folder, { recursive: true })
})

const nowSeconds = () => Math.floor(service.time.nowMs / 1000)
const user = `${ids.contoso}/${ids.user}`

async function revoke(kind: RevocationKind, id: string, times: { before?: number } = {}) {
  const now = nowSeconds()
  await revocations.add({ kind, id, before: now, until: now + 3600, ...times })
}

beforeEach(async () => {
  for (const { kind, id } of revocations.list.entries) await revocations.remove(kind, id)
})

describe('a revocation', () => {
  it('of a token refuses that token, also one that was admitted before', async () => {
    const token = v2User({ uti: 'revoked-token' })
    assertAllowed(await verify(service, 'default', token))
    await revoke('token', 'revoked-token')
    assertInvalidToken(await verify(service, 'default', token), 'token_revoked')
    assertAllowed(await verify(service, 'default', v2User({ uti: 'another-token' })))
  })

  it('of a user refuses tokens issued before it', async () => {
    const token = v2User()
    assertAllowed(await verify(service, 'default', token))
    await revoke('user', user)
    assertInvalidToken(await verify(service, 'default', token), 'user_revoked')
  })

  it('of a user asks a client that can answer for a new sign-in', async () => {
    await revoke('user', user)
    const reply = await verify(service, 'default', v2User({ xms_cc: ['cp1'] }))
    assert.deepEqual(assertInsufficientClaims(reply, 'sign_in_again'), {
      access_token: { nbf: { essential: true, value: String(nowSeconds()) } },
    })
  })

  it('of a user does not refuse a token issued in that second or later', async () => {
    const issuedAt = nowSeconds() - 60
    const token = v2User({ iat: issuedAt, nbf: issuedAt })
    await revoke('user', user, { before: issuedAt })
    assertAllowed(await verify(service, 'default', token))
    await revoke('user', user, { before: issuedAt + 1 })
    assertInvalidToken(await verify(service, 'default', token), 'user_revoked')
  })

  it('of the same object id in another tenant refuses nobody here', async () => {
    await revoke('user', `${ids.fabrikam}/${ids.user}`)
    assertAllowed(await verify(service, 'default', v2User()))
  })

  it('of a client refuses its tokens, of users and of itself', async () => {
    await revoke('client', `${ids.contoso}/${ids.client}`)
    assertInvalidToken(await verify(service, 'default', v2User()), 'client_revoked')
    assertInvalidToken(await verify(service, 'default', v2App()), 'client_revoked')
  })

  it('of a tenant refuses its tokens', async () => {
    await revoke('tenant', ids.contoso)
    assertInvalidToken(await verify(service, 'default', v2App()), 'tenant_revoked')
  })

  it('of a key refuses whatever it signed, whenever that was', async () => {
    const token = v2User()
    const header = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())
    await revoke('key', header.kid, { before: 0 })
    assertInvalidToken(await verify(service, 'default', token), 'key_revoked')
  })

  it('that was removed refuses no longer', async () => {
    const token = v2User()
    await revoke('user', user)
    assertInvalidToken(await verify(service, 'default', token), 'user_revoked')
    await revocations.remove('user', user)
    assertAllowed(await verify(service, 'default', token))
  })

  it('ends at its time', async () => {
    const token = v2User()
    await revocations.add({
      kind: 'user',
      id: user,
      before: nowSeconds(),
      until: nowSeconds() + 60,
    })
    assertInvalidToken(await verify(service, 'default', token), 'user_revoked')
    service.time.jump(60_000)
    assertAllowed(await verify(service, 'default', token))
  })
})

describe('the feed', () => {
  const feed = async (headers = {}) => ask(service, '/revocations', { headers })

  it('has kind, id and times of each revocation, and not its reason', async () => {
    const now = nowSeconds()
    const revocation = { kind: 'user', id: user, before: now, until: now + 60 } as const
    await revocations.add({ ...revocation, reason: 'left the company' })
    const { version, revocations: listed } = JSON.parse((await feed()).body)
    assert.match(version, /^[\w-]{16}$/)
    assert.deepEqual(listed, [revocation])
  })

  it('has the version that each allow carries', async () => {
    const allow = await verify(service, 'default', v2User())
    const { version } = JSON.parse((await feed()).body)
    assert.equal(version, allow.headers['x-entra-auth-version'])
  })

  it('answers 304 as long as nothing changed', async () => {
    const { headers } = await feed()
    const etag = headers.etag ?? ''
    assert.equal((await feed({ 'If-None-Match': etag })).status, 304)
    await revoke('tenant', ids.fabrikam)
    assert.equal((await feed({ 'If-None-Match': etag })).status, 200)
  })

  it('leaves out what has ended', async () => {
    await revocations.add({ kind: 'tenant', id: ids.fabrikam, before: 1, until: nowSeconds() + 5 })
    service.time.jump(5_000)
    assert.deepEqual(JSON.parse((await feed()).body).revocations, [])
  })
})

describe('a clock that is ahead for a moment', () => {
  it('leaves nothing out of the feed once it is set back', async () => {
    const [soon, later] = [nowSeconds() + 60, nowSeconds() + 86_400]
    await revocations.add({ kind: 'user', id: user, before: nowSeconds(), until: soon })
    await revocations.add({ kind: 'tenant', id: ids.fabrikam, before: 1, until: later })
    const idsInFeed = async () =>
      JSON.parse((await ask(service, '/revocations')).body).revocations.map(
        ({ id }: { id: string }) => id,
      )
    const nowMs = service.time.nowMs
    service.time.nowMs += 3_600_000
    assert.deepEqual(await idsInFeed(), [ids.fabrikam])
    service.time.nowMs = nowMs
    assert.deepEqual(await idsInFeed(), [user, ids.fabrikam])
    assertInvalidToken(await verify(service, 'default', v2User()), 'user_revoked')
  })
})

describe('a session that was revoked', () => {
  it('is in the form of the feed that knows sessions, and not in the former one', async () => {
    await revoke('session', 'a-session')
    const idsOf = async (headers: Record<string, string>) =>
      JSON.parse((await ask(service, '/revocations', { headers })).body).revocations.map(
        ({ id }: { id: string }) => id,
      )
    assert.deepEqual(await idsOf({ 'X-Entra-Auth-Feed': '2' }), ['a-session'])
    assert.deepEqual(await idsOf({}), [])
  })
})

describe('the end of a revocation', () => {
  it('is lengthened by a reload that lengthens the life of tokens', async () => {
    const lifetime = (minutes: number) => {
      const policy = { maxTokenLifetimeMinutes: minutes }
      return service.reload(fixtureConfig(service.authority.url, { policy }))
    }
    const reply = await service.app.admin.inject({
      method: 'POST',
      url: '/revocations',
      headers: { host: '127.0.0.1', 'content-type': 'application/json' },
      payload: { kind: 'user', id: user },
    })
    assert.equal(reply.json().until, nowSeconds() + 90_300)
    await lifetime(1_700)
    const issuedAt = nowSeconds() - 1
    const token = v2User({ iat: issuedAt, nbf: issuedAt, exp: issuedAt + 1_700 * 60 })
    assert.equal(revocations.list.entries[0]?.until, nowSeconds() + 102_300)
    const { body } = await ask(service, '/revocations')
    assert.equal(JSON.parse(body).revocations[0].until, nowSeconds() + 102_300)
    service.time.jump(26 * 3_600_000)
    await service.time.advance(0)
    const reason = (await verify(service, 'default', token)).reason
    assert.ok(reason === 'user_revoked' || reason === 'key_unconfirmed', reason)
    assert.equal(revocations.list.countAt(nowSeconds()), 1)
    await lifetime(1_500)
  })
})

describe('a poll', () => {
  it('that changes nothing costs no work on ten thousand revocations', async () => {
    const many = Array.from({ length: 10_000 }, (_, i) => ({
      kind: 'key' as const,
      id: `key-${i}`,
      before: 0,
      until: nowSeconds() + 7_200,
    }))
    const list = createRevocationList(many)
    let read = 0
    const counted = {
      ...list,
      get entries() {
        read++
        return list.entries
      },
    }
    const store = { ...revocations, list: counted } as RevocationStore
    const other = await startService({ revocations: store })
    try {
      const { etag = '' } = (await ask(other, '/revocations')).headers
      for (let i = 0; i < 20; i++) {
        const reply = await ask(other, '/revocations', { headers: { 'If-None-Match': etag } })
        assert.equal(reply.status, 304)
      }
      assert.equal(read, 1)
    } finally {
      await other.close()
    }
  })
})

describe('a poll of ten thousand revocations that is answered by 304', () => {
  it('takes less than 0.1 ms of the processor, besides HTTP itself', async (t) => {
    const until = nowSeconds() + 7_200
    const list = createRevocationList(
      Array.from({ length: 10_000 }, (_, i) => ({ kind: 'key', id: `key-${i}`, before: 0, until })),
    )
    const rules = compileRules(
      await loadFile(fixtureConfig(service.authority.url)),
      service.app.authorities,
    )
    type Handler = (request: object, reply: object) => unknown
    let poll: Handler = () => assert.fail('no route')
    const app = {
      get(_path: string, handler: Handler) {
        poll = handler
      },
    }
    addRevocationFeed(app as unknown as FastifyInstance, {
      rules: () => rules,
      revocations: () => list,
      clock: () => service.time.nowMs,
    })
    let etag = ''
    let status = 200
    const reply = {
      header(name: string, value: string) {
        if (name === 'ETag') etag = value
        return reply
      },
      code(code: number) {
        status = code
        return reply
      },
      type: () => reply,
      send: () => reply,
    }
    const ask = () => poll({ headers: { 'if-none-match': etag }, raw: { rawHeaders: [] } }, reply)
    ask()
    const polls = 1_000
    const eachMs: number[] = []
    // A collection of garbage may fall into one of them.
    for (let round = 0; round < 3 && Math.min(...eachMs, 1) >= 0.1; round++) {
      const before = process.threadCpuUsage()
      for (let i = 0; i < polls; i++) {
        ask()
        assert.equal(status, 304)
      }
      const { user, system } = process.threadCpuUsage(before)
      eachMs.push((user + system) / 1_000 / polls)
    }
    t.diagnostic(`${eachMs.map((ms) => ms.toFixed(4)).join(', ')} ms for each poll`)
    assert.ok(Math.min(...eachMs) < 0.1)
  })
})

describe('a key that its authority withdrew', () => {
  it('is in the feed for the hour in which a verdict could be kept', async (t) => {
    const other = await startService()
    t.after(() => other.close())
    const keysOf = async () => JSON.parse((await ask(other, '/revocations')).body).revocations
    const old = tenantKey(ids.contoso).id
    other.authority.contoso.v2.keys = [jwkOf(signingKey('successor'))]
    await other.time.advance(3_600_000)
    const before = Math.floor(other.time.nowMs / 1000)
    assert.deepEqual(await keysOf(), [{ kind: 'key', id: old, before, until: before + 3600 }])
    await other.time.advance(3_600_000)
    assert.deepEqual(await keysOf(), [])
  })
})
