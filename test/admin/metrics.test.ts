import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, describe, it } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { refreshIntervalMs } from '../../src/keys/issuer-keys.ts'
import { createRevocationStore } from '../../src/revocation/revocation-store.ts'
import { eventually } from '../support/eventually.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { exchange, rawRequest } from '../support/raw.ts'
import {
  ask,
  fixtureConfig,
  grants,
  type Service,
  startService,
  verify,
} from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const policies = {
  default: { audiences: [ids.api, appIdUri], allow: [grants.user] },
  introduced: {
    audiences: [ids.api],
    allow: [{ actor: 'user', scopes: ['Other'] }],
    reportOnlyUntil: '2999-01-01',
  },
}
const service = await startService({ config: { policies } })
after(() => service.close())

/** The value of a metric with exactly these labels; undefined where there is none. */
async function read(
  name: string,
  labels: Readonly<Record<string, string>> = {},
  { app }: Pick<Service, 'app'> = service,
) {
  const { body } = await app.metrics.inject('/metrics')
  const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`)
  for (const line of body.split('\n')) {
    const [, metric, all = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    const found = all === '' ? [] : all.split(',')
    if (metric === name && found.toSorted().join() === wanted.toSorted().join())
      return Number(value)
  }
  return undefined
}

const verdicts = (policy: string, verdict: string, reason = '') =>
  read('entra_auth_verdicts_total', { policy, verdict, reason })

/** How many verdicts were counted, of whatever kind. */
async function total(): Promise<number> {
  const { body } = await service.app.metrics.inject('/metrics')
  const counts = body.matchAll(/^entra_auth_verdicts_total\{.*\} (\d+)$/gm)
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0)
}

describe('the metrics of a service that was asked nothing yet', () => {
  it('have a series of 0 for each verdict that an alert or a panel asks for', async (t) => {
    const own = await startService({ config: { policies } })
    t.after(() => own.close())
    const count = (policy: string, verdict: string, reason = '') =>
      read('entra_auth_verdicts_total', { policy, verdict, reason }, own)
    for (const policy of ['default', 'introduced']) {
      assert.equal(await count(policy, 'allow'), 0)
      for (const reason of ['no_credentials', 'token_expired', 'scope_missing'])
        assert.equal(await count(policy, 'deny', reason), 0, reason)
      for (const reason of ['keys_unavailable', 'key_unconfirmed'])
        assert.equal(await count(policy, 'unavailable', reason), 0, reason)
    }
    assert.equal(await count('', 'deny', 'unknown_policy'), 0)
    assert.equal(await count('', 'deny', 'caller_not_allowed'), 0)
    assert.equal(await count('', 'unavailable', 'overloaded'), 0)
    for (const reason of ['malformed_request', 'not_found', 'method_not_allowed'])
      assert.equal(await count('', 'deny', reason), 0, reason)
    assert.equal(await count('', 'unavailable', 'internal_error'), 0)
    for (const outcome of ['applied', 'refused']) {
      assert.equal(await read('entra_auth_config_reloads_total', { outcome }, own), 0)
    }
  })

  it('keep the series of alerts where policies are many, and leave out the others', async (t) => {
    const names = Array.from({ length: 200 }, (_, index) => `policy-${index}`)
    const own = await startService({
      config: { policies: Object.fromEntries(names.map((name) => [name, policies.default])) },
    })
    t.after(() => own.close())
    const count = (verdict: string, reason: string) =>
      read('entra_auth_verdicts_total', { policy: 'policy-199', verdict, reason }, own)
    assert.equal(await count('allow', ''), 0)
    assert.equal(await count('unavailable', 'keys_unavailable'), 0)
    assert.equal(await count('deny', 'token_expired'), undefined)
    await verify(own, 'policy-199', {})
    assert.equal(await count('deny', 'no_credentials'), 1)
  })
})

describe('the metrics', () => {
  it('count each verdict by policy and reason', async () => {
    await verify(service, 'default', v2User({ uti: 'counted' }))
    await verify(service, 'default', v2User({ uti: 'counted' }))
    await verify(service, 'default', v2User({ scp: 'Other' }))
    await verify(service, 'default', {})
    assert.equal(await verdicts('default', 'allow'), 2)
    assert.equal(await verdicts('default', 'deny', 'scope_missing'), 1)
    assert.equal(await verdicts('default', 'deny', 'no_credentials'), 1)
  })

  it('tell what is only reported from what is refused', async () => {
    await verify(service, 'introduced', v2User())
    assert.equal(await verdicts('introduced', 'report', 'scope_missing'), 1)
  })

  it('have no label of a name that a client made up', async () => {
    await verify(service, 'made-up-by-a-client', v2User())
    assert.equal(await verdicts('', 'deny', 'unknown_policy'), 1)
    const { body } = await service.app.metrics.inject('/metrics')
    assert.doesNotMatch(body, /made-up/)
  })

  it('count look-ups in the token cache, and what it holds', async () => {
    const before = await read('entra_auth_token_cache_lookups_total', { result: 'hit' })
    const held = (await read('entra_auth_token_cache_entries')) ?? 0
    for (let i = 0; i < 3; i++) await verify(service, 'default', v2User({ uti: 'looked up' }))
    const hits = await read('entra_auth_token_cache_lookups_total', { result: 'hit' })
    assert.equal((hits ?? 0) - (before ?? 0), 2)
    assert.equal(await read('entra_auth_token_cache_entries'), held + 1)
  })

  it('time a signature once for each token, however often it is sent', async () => {
    const before = (await read('entra_auth_signature_seconds_count')) ?? 0
    for (let i = 0; i < 3; i++) await verify(service, 'default', v2User({ uti: 'timed' }))
    assert.equal(await read('entra_auth_signature_seconds_count'), before + 1)
    const sum = (await read('entra_auth_signature_seconds_sum')) ?? 0
    assert.ok(sum > 0 && sum < 60, `${sum} s`)
  })

  it('count the readings of key sets by outcome, each outcome from the first on', async (t) => {
    const own = await startService({ config: { policies } })
    t.after(() => own.close())
    const count = (outcome: string) =>
      read('entra_auth_key_refreshes_total', { tenant: 'contoso', version: '2.0', outcome }, own)
    const counts = async () => [
      await count('applied'),
      await count('failed'),
      await count('absent'),
    ]
    assert.deepEqual(await counts(), [1, 0, 0])
    own.authority.contoso.v2.keysFault = 'error'
    await own.time.advance(refreshIntervalMs)
    await eventually(counts, (all) => isDeepStrictEqual(all, [1, 1, 0]))
  })

  it('have no end of a certificate where there is none', async () => {
    assert.equal(await read('entra_auth_tls_certificate_expiration_timestamp_seconds'), undefined)
  })

  it('have number and age of the keys of each tenant', async () => {
    service.time.jump(90_000)
    assert.equal(await read('entra_auth_keys', { tenant: 'contoso', version: '2.0' }), 1)
    const age = await read('entra_auth_keys_age_seconds', { tenant: 'contoso', version: '2.0' })
    assert.equal(age, 90)
  })

  it('count reloads by outcome', async () => {
    await service.reload(fixtureConfig(service.authority.url, { config: { policies } }))
    service.app.countRefusedReload()
    assert.equal(await read('entra_auth_config_reloads_total', { outcome: 'applied' }), 1)
    assert.equal(await read('entra_auth_config_reloads_total', { outcome: 'refused' }), 1)
  })

  it('tell what runs, and when a policy begins to refuse', async () => {
    const { body } = await service.app.metrics.inject('/metrics')
    assert.match(body, /^entra_auth_build_info\{version="",config_version="[\w-]{16}"\} 1$/m)
    const until = 'entra_auth_report_only_until_timestamp_seconds'
    assert.equal(await read(until, { policy: 'introduced' }), Date.parse('2999-01-01') / 1000)
    assert.equal(await read(until, { policy: 'default' }), undefined)
  })

  it('have a series for each policy before the first request', async (t) => {
    const own = await startService({ config: { policies } })
    t.after(() => own.close())
    for (const policy of Object.keys(policies)) {
      const labels = { policy, verdict: 'allow', reason: '' }
      assert.equal(await read('entra_auth_verdicts_total', labels, own), 0)
    }
  })

  it('time each answer of /verify, an allow, a refusal and an unknown policy', async () => {
    const name = 'entra_auth_verify_seconds'
    const before = (await read(`${name}_count`)) ?? 0
    await verify(service, 'default', v2User({ uti: 'answered' }))
    await verify(service, 'default', {})
    await verify(service, 'nothing', {})
    assert.equal(await read(`${name}_count`), before + 3)
    assert.equal(await read(`${name}_bucket`, { le: '+Inf' }), before + 3)
    const sum = (await read(`${name}_sum`)) ?? 0
    assert.ok(sum > 0 && sum < 60, `${sum} s`)
  })

  it('stand in their page, and no others do', async () => {
    const { body } = await service.app.metrics.inject('/metrics')
    const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8')
    const named = [...page.matchAll(/^\| `(entra_auth_\w+)`/gm)].map(([, name]) => name)
    const there = [...body.matchAll(/^# TYPE (entra_auth_\w+)/gm)].map(([, name]) => name)
    assert.deepEqual(named.toSorted(), there.toSorted())
  })

  it('share their listener with health only', async () => {
    assert.equal((await service.app.metrics.inject('/readyz')).statusCode, 200)
    assert.equal((await service.app.metrics.inject('/livez')).statusCode, 200)
    assert.equal((await service.app.metrics.inject('/revocations')).statusCode, 404)
    assert.equal((await service.app.metrics.inject('/verify')).statusCode, 404)
  })
})

describe('an answer of the verify listener that no policy gave', () => {
  const target = '/verify/default'
  const token = `Authorization: Bearer ${v2User({ uti: 'unread' })}`
  for (const [what, bytes, reason] of [
    ['a path below no policy', rawRequest('/verify/default/more', [token]), 'not_found'],
    ['a path beside it', rawRequest('/verifying', [token]), 'not_found'],
    ['another method', rawRequest(target).replace('GET', 'POST'), 'method_not_allowed'],
    [
      'another method with a body that is too long',
      `${rawRequest(target, ['Content-Length: 2000']).replace('GET', 'POST')}${'a'.repeat(2_000)}`,
      'method_not_allowed',
    ],
    ['a path that cannot be decoded', rawRequest('/verify/%zz'), 'malformed_request'],
    ['a name that is too long', rawRequest(`/verify/${'a'.repeat(300)}`), 'malformed_request'],
    [
      'headers that are too long',
      rawRequest(target, [`X: ${'a'.repeat(40_000)}`]),
      'malformed_request',
    ],
    [
      'too many headers',
      rawRequest(
        target,
        Array.from({ length: 1_001 }, (_, i) => `X-${i}: ${i}`),
      ),
      'malformed_request',
    ],
    ['no HTTP', 'nonsense\r\n\r\n', 'malformed_request'],
    ['no host', rawRequest(target, [token]).replace('Host: verifier\r\n', ''), 'malformed_request'],
    ['an expectation', rawRequest(target, [token, 'Expect: a-miracle']), 'malformed_request'],
    ['a body', rawRequest(target, [token, 'Content-Length: 1']), 'body_not_allowed'],
  ] as const) {
    it(`is counted with its reason: ${what}`, async () => {
      const policy = reason === 'body_not_allowed' ? 'default' : ''
      const before = [await total(), await verdicts(policy, 'deny', reason)]
      const reply = await exchange(service, bytes)
      assert.match(reply, new RegExp(`^x-entra-auth-reason: ${reason}\r$`, 'im'))
      assert.match(reply, /^x-entra-auth-verdict: deny\r$/im)
      assert.deepEqual(
        [await total(), await verdicts(policy, 'deny', reason)],
        before.map((count) => (count ?? 0) + 1),
      )
    })
  }

  it('is not counted where it is none of /verify', async () => {
    const before = await total()
    for (const path of ['/', '/livez', '/.well-known/oauth-protected-resource/x', '/revocations'])
      await exchange(service, rawRequest(path))
    assert.equal(await total(), before)
  })
})

it('an exception is counted under its policy, at once and late, and is no allow', async (t) => {
  const store = createRevocationStore(undefined, () => 0)
  let isBroken = false
  const own = await startService({
    config: { policies },
    revocations: new Proxy(store, {
      get(target, member) {
        if (member === 'list' && isBroken) throw new Error('a bug')
        return Reflect.get(target, member)
      },
    }),
  })
  t.after(() => own.close())
  const count = (policy: string, verdict: string, reason = '') =>
    read('entra_auth_verdicts_total', { policy, verdict, reason }, own)
  const credentials = v2User({ uti: 'in a bug' })
  for (const _ of [1, 2]) await verify(own, 'default', credentials)
  isBroken = true
  // The first from the cache, at once; the second after its signature.
  assert.equal((await verify(own, 'default', credentials)).reason, 'internal_error')
  assert.equal((await verify(own, 'default', v2User({ uti: 'new' }))).reason, 'internal_error')
  assert.equal((await ask(own, '/revocations')).reason, 'internal_error')
  isBroken = false
  assert.equal(await count('default', 'unavailable', 'internal_error'), 2)
  assert.equal(await count('', 'unavailable', 'internal_error'), 1)
  assert.equal(await count('default', 'allow'), 2)
})

it('the series of what is refused before its policy are there before the first refusal', async (t) => {
  const own = await startService({ config: { callerKeyFile: '/key' } })
  t.after(() => own.close())
  const series = async () =>
    (await own.app.metrics.inject('/metrics')).body
      .split('\n')
      .filter((line) => line.startsWith('entra_auth_verdicts_total'))
      .map((line) => line.replace(/ \d+$/, ''))
  const early = new Set(await series())
  assert.equal((await verify(own, 'default', v2User())).status, 403)
  assert.deepEqual(
    (await series()).filter((one) => !early.has(one)),
    [],
  )
})
