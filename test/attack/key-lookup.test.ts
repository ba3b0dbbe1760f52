/**
 * Class of advisory: server-side request forgery through `iss`, `jku` or `x5u` (CWE-918), and denial
 * of service through the key look-up: a fetch for each unknown `kid`, an endless reply, a redirect to
 * somewhere else, good keys dropped during an outage (CWE-400, CWE-601).
 */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, describe, it, type TestContext } from 'node:test'
import { type Fault, startAuthority, tenantKey } from '../support/authority.ts'
import { assertAllowed, assertInvalidToken, assertUnavailable } from '../support/expect.ts'
import { ids } from '../support/ids.ts'
import { type Service, type ServiceOptions, startService, verify } from '../support/service.ts'
import { impostorOf, jwkOf, signingKey } from '../support/signing-keys.ts'
import { v1User, v2User } from '../support/tokens.ts'

async function start(t: TestContext, options: ServiceOptions = {}): Promise<Service> {
  const service = await startService(options)
  t.after(() => service.close())
  return service
}

describe('a thousand unknown kids', () => {
  const flood = (service: Service, concurrency: number) =>
    Promise.all(
      Array.from({ length: concurrency }, async (_, worker) => {
        for (let i = worker; i < 1_000; i += concurrency) {
          const [, payload, signature] = v2User().split('.')
          const header = { typ: 'JWT', alg: 'RS256', kid: `unknown ${i}` }
          const token = [
            Buffer.from(JSON.stringify(header)).toString('base64url'),
            payload,
            signature,
          ]
          assertInvalidToken(await verify(service, 'default', token.join('.')), 'key_unknown')
        }
      }),
    )
  it('cause one fetch at most, and good keys stay', async (t) => {
    const service = await start(t)
    const before = service.authority.requests.length
    await flood(service, 50)
    assert.equal(service.authority.requests.length, before + 1)
    assertAllowed(await verify(service, 'default', v2User()))
  })
  it('cause one fetch at most while the answer is still out', async (t) => {
    const service = await start(t)
    let release = () => {}
    service.authority.contoso.v2.gate = new Promise((resolve) => {
      release = resolve
    })
    const before = service.authority.requests.length
    const waiting = flood(service, 50)
    assertAllowed(await verify(service, 'default', v2User()))
    release()
    await waiting
    assert.equal(service.authority.requests.length, before + 1)
  })
  it('do not keep a rolled-over key out for longer than the next refresh', async (t) => {
    const service = await start(t)
    await flood(service, 50)
    const next = signingKey('next')
    service.authority.contoso.v2.keys.push(jwkOf(next))
    await service.time.advance(600_000)
    assertAllowed(await verify(service, 'default', v2User({}, { key: next })))
  })
  it('cause no log line of a size that they choose', async (t) => {
    const service = await start(t)
    const kid = 'k'.repeat(200)
    await verify(service, 'default', v2User({}, { header: { kid } }))
    assert.ok(service.log.every((line) => !line.includes(kid)))
  })
})

describe('an address in a token', async () => {
  const visits: string[] = []
  const trap = createServer((request, response) => {
    visits.push(request.url ?? '')
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ keys: [jwkOf(impostorOf(tenantKey(ids.contoso)))] }))
  })
  await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(trap.address() as AddressInfo).port}`
  const service = await startService()
  after(async () => {
    await service.close()
    trap.closeAllConnections()
    trap.close()
  })
  const key = impostorOf(tenantKey(ids.contoso))
  const attempts: Record<string, string> = {
    iss: v2User({ iss: `${url}/${ids.contoso}/v2.0` }, { key }),
    'iss of v1.0': v1User({ iss: `${url}/${ids.contoso}/` }, { key }),
    'iss with the genuine host as user name': v2User({
      iss: `https://login.microsoftonline.com@${url.slice(7)}/${ids.contoso}/v2.0`,
    }),
    jku: v2User({}, { key, header: { jku: `${url}/keys` } }),
    x5u: v2User({}, { key, header: { x5u: `${url}/cert` } }),
    kid: v2User({}, { key, header: { kid: `${url}/keys` } }),
    tid: v2User({ tid: `../../${url}` }, { key }),
    _claim_sources: v2User({
      _claim_names: { groups: 'src1' },
      _claim_sources: { src1: { endpoint: `${url}/groups` } },
    }),
    'cnf jku': v2User({ cnf: { jku: `${url}/keys` } }, { key }),
    aud: v2User({ aud: url }),
  }
  for (const [member, token] of Object.entries(attempts)) {
    it(`is never visited: ${member}`, async () => {
      const before = service.authority.requests.filter((path) => !path.includes('/keys')).length
      await verify(service, 'default', token)
      assert.deepEqual(visits, [])
      const now = service.authority.requests.filter((path) => !path.includes('/keys')).length
      assert.equal(now, before)
    })
  }
  it('in X-Forwarded-Host is never visited', async () => {
    await verify(service, 'default', { 'X-Forwarded-Host': url.slice(7), Host: url.slice(7) })
    assert.deepEqual(visits, [])
  })
})

describe('metadata that lead astray', () => {
  for (const [name, metadata] of [
    ['another issuer', { issuer: `https://login.microsoftonline.com/${ids.stranger}/v2.0` }],
    ['the issuer of all tenants', { issuer: 'https://login.microsoftonline.com/{tenantid}/v2.0' }],
    ['no issuer', { issuer: undefined }],
    ['an issuer that only ends like ours', { issuer: `https://evil.test/x${ids.contoso}/v2.0` }],
    ['no key address', { jwks_uri: undefined }],
    ['a key address in a list', { jwks_uri: ['http://127.0.0.1/keys'] }],
    ['a key address on another host', { jwks_uri: 'http://127.0.0.2:1/keys' }],
    ['a key address on another port', { jwks_uri: 'http://127.0.0.1:1/keys' }],
    ['a key address over another protocol', { jwks_uri: 'https://127.0.0.1/keys' }],
    ['a key address that is a file', { jwks_uri: 'file:///etc/passwd' }],
    ['a key address that is data', { jwks_uri: 'data:application/json,{"keys":[]}' }],
    ['a key address that is no URL', { jwks_uri: '/keys' }],
  ] as const) {
    it(`are not followed: ${name}`, async (t) => {
      const authority = await startAuthority()
      authority.contoso.v2.metadata = { ...metadata }
      const service = await start(t, { authority })
      assert.equal(
        authority.requests.filter((path) => path.includes(`${ids.contoso}/discovery/v2.0`)).length,
        0,
      )
      assertUnavailable(await verify(service, 'default', v2User()))
    })
  }
  it('with credentials in the key address are not followed', async (t) => {
    const authority = await startAuthority()
    const { host } = new URL(authority.url)
    authority.contoso.v2.metadata = {
      jwks_uri: `http://user:secret@${host}/${ids.contoso}/discovery/v2.0/keys`,
    }
    assertUnavailable(await verify(await start(t, { authority }), 'default', v2User()))
  })
})

describe('a key address that answers badly', () => {
  for (const fault of [
    'redirect',
    'huge',
    'endless',
    'zip bomb',
    'drip',
    'hang',
  ] satisfies Fault[]) {
    it(`costs no verdict of a known key, whoever waits for an unknown one: ${fault}`, async (t) => {
      const service = await start(t, { limits: { deadlineMs: 1_500 } })
      service.authority.contoso.v2.keysFault = fault
      const unknown = verify(service, 'default', v2User({}, { key: signingKey('unknown') }))
      assertAllowed(await verify(service, 'default', v2User()))
      assertUnavailable(await unknown)
    })
  }
  it('by a redirect is not followed', async (t) => {
    const service = await start(t)
    service.authority.contoso.v2.keysFault = 'redirect'
    service.authority.contoso.v2.metadataFault = 'redirect'
    await service.time.advance(24 * 3_600_000)
    const followed = service.authority.requests.filter((path) => path.startsWith('/redirected'))
    assert.deepEqual(followed, [])
  })
  it('is not asked in a hurry: pauses double from half a second to half a minute', async (t) => {
    const authority = await startAuthority({ tenants: [ids.contoso] })
    authority.contoso.v2.keysFault = 'error'
    const config = { tenants: { contoso: { id: ids.contoso, authority: authority.url } } }
    const service = await start(t, { authority, config })
    const pauses: number[] = []
    for (let i = 0; i < 9; i++) {
      const [pause = 0] = service.time.delays()
      pauses.push(pause)
      await service.time.advance(pause)
    }
    assert.deepEqual(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
  })
})
