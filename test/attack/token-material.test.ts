/**
 * Class of advisory: credentials in logs, error bodies and metrics (CWE-532, CWE-209): a token that
 * was refused is often a good one at the wrong place.
 */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { tenantKey } from '../support/authority.ts'
import { ids } from '../support/ids.ts'
import { exchange, rawRequest } from '../support/raw.ts'
import { ask, callerKey, type Reply, startService, verify } from '../support/service.ts'
import { impostorOf } from '../support/signing-keys.ts'
import { base64url, v1User, v2App, v2User } from '../support/tokens.ts'

const service = await startService({
  config: { callerKeyFile: '/run/caller-key' },
})
after(() => service.close())

const secretClaims = {
  name: 'Secret Name',
  upn: 'secret@contoso.example',
  ipaddr: '192.0.2.77',
  sid: 'secret-session',
}
const headers = (token: string, more: Record<string, string> = {}) => ({
  Authorization: `Bearer ${token}`,
  'X-Entra-Auth-Key': callerKey,
  ...more,
})

/** Nothing of the token may stand anywhere: no segment and no part of one. */
function assertSilent(texts: readonly string[], token: string): void {
  const pieces = token.split('.').flatMap((segment) => segment.match(/.{16}/g) ?? [])
  assert.ok(pieces.length > 0)
  for (const text of texts) {
    for (const piece of pieces) assert.ok(!text.includes(piece), `${piece} stands in ${text}`)
    for (const secret of [...Object.values(secretClaims), callerKey]) {
      assert.ok(!text.includes(secret), `${secret} stands in ${text}`)
    }
  }
}

function textsOf(reply: Reply): string[] {
  return [JSON.stringify(reply.headers), reply.body]
}

async function expectSilence(token: string, send: () => Promise<Reply>): Promise<Reply> {
  const before = service.log.length
  const reply = await send()
  const lines = service.log.slice(before)
  assert.equal(lines.length, 1, 'a refusal is one line of the log')
  assertSilent([...lines, ...textsOf(reply)], token)
  return reply
}

describe('a refused token', () => {
  const tokens: Record<string, string> = {
    expired: v2User({ ...secretClaims, exp: 1_700_000_000, iat: 1_600_000_000 }),
    forged: v2User(secretClaims, { key: impostorOf(tenantKey(ids.contoso)) }),
    'for another API': v2User({ ...secretClaims, aud: ids.otherApi }),
    'of another tenant': v2User(secretClaims, { tenant: ids.stranger }),
    'of an unknown key': v2User(secretClaims, { header: { kid: 'eyJraWQiOiJ1bmtub3duIn0' } }),
    'without the scope': v2User({ ...secretClaims, scp: 'Other' }),
    'without the role': v2App({ ...secretClaims, roles: [] }),
    'with a malformed claim': v1User({ ...secretClaims, roles: 'Admin' }),
    'that is no token': base64url(Buffer.alloc(600, 'opaque')),
    encrypted: Array.from({ length: 5 }, (_, i) => base64url(Buffer.alloc(60, `part ${i}`))).join(
      '.',
    ),
    'that is too long': base64url(Buffer.alloc(13_000, 'long')),
  }
  for (const [what, token] of Object.entries(tokens)) {
    it(`leaves no trace of itself in log, headers and body: ${what}`, async () => {
      const reply = await expectSilence(token, () => verify(service, 'default', headers(token)))
      assert.notEqual(reply.status, 200)
    })
  }
  it('leaves none where two are sent', async () => {
    const token = v2User(secretClaims)
    await expectSilence(token, () =>
      verify(service, 'default', {
        'X-Entra-Auth-Key': callerKey,
        Authorization: [`Bearer ${token}`, `Bearer ${token}`],
      }),
    )
  })
  it('leaves none where the caller key is wrong', async () => {
    const token = v2User(secretClaims)
    await expectSilence(token, () =>
      verify(service, 'default', headers(token, { 'X-Entra-Auth-Key': 'wrong-key-wrong-key' })),
    )
  })
  it('leaves none on an unknown policy', async () => {
    const token = v2User(secretClaims)
    await expectSilence(token, () => verify(service, 'nowhere', headers(token)))
  })
  for (const header of ['X-Request-Id', 'traceparent', 'Cookie', 'X-Forwarded-Access-Token']) {
    it(`leaves none where it stands in ${header}`, async () => {
      const token = v2User(secretClaims)
      await expectSilence(token, () =>
        verify(service, 'default', { 'X-Entra-Auth-Key': callerKey, [header]: token }),
      )
    })
  }
  it('leaves none where it stands in the query', async () => {
    const token = v2User(secretClaims)
    await expectSilence(token, () =>
      ask(service, `/verify/default?access_token=${token}`, {
        headers: { 'X-Entra-Auth-Key': callerKey },
      }),
    )
  })
  for (const header of ['X-Forwarded-Uri', 'X-Forwarded-Host', 'X-Forwarded-For', 'X-Request-Id']) {
    it(`leaves none if the token or its beginning is in ${header}`, async () => {
      const token = v2User(secretClaims)
      for (const text of [`/orders/${token}`, token.slice(0, 100), `a.${token}.example`]) {
        await expectSilence(token, () =>
          verify(service, 'default', { 'X-Entra-Auth-Key': callerKey, [header]: text }),
        )
      }
    })
  }
  it('leaves none where it stands in the query of X-Forwarded-Uri', async () => {
    const token = v2User(secretClaims)
    await expectSilence(token, () =>
      verify(service, 'default', {
        'X-Entra-Auth-Key': callerKey,
        'X-Forwarded-Uri': `/orders?access_token=${token}`,
      }),
    )
  })
})

describe('an admitted token', () => {
  it('leaves no line in the log, and nothing of itself in the reply', async () => {
    const before = service.log.length
    const { name, ...hidden } = secretClaims
    const token = v2User(hidden)
    const reply = await verify(service, 'default', headers(token))
    assert.equal(reply.status, 200)
    assert.deepEqual(service.log.slice(before), [])
    assertSilent(textsOf(reply), token)
    assert.ok(name)
  })
})

describe('a request that cannot be read', () => {
  for (const [what, bytes] of [
    [
      'a header that ends in NUL',
      (token: string) => rawRequest('/verify/default', [`Authorization: Bearer ${token}\0`]),
    ],
    ['a path that is the token', (token: string) => rawRequest(`/${token}`)],
    ['a policy that is the token', (token: string) => rawRequest(`/verify/${token}`)],
    ['a method that is the token', (token: string) => rawRequest('/').replace('GET', token)],
    [
      'headers that are too long',
      (token: string) =>
        rawRequest('/', [`Authorization: Bearer ${token}`, `X: ${'x'.repeat(40_000)}`]),
    ],
  ] as const) {
    it(`leaves no trace of a token: ${what}`, async () => {
      const token = v2User(secretClaims)
      const before = service.log.length
      const reply = await exchange(service, bytes(token))
      assert.match(reply, /^HTTP\/1\.1 4/)
      assertSilent([reply, ...service.log.slice(before)], token)
    })
  }
  it('leaves none of a body', async () => {
    const token = v2User(secretClaims)
    const before = service.log.length
    const reply = await ask(service, '/verify/default', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: token.slice(0, 900),
    })
    assertSilent([...textsOf(reply), ...service.log.slice(before)], token)
  })
})

describe('the log of a refusal', () => {
  it('has reason and policy, and ids only of a verified token', async () => {
    const before = service.log.length
    await verify(service, 'default', headers(v2User({ scp: 'Other' })))
    await verify(
      service,
      'default',
      headers(v2User({}, { key: impostorOf(tenantKey(ids.contoso)) })),
    )
    const [verified, forged] = service.log.slice(before).map((line) => JSON.parse(line))
    assert.deepEqual(
      [verified.reason, verified.policy, verified.tenant, verified.user, verified.client],
      ['scope_missing', 'default', ids.contoso, ids.user, ids.client],
    )
    assert.deepEqual(
      [forged.reason, forged.policy, forged.tenant, forged.user, forged.client],
      ['signature_invalid', 'default', undefined, undefined, undefined],
    )
  })
})

describe('a refusal', () => {
  it('names no configured value', async () => {
    const reply = await verify(service, 'default', headers(v2User({ aud: ids.otherApi })))
    const text = [JSON.stringify(reply.headers), reply.body].join()
    for (const value of [
      ids.api,
      ids.contoso,
      ids.fabrikam,
      service.authority.url,
      'Orders.Process',
    ]) {
      assert.ok(!text.includes(value), `${value} stands in the refusal`)
    }
  })
})
