import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { type Fault, startAuthority, tenantKey } from '../support/authority.ts'
import { eventually } from '../support/eventually.ts'
import {
  assertAllowed,
  assertInvalidToken,
  assertRefused,
  assertUnavailable,
} from '../support/expect.ts'
import { ids } from '../support/ids.ts'
import {
  ask,
  fixtureConfig,
  type Service,
  type ServiceOptions,
  startService,
  verify,
} from '../support/service.ts'
import { impostorOf, jwkOf, type SigningKey, signingKey } from '../support/signing-keys.ts'
import { v1User, v2User } from '../support/tokens.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const next = signingKey('next key')

async function start(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  const service = await startService(options)
  t.after(() => service.close())
  return service
}

/** A token that was never sent before, so that no verdict is cached. */
let count = 0
const fresh = (key?: SigningKey) => v2User({ uti: `token ${++count}` }, key ? { key } : {})
const admission = (service: Service, token: string) => verify(service, 'default', token)

function freshlyIssued({ time }: Service): string {
  const now = time.nowMs / 1000
  return v2User({ iat: now, nbf: now, exp: now + 3600, uti: `token ${++count}` })
}

describe('an unknown kid', () => {
  it('is looked up, and admitted when its key has appeared', async (t) => {
    const service = await start(t)
    service.authority.contoso.v2.keys.push(jwkOf(next))
    assertAllowed(await admission(service, fresh(next)))
  })
  it('is refused when its key has not appeared', async (t) => {
    const service = await start(t)
    const before = service.authority.keyFetches()
    assertInvalidToken(await admission(service, fresh(next)), 'key_unknown')
    assert.equal(service.authority.keyFetches(), before + 1)
  })
  it('is refused within the cooldown without a fetch, even if its key has appeared', async (t) => {
    const service = await start(t)
    await admission(service, fresh(signingKey('never published')))
    service.authority.contoso.v2.keys.push(jwkOf(next))
    const before = service.authority.requests.length
    service.time.jump(5 * minuteMs - 1)
    assertInvalidToken(await admission(service, fresh(next)), 'key_unknown')
    assert.equal(service.authority.requests.length, before)
  })
  it('is looked up again after the cooldown of five minutes', async (t) => {
    const service = await start(t)
    await admission(service, fresh(signingKey('never published')))
    service.authority.contoso.v2.keys.push(jwkOf(next))
    service.time.jump(5 * minuteMs)
    assertAllowed(await admission(service, fresh(next)))
  })
  it('does not use up the cooldown of another version or tenant', async (t) => {
    const service = await start(t)
    await admission(service, fresh(signingKey('never published')))
    service.authority.contoso.v1?.keys.push(jwkOf(next))
    assertAllowed(await verify(service, 'default', v1User({}, { key: next })))
  })
  it('is admitted by itself at the next refresh', async (t) => {
    const service = await start(t)
    await admission(service, fresh(signingKey('never published')))
    service.authority.contoso.v2.keys.push(jwkOf(next))
    await service.time.advance(10 * minuteMs)
    const before = service.authority.requests.length
    assertAllowed(await admission(service, fresh(next)))
    assert.equal(service.authority.requests.length, before)
  })
  it('answers 503 where the key address cannot be read', async (t) => {
    const service = await start(t)
    service.authority.contoso.v2.keysFault = 'error'
    assertUnavailable(await admission(service, fresh(next)))
    assertAllowed(await admission(service, fresh()))
  })
})

describe('a key that must not be used', () => {
  const cases: [string, SigningKey, Record<string, unknown>][] = [
    ['is for encryption', signingKey('encryption'), { use: 'enc' }],
    ['has a use that is unknown', signingKey('odd use'), { use: 'SIG' }],
    ['is shorter than 2048 bits', signingKey('1024 bits', 1024), {}],
    ['is one bit shorter than 2048 bits', signingKey('2047 bits', 2047), {}],
    ['is for RS512', signingKey('rs512'), { alg: 'RS512' }],
    ['is for PS256', signingKey('ps256'), { alg: 'PS256' }],
    ['may only sign', signingKey('ops'), { key_ops: ['sign'] }],
    ['has key_ops that are no list', signingKey('ops text'), { key_ops: 'verify' }],
    ['is of another type', signingKey('type'), { kty: 'EC' }],
    ['has a modulus that is no text', signingKey('modulus'), { n: 1 }],
  ]
  for (const [name, key, members] of cases) {
    it(`refuses a token whose key ${name}`, async (t) => {
      const authority = await startAuthority()
      authority.contoso.v2.keys.push(jwkOf(key, members))
      const service = await start(t, { authority })
      assertInvalidToken(await admission(service, fresh(key)), 'key_unusable')
      assertAllowed(await admission(service, fresh()))
    })
  }
  for (const [name, key, members] of cases.slice(0, 3)) {
    it(`is refused also where it is looked up because it is unknown: ${name}`, async (t) => {
      const service = await start(t)
      service.authority.contoso.v2.keys.push(jwkOf(key, members))
      const reply = await admission(service, fresh(key))
      assertInvalidToken(reply, 'key_unusable')
    })
  }
  it('admits a key that says verify and RS256', async (t) => {
    const authority = await startAuthority()
    authority.contoso.v2.keys.push(jwkOf(next, { alg: 'RS256', key_ops: ['verify'] }))
    assertAllowed(await admission(await start(t, { authority }), fresh(next)))
  })
  it('is one of two different keys of one id, wherever they are read', async (t) => {
    const authority = await startAuthority()
    authority.contoso.v2.keys.push(jwkOf(next), jwkOf(impostorOf(next)))
    const service = await start(t, { authority })
    assertInvalidToken(await admission(service, fresh(next)), 'key_unusable')
    assertInvalidToken(await admission(service, fresh(impostorOf(next))), 'key_unusable')
  })
  it('is one of two different keys of one id that appear while the service runs', async (t) => {
    const service = await start(t)
    service.authority.contoso.v2.keys.push(jwkOf(next), jwkOf(impostorOf(next)))
    assertInvalidToken(await admission(service, fresh(next)), 'key_unusable')
  })
  it('is not one that stands twice and is the same', async (t) => {
    const authority = await startAuthority()
    authority.contoso.v2.keys.push(jwkOf(next), jwkOf(next))
    assertAllowed(await admission(await start(t, { authority }), fresh(next)))
  })
})

describe('a key that its authority no longer publishes', () => {
  const rollOver = (service: Service) => {
    service.authority.contoso.v2.keys = [jwkOf(next)]
  }
  it('counts until it was absent for an hour', async (t) => {
    const service = await start(t)
    const token = v2User({ exp: service.time.nowMs / 1000 + 4 * 3600 })
    rollOver(service)
    await service.time.advance(50 * minuteMs)
    assertAllowed(await admission(service, token))
    await service.time.advance(10 * minuteMs)
    assertInvalidToken(await admission(service, token), 'key_withdrawn')
  })
  it('is not asked about again', async (t) => {
    const service = await start(t)
    rollOver(service)
    await service.time.advance(hourMs)
    const before = service.authority.requests.length
    assertInvalidToken(await admission(service, fresh()), 'key_withdrawn')
    assert.equal(service.authority.requests.length, before)
  })
  it('stays while replies differ from one request to the next', async (t) => {
    const service = await start(t)
    const old = service.authority.contoso.v2.keys
    for (let i = 0; i < 12; i++) {
      service.authority.contoso.v2.keys = i % 2 ? [jwkOf(next)] : [...old]
      await service.time.advance(10 * minuteMs)
    }
    const exp = service.time.nowMs / 1000 + 60
    assertAllowed(await admission(service, v2User({ exp })))
    assertAllowed(await admission(service, v2User({ exp }, { key: next })))
  })
  it('counts again when it is published again', async (t) => {
    const service = await start(t)
    const old = service.authority.contoso.v2.keys
    rollOver(service)
    await service.time.advance(hourMs)
    service.authority.contoso.v2.keys = [...old, jwkOf(next)]
    await service.time.advance(10 * minuteMs)
    assertAllowed(await admission(service, fresh()))
  })
  it('is replaced by another key of the same id, and what it signed ends', async (t) => {
    const service = await start(t)
    const token = fresh()
    assertAllowed(await admission(service, token))
    const impostor = impostorOf(tenantKey(ids.contoso))
    service.authority.contoso.v2.keys = [jwkOf(impostor)]
    await service.time.advance(10 * minuteMs)
    assertInvalidToken(await admission(service, token), 'signature_invalid')
    assertInvalidToken(await admission(service, fresh()), 'signature_invalid')
    assertAllowed(await admission(service, fresh(impostor)))
  })
})

describe('a cached verdict whose key changed', () => {
  for (const [what, bad] of [
    ['another key under the same id', jwkOf(impostorOf(tenantKey(ids.contoso)))],
    ['the key in a form that is not used', jwkOf(tenantKey(ids.contoso), { use: 'enc' })],
    ['the key of another issuer', jwkOf(tenantKey(ids.contoso), { issuer: 'https://x.example' })],
  ] as const) {
    it(`is judged anew after one reply with ${what} and then the right one`, async (t) => {
      const service = await start(t)
      const { v2 } = service.authority.contoso
      const right = [...v2.keys]
      const times = { exp: service.time.nowMs / 1000 + 7200 }
      const [cached, during] = [v2User(times), v2User({ ...times, uti: 'seen with the bad key' })]
      assertAllowed(await admission(service, cached))
      v2.keys = [bad, jwkOf(next)]
      await service.time.advance(10 * minuteMs)
      assert.equal((await admission(service, during)).status, 401)
      v2.keys = right
      await service.time.advance(10 * minuteMs)
      assertAllowed(await admission(service, cached))
      assertAllowed(await admission(service, during))
    })
  }
  it('counts on where its tenant has another name', async (t) => {
    const service = await start(t)
    const tenants = { fabrikam: { id: ids.fabrikam, authority: service.authority.url } }
    const contoso = { id: ids.contoso, authority: service.authority.url }
    const token = fresh()
    assertAllowed(await admission(service, token))
    const before = service.authority.requests.length
    await service.reload(
      fixtureConfig(service.authority.url, {
        config: { tenants: { ...tenants, renamed: contoso } },
        policy: { tenants: ['renamed'] },
      }),
    )
    assertAllowed(await admission(service, token))
    assertAllowed(await admission(service, fresh()))
    assert.equal(service.authority.requests.length, before)
  })
})

describe('a clock that jumps', () => {
  it('ahead by 25 h, as of a suspended machine, means 503 and a refresh at once', async (t) => {
    const service = await start(t)
    assertAllowed(await admission(service, fresh()))
    service.time.jump(25 * hourMs)
    const reply = await admission(service, freshlyIssued(service))
    assertRefused(reply, 503, undefined, 'key_unconfirmed')
    // No timer has run; the request itself asked.
    const again = () => admission(service, freshlyIssued(service))
    await eventually(again, ({ status }) => status === 200)
    assert.equal((await ask(service, '/readyz')).status, 200)
  })
  it('ahead by 25 h makes readiness red, which asks as well', async (t) => {
    const service = await start(t)
    service.time.jump(25 * hourMs)
    assert.equal((await ask(service, '/readyz')).status, 503)
    const ready = () => ask(service, '/readyz')
    await eventually(ready, ({ status }) => status === 200)
  })
  it('ahead by 25 h while no authority answers asks at most twice a minute', async (t) => {
    const service = await start(t)
    service.authority.contoso.v2.keysFault = 'error'
    service.time.jump(25 * hourMs)
    const token = freshlyIssued(service)
    const { requests } = service.authority
    const before = requests.length
    await admission(service, token)
    // Metadata, since they are a day old, and keys.
    await eventually(
      () => requests.length,
      (count) => count === before + 2,
    )
    for (let i = 0; i < 20; i++) {
      assertRefused(await admission(service, token), 503, undefined, 'key_unconfirmed')
    }
    assert.equal(requests.length, before + 2)
  })
  it('back by 8 h does not prolong the life of a withdrawn key', async (t) => {
    const service = await start(t)
    const { time, authority, app } = service
    const keys = app.authorities.get(ids.contoso)?.issuerKeys('2.0')
    time.jump(8 * hourMs)
    await keys?.refresh()
    time.jump(-8 * hourMs)
    authority.contoso.v2.keys = [jwkOf(next)]
    const token = v2User({ exp: time.nowMs / 1000 + 6 * 3600 })
    for (let minutes = 0; minutes < 60; minutes += 10) {
      assertAllowed(await admission(service, token))
      time.jump(10 * minuteMs)
      await keys?.refresh()
    }
    assertInvalidToken(await admission(service, token), 'key_withdrawn')
  })
})

describe('readiness', () => {
  it('stays green while a tenant that was added does not answer', async (t) => {
    const authority = await startAuthority()
    const contoso = { id: ids.contoso, authority: authority.url }
    const service = await start(t, { authority, config: { tenants: { contoso } } })
    assert.equal((await ask(service, '/readyz')).status, 200)
    const side = await startAuthority()
    t.after(() => side.close())
    let open = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const added = side.tenants.get(ids.fabrikam)
    for (const endpoint of [added?.v1, added?.v2]) if (endpoint) endpoint.gate = gate
    const tenants = { contoso, added: { id: ids.fabrikam, authority: side.url } }
    const reloaded = service.reload(fixtureConfig(authority.url, { config: { tenants } }))
    const state = () => ask(service, '/readyz')
    await eventually(state, ({ body }) => body.includes('"added"'))
    assert.equal((await state()).status, 200)
    assertAllowed(await admission(service, fresh()))
    open()
    await reloaded
  })
})

describe('a key address that fails', () => {
  const faults: Fault[] = [
    'error',
    'not found',
    'html',
    'redirect',
    'no keys',
    'not a set',
    'null',
    'huge',
    'half',
    'hang',
    'drip',
    'endless',
    'zip bomb',
  ]
  for (const fault of faults) {
    it(`leaves known keys in force: ${fault}`, async (t) => {
      const service = await start(t, { limits: { deadlineMs: 2_000 } })
      service.authority.contoso.v2.keysFault = fault
      await service.time.advance(10 * minuteMs)
      assertAllowed(await admission(service, fresh()))
      assert.equal(
        service.app.authorities.get(ids.contoso)?.issuerKeys('2.0').state().state,
        'failing',
      )
    })
    it(`answers 503 at a cold start, and 200 by itself once it is back: ${fault}`, async (t) => {
      const authority = await startAuthority()
      authority.contoso.v2.keysFault = fault
      const service = await start(t, { authority, limits: { deadlineMs: 2_000 } })
      assertUnavailable(await admission(service, fresh()))
      authority.contoso.v2.keysFault = undefined
      await service.time.advance(500)
      assertAllowed(await admission(service, fresh()))
    })
  }
  for (const fault of ['error', 'html', 'hang', 'redirect', 'null'] as const) {
    it(`answers 503 at a cold start with broken metadata: ${fault}`, async (t) => {
      const authority = await startAuthority()
      authority.contoso.v2.metadataFault = fault
      const service = await start(t, { authority, limits: { deadlineMs: 2_000 } })
      assertUnavailable(await admission(service, fresh()))
      authority.contoso.v2.metadataFault = undefined
      await service.time.advance(500)
      assertAllowed(await admission(service, fresh()))
    })
  }
  it('tolerates an entry that is null among good keys', async (t) => {
    const authority = await startAuthority()
    authority.contoso.v2.keysFault = 'null among the keys'
    assertAllowed(await admission(await start(t, { authority }), fresh()))
  })
  it('does not affect the other version or another tenant', async (t) => {
    const authority = await startAuthority()
    authority.contoso.v2.keysFault = 'error'
    const service = await start(t, { authority, policy: { tenants: ['contoso', 'fabrikam'] } })
    assertUnavailable(await admission(service, fresh()))
    assertAllowed(await admission(service, v1User()))
    assertAllowed(await admission(service, v2User({}, { tenant: ids.fabrikam })))
  })
  it('answers 503 before it was ever asked', async (t) => {
    const service = await start(t, { unstarted: true })
    assertUnavailable(await admission(service, fresh()))
    assert.equal(service.authority.requests.length, 0)
  })
  it('ends the use of its keys after a day', async (t) => {
    const service = await start(t)
    const token = v2User({ exp: service.time.nowMs / 1000 + 86_600 })
    service.authority.contoso.v2.keysFault = 'error'
    assertAllowed(await admission(service, token))
    service.time.jump(24 * hourMs - 1)
    assertAllowed(await admission(service, token))
    service.time.jump(1)
    assertRefused(await admission(service, token), 503, undefined, 'key_unconfirmed')
    const late = await admission(service, freshlyIssued(service))
    assertRefused(late, 503, undefined, 'key_unconfirmed')
    service.authority.contoso.v2.keysFault = undefined
    await service.time.advance(30_000)
    assertAllowed(await admission(service, freshlyIssued(service)))
  })
})

describe('readiness', () => {
  it('is reached with the keys of one authority, when each other was tried', async (t) => {
    const authority = await startAuthority()
    for (const id of [ids.contoso, ids.fabrikam]) {
      const tenant = authority.tenants.get(id)
      if (tenant?.v1) tenant.v1.keysFault = 'error'
      if (tenant) tenant.v2.keysFault = 'error'
    }
    const service = await start(t, { authority })
    assert.equal((await ask(service, '/readyz')).status, 503)
    authority.contoso.v2.keysFault = undefined
    await service.time.advance(500)
    assert.equal((await ask(service, '/readyz')).status, 200)
  })
})

describe('an API with custom signing keys', () => {
  const appKey = signingKey('key of the mapped API')
  const mapped = (appId: string | undefined, url: string) => ({
    contoso: { id: ids.contoso, authority: url, ...(appId && { appId }) },
  })
  for (const [configured, appId] of [
    ['configured', ids.api],
    ['not configured', undefined],
  ] as const) {
    it(`has its tokens ${appId ? 'admitted' : 'refused'} where its id is ${configured}`, async (t) => {
      const authority = await startAuthority()
      authority.contoso.appKeys.set(ids.api, [jwkOf(appKey)])
      const service = await start(t, {
        authority,
        config: { tenants: mapped(appId, authority.url) },
      })
      const reply = await admission(service, fresh(appKey))
      if (appId) assertAllowed(reply)
      else assertInvalidToken(reply, 'key_unknown')
    })
  }
})
