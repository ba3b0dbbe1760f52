import assert from 'node:assert/strict'
import { after, describe, it, type TestContext } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import type { TenantConfig } from '../../src/config/config.ts'
import { createHttp } from '../../src/keys/http.ts'
import {
  createIssuerKeys,
  type IssuerKeys,
  lookUpCooldownMs,
  refreshIntervalMs,
} from '../../src/keys/issuer-keys.ts'
import type { KeyStore, StoredKeys } from '../../src/keys/key-store.ts'
import {
  type FakeAuthority,
  type FakeEndpoint,
  startAuthority,
  tenantKey,
} from '../support/authority.ts'
import { eventually } from '../support/eventually.ts'
import { ids, startMs } from '../support/ids.ts'
import { jwkOf, signingKey } from '../support/signing-keys.ts'
import { createManualTime, type ManualTime } from '../support/time.ts'

const http = createHttp({
  connectTimeoutMs: 10_000,
  deadlineMs: 20_000,
  maxReplyBytes: 1024 * 1024,
})
after(() => http.close())
const known = tenantKey(ids.contoso).id
const hourMs = 3_600_000
/** What each line of the log says of its origin. */
const about = { tenant: 'contoso', version: '2.0' }

interface Bench {
  readonly keys: IssuerKeys
  readonly authority: FakeAuthority
  readonly endpoint: FakeEndpoint
  readonly time: ManualTime
  readonly log: { level: string; fields: Record<string, unknown>; message: string }[]
  /** What was told of each reading. */
  readonly refreshes: (readonly [string, string, string])[]
  /** How often a task was scheduled. */
  scheduled(): number
}

interface BenchOptions {
  readonly version?: '1.0' | '2.0'
  readonly random?: number
  readonly keyStore?: KeyStore
  readonly tenant?: Partial<TenantConfig>
}

async function createBench(t: TestContext, options: BenchOptions = {}): Promise<Bench> {
  const { version = '2.0', random = 0.5, keyStore } = options
  const authority = await startAuthority()
  t.after(() => authority.close())
  const time = createManualTime()
  const log: Bench['log'] = []
  const write = (level: string) => (fields: object, message: string) =>
    void log.push({ level, fields: { ...fields }, message })
  const refreshes: Bench['refreshes'] = []
  let scheduled = 0
  const tenant = { name: 'contoso', id: ids.contoso, authority: authority.url, ...options.tenant }
  const keys = createIssuerKeys(tenant, version, http, {
    clock: () => time.nowMs,
    random: () => random,
    schedule(task, delayMs) {
      scheduled++
      return time.schedule(task, delayMs)
    },
    onRefresh: (...refresh) => void refreshes.push(refresh),
    log: { info: write('info'), warn: write('warn') },
    ...(keyStore && { keyStore }),
  })
  t.after(() => keys.stop())
  const endpoint = (version === '2.0' ? authority.contoso.v2 : authority.contoso.v1) as FakeEndpoint
  return { keys, authority, endpoint, time, log, refreshes, scheduled: () => scheduled }
}

/** A reply that waits until the returned function is called. */
function hold(endpoint: FakeEndpoint): () => void {
  let release = () => {}
  endpoint.gate = new Promise((resolve) => {
    release = () => {
      endpoint.gate = undefined
      resolve()
    }
  })
  return release
}

describe('the keys of an issuer', () => {
  it('are not asked for before they are started', async (t) => {
    const { keys, authority } = await createBench(t)
    assert.deepEqual(keys.state(), { state: 'untried', keys: 0 })
    assert.equal(keys.issuer, undefined)
    assert.equal(keys.lastMerge, undefined)
    assert.equal(keys.find(known), undefined)
    assert.deepEqual(await keys.lookUp(known), { ok: false, failure: 'keys_unavailable' })
    assert.deepEqual(authority.requests, [])
  })
  it('are ready after the start', async (t) => {
    const { keys, endpoint } = await createBench(t)
    await keys.start()
    assert.deepEqual(keys.state(), { state: 'ready', keys: 1, lastReadMs: startMs })
    assert.equal(keys.issuer, endpoint.issuer)
    assert.equal(keys.find(known)?.ok, true)
  })
  it('say what went wrong, the causes included', async (t) => {
    const { keys, authority, log } = await createBench(t)
    await authority.close()
    await keys.start()
    const { state, error } = keys.state()
    assert.equal(state, 'failing')
    assert.match(error ?? '', /^fetch failed: connect ECONNREFUSED/)
    assert.deepEqual(log, [
      { level: 'warn', fields: { ...about, error, keys: 0 }, message: 'keys not read' },
    ])
  })
  it('forget the error once it is over', async (t) => {
    const { keys, endpoint, time } = await createBench(t)
    endpoint.keysFault = 'error'
    await keys.start()
    assert.match(keys.state().error ?? '', /answered 500/)
    endpoint.keysFault = undefined
    await time.advance(500)
    assert.deepEqual(keys.state(), { state: 'ready', keys: 1, lastReadMs: startMs + 500 })
  })
  it('log each change of the set, and each key that is not used', async (t) => {
    const { keys, endpoint, time, log } = await createBench(t)
    const next = jwkOf(signingKey('next'))
    endpoint.keys.push({ ...next, kid: 'encryption', use: 'enc' })
    await keys.start()
    assert.deepEqual(
      log.map(({ message, fields }) => [message, fields.kid ?? fields.added]),
      [
        ['key not used', 'encryption'],
        ['keys changed', [known]],
      ],
    )
    assert.deepEqual(log[0]?.fields, { ...about, kid: 'encryption', reason: 'key_unusable' })
    assert.deepEqual(log[1]?.fields, { ...about, added: [known], withdrawn: [], keys: 1 })
    endpoint.keys = [next]
    await time.advance(hourMs)
    assert.deepEqual(keys.lastMerge, { added: [], withdrawn: [known], rejected: [] })
    assert.deepEqual(keys.retiredSince(0), [{ id: known, atMs: startMs + hourMs }])
    const changes = log.filter(({ message }) => message === 'keys changed')
    assert.deepEqual(
      changes.map(({ fields }) => [fields.added, fields.withdrawn]),
      [
        [[known], []],
        [['next'], []],
        [[], [known]],
      ],
    )
  })
})

describe('the background refresh', () => {
  it('comes every ten minutes', async (t) => {
    const { keys, authority, time } = await createBench(t)
    await keys.start()
    assert.deepEqual(time.delays(), [refreshIntervalMs])
    await time.advance(hourMs)
    assert.equal(authority.keyFetches(), 7)
  })
  for (const [random, factor] of [
    [0, 0.9],
    [1, 1.1],
  ] as const) {
    it(`is spread by a tenth, so that replicas do not ask together: ${factor}`, async (t) => {
      const { keys, time } = await createBench(t, { random })
      await keys.start()
      assert.deepEqual(time.delays(), [refreshIntervalMs * factor])
    })
  }
  it('comes sooner after a failure, and as before after a success', async (t) => {
    const { keys, endpoint, time } = await createBench(t)
    endpoint.keysFault = 'error'
    await keys.start()
    const pauses: number[] = []
    for (let i = 0; i < 8; i++) {
      const [pause = 0] = time.delays()
      pauses.push(pause)
      await time.advance(pause)
    }
    assert.deepEqual(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
    endpoint.keysFault = undefined
    await time.advance(30_000)
    assert.deepEqual(time.delays(), [refreshIntervalMs])
    endpoint.keysFault = 'error'
    await time.advance(refreshIntervalMs)
    assert.deepEqual(time.delays(), [500])
  })
  it('reads the metadata once a day only', async (t) => {
    const { keys, authority, time } = await createBench(t)
    await keys.start()
    const readings = () => authority.requests.filter((path) => path.includes('openid')).length
    await time.advance(24 * hourMs - 1)
    assert.equal(readings(), 1)
    await time.advance(1)
    assert.equal(readings(), 2)
  })
  it('goes on with the last good metadata, and says so', async (t) => {
    const { keys, endpoint, time, log } = await createBench(t)
    await keys.start()
    endpoint.metadataFault = 'html'
    await time.advance(24 * hourMs)
    assert.equal(keys.state().state, 'ready')
    const line = log.at(-1)
    assert.equal(line?.level, 'warn')
    assert.equal(line?.message, 'metadata not read, the last is used')
    assert.deepEqual(Object.keys(line?.fields ?? {}), ['tenant', 'version', 'error'])
    assert.match(String(line?.fields.error), /JSON/)
  })
  it('follows a key address that moves on the same host', async (t) => {
    const { keys, authority, endpoint, time } = await createBench(t)
    await keys.start()
    endpoint.metadata = { jwks_uri: `${authority.url}/${ids.contoso}/discovery/v2.0/keys?moved` }
    await time.advance(24 * hourMs)
    assert.match(authority.requests.at(-1) ?? '', /keys\?moved$/)
  })
  it('finds keys that moved with the next attempt, once the old address has none', async (t) => {
    const { keys, authority, endpoint, time } = await createBench(t)
    await keys.start()
    endpoint.metadata = { jwks_uri: `${authority.url}/${ids.contoso}/discovery/v2.0/keys?moved` }
    endpoint.keysFault = 'not found'
    await time.advance(refreshIntervalMs)
    assert.equal(keys.state().state, 'failing')
    endpoint.keysFault = undefined
    await time.advance(500)
    assert.equal(keys.state().state, 'ready')
    assert.match(authority.requests.at(-1) ?? '', /keys\?moved$/)
  })
  it('asks for keys alone while their address answers with an error', async (t) => {
    const { keys, authority, endpoint, time } = await createBench(t)
    await keys.start()
    endpoint.keysFault = 'error'
    await time.advance(refreshIntervalMs + 10_000)
    assert.equal(authority.requests.filter((path) => path.includes('openid')).length, 1)
  })
  it('does not follow one to another host', async (t) => {
    const { keys, endpoint, time } = await createBench(t)
    await keys.start()
    endpoint.metadata = { jwks_uri: 'http://evil.test/keys' }
    await time.advance(24 * hourMs)
    assert.equal(keys.state().state, 'ready')
  })
  it('is one at a time, whoever asks', async (t) => {
    const { keys, authority, endpoint } = await createBench(t)
    const release = hold(endpoint)
    const refreshes = [keys.refresh(), keys.refresh(), keys.start()]
    release()
    await Promise.all(refreshes)
    assert.equal(authority.requests.length, 2)
  })
  it('ends when it is stopped', async (t) => {
    const { keys, time } = await createBench(t)
    await keys.start()
    keys.stop()
    assert.deepEqual(time.delays(), [])
  })
  it('ends when it is stopped while a reply is out', async (t) => {
    const { keys, endpoint, time } = await createBench(t)
    const release = hold(endpoint)
    const started = keys.start()
    keys.stop()
    release()
    await started
    assert.deepEqual(time.delays(), [])
  })
})

describe('keys of which none is confirmed any more', () => {
  const unconfirmed = { ok: false, failure: 'key_unconfirmed' }

  /** Keys that were read, before a machine was suspended for a day. */
  async function suspended(t: TestContext): Promise<Bench> {
    const bench = await createBench(t)
    await bench.keys.start()
    bench.time.jump(24 * hourMs)
    return bench
  }

  it('are read at once, by whoever needs one first, and then as before', async (t) => {
    const { keys, authority, endpoint, time, scheduled } = await suspended(t)
    const release = hold(endpoint)
    for (let asked = 0; asked < 5; asked++) assert.deepEqual(keys.find(known), unconfirmed)
    release()
    await eventually(scheduled, (count) => count > 1)
    assert.equal(keys.find(known)?.ok, true)
    assert.equal(scheduled(), 2)
    assert.deepEqual(time.delays(), [refreshIntervalMs])
    assert.equal(authority.keyFetches(), 2)
  })
  it('are asked for twice a minute at most, while the authority does not answer', async (t) => {
    const { keys, authority, endpoint, time, scheduled } = await suspended(t)
    endpoint.metadataFault = endpoint.keysFault = 'error'
    keys.refreshIfStale()
    await eventually(scheduled, (count) => count === 2)
    const { length } = authority.requests
    time.jump(29_999)
    keys.refreshIfStale()
    assert.equal(authority.requests.length, length)
    assert.equal(scheduled(), 2)
    time.jump(1)
    keys.refreshIfStale()
    await eventually(scheduled, (count) => count === 3)
  })
  for (const [what, prepare] of [
    ['nothing was read yet', async () => {}],
    [
      'one of them is',
      async ({ keys, time }: Bench) => {
        await keys.start()
        time.jump(24 * hourMs - 1)
      },
    ],
    [
      'it was stopped',
      async ({ keys, time }: Bench) => {
        await keys.start()
        keys.stop()
        time.jump(24 * hourMs)
      },
    ],
  ] as const) {
    it(`are not asked for where ${what}`, async (t) => {
      const bench = await createBench(t)
      await prepare(bench)
      const { authority, keys } = bench
      const { length } = authority.requests
      keys.refreshIfStale()
      // A call, if there were one, would be out before this one has its answer.
      await fetch(`${authority.url}/another`)
      assert.equal(authority.requests.filter((path) => path !== '/another').length, length)
    })
  }
})

describe('each reading', () => {
  it('is told of, with how it went', async (t) => {
    const { keys, endpoint, time, refreshes } = await createBench(t, { version: '1.0' })
    endpoint.metadataFault = 'not found'
    await keys.start()
    endpoint.metadataFault = 'error'
    await time.advance(refreshIntervalMs)
    endpoint.metadataFault = undefined
    await time.advance(1_000)
    assert.deepEqual(refreshes, [
      ['contoso', '1.0', 'absent'],
      ['contoso', '1.0', 'failed'],
      ['contoso', '1.0', 'applied'],
    ])
  })
})

describe('a retry', () => {
  it('comes at once if no keys could be read, and the issuer then counts as untried', async (t) => {
    const { keys, endpoint, time } = await createBench(t)
    endpoint.metadataFault = 'error'
    await keys.start()
    assert.deepEqual(time.delays(), [500])
    endpoint.metadataFault = undefined
    keys.retry()
    assert.equal(keys.state().state, 'untried')
    assert.deepEqual(time.delays(), [])
    await keys.refresh()
    assert.equal(keys.state().state, 'ready')
    await setImmediate()
    assert.deepEqual(time.delays(), [refreshIntervalMs])
  })
  it('comes once an attempt that was under way has failed', async (t) => {
    const { keys, authority, endpoint, time } = await createBench(t)
    endpoint.metadataFault = 'error'
    await keys.start()
    const release = hold(endpoint)
    const refreshing = keys.refresh()
    keys.retry()
    assert.deepEqual(time.delays(), [])
    release()
    await refreshing
    endpoint.metadataFault = undefined
    await setImmediate()
    assert.equal(keys.state().state, 'untried')
    await keys.refresh()
    await setImmediate()
    assert.equal(keys.state().state, 'ready')
    // Two attempts that failed, and one for the metadata and the keys.
    assert.equal(authority.requests.length, 4)
    assert.deepEqual(time.delays(), [refreshIntervalMs])
  })
  it('does not come once an attempt that was under way has succeeded', async (t) => {
    const { keys, authority, endpoint } = await createBench(t)
    endpoint.metadataFault = 'error'
    await keys.start()
    endpoint.metadataFault = undefined
    const release = hold(endpoint)
    const refreshing = keys.refresh()
    keys.retry()
    release()
    await refreshing
    await setImmediate()
    assert.equal(keys.state().state, 'ready')
    assert.equal(authority.requests.length, 3)
  })
  for (const [what, prepare] of [
    ['nothing was tried yet', async () => {}],
    ['all is well', async ({ keys }) => keys.start()],
    [
      'there is no such version',
      async ({ keys, endpoint }) => {
        endpoint.metadataFault = 'not found'
        await keys.start()
      },
    ],
    [
      'keys are there although the last reading failed',
      async ({ keys, endpoint, time }) => {
        await keys.start()
        endpoint.keysFault = 'error'
        await time.advance(refreshIntervalMs)
      },
    ],
    [
      'it was stopped',
      async ({ keys, endpoint }) => {
        endpoint.metadataFault = 'error'
        await keys.start()
        keys.stop()
      },
    ],
  ] as const satisfies readonly (readonly [string, (bench: Bench) => Promise<void>])[]) {
    it(`does not come where ${what}`, async (t) => {
      const bench = await createBench(t, { version: '1.0' })
      await prepare(bench)
      const { keys, authority, time } = bench
      const before = [keys.state(), authority.requests.length, time.delays()]
      keys.retry()
      await setImmediate()
      assert.deepEqual([keys.state(), authority.requests.length, time.delays()], before)
    })
  }
})

describe('a version that the authority does not have', () => {
  it('is absent, and looked for at the usual pace', async (t) => {
    const { keys, endpoint, time, log } = await createBench(t, { version: '1.0' })
    endpoint.metadataFault = 'not found'
    await keys.start()
    assert.equal(keys.state().state, 'absent')
    assert.deepEqual(time.delays(), [refreshIntervalMs])
    assert.deepEqual(
      log.map(({ level }) => level),
      ['info'],
    )
  })
  it('is not v2.0, which every authority has', async (t) => {
    const { keys, endpoint } = await createBench(t)
    endpoint.metadataFault = 'not found'
    await keys.start()
    assert.equal(keys.state().state, 'failing')
  })
  it('is not one of a known cloud, which has both', async (t) => {
    const { keys, endpoint } = await createBench(t, { version: '1.0', tenant: { cloud: 'public' } })
    endpoint.metadataFault = 'not found'
    await keys.start()
    assert.equal(keys.state().state, 'failing')
  })
  it('is not one that was there before', async (t) => {
    const { keys, endpoint, time } = await createBench(t, { version: '1.0' })
    await keys.start()
    endpoint.keysFault = 'not found'
    await time.advance(refreshIntervalMs)
    assert.equal(keys.state().state, 'failing')
  })
  it('is not one that answers otherwise badly', async (t) => {
    const { keys, endpoint } = await createBench(t, { version: '1.0' })
    endpoint.metadataFault = 'error'
    await keys.start()
    assert.equal(keys.state().state, 'failing')
  })
})

describe('the look-up of an unknown key', () => {
  const next = signingKey('next')
  it('finds it, and reads the whole set for the other changes', async (t) => {
    const { keys, authority, endpoint } = await createBench(t)
    await keys.start()
    endpoint.keys.push(jwkOf(next), jwkOf(signingKey('another')))
    assert.equal((await keys.lookUp('next')).ok, true)
    assert.equal(keys.find('another')?.ok, true)
    assert.equal(authority.keyFetches(), 3)
  })
  it('is one for all who ask at the same time', async (t) => {
    const { keys, authority, endpoint } = await createBench(t)
    await keys.start()
    endpoint.keys.push(jwkOf(next))
    const release = hold(endpoint)
    const before = authority.keyFetches()
    const waiting = [keys.lookUp('nowhere'), keys.lookUp('next'), keys.lookUp('elsewhere')]
    release()
    const results = await Promise.all(waiting)
    assert.deepEqual(
      results.map((result) => result.ok || result.failure),
      ['key_unknown', 'key_unknown', 'key_unknown'],
    )
    assert.equal(authority.keyFetches(), before + 1)
  })
  it('comes at most every five minutes', async (t) => {
    const { keys, authority, time } = await createBench(t)
    await keys.start()
    const before = authority.keyFetches()
    await keys.lookUp('nowhere')
    time.jump(lookUpCooldownMs - 1)
    await keys.lookUp('nowhere')
    assert.equal(authority.keyFetches(), before + 1)
    time.jump(1)
    await keys.lookUp('nowhere')
    assert.equal(authority.keyFetches(), before + 2)
  })
  it('is not made where no key could be read at all', async (t) => {
    const { keys, authority, endpoint } = await createBench(t)
    endpoint.keysFault = 'error'
    await keys.start()
    endpoint.keysFault = undefined
    const before = authority.requests.length
    assert.deepEqual(await keys.lookUp(known), { ok: false, failure: 'keys_unavailable' })
    assert.equal(authority.requests.length, before)
  })
  for (const [what, issuer, expected] of [
    ['counts although the set cannot be read after it', undefined, true],
    ['does not count where the key is of another issuer', 'https://evil.test', false],
  ] as const) {
    it(what, async (t) => {
      const { keys, endpoint } = await createBench(t)
      await keys.start()
      endpoint.keys.push(jwkOf(next, { issuer: issuer ?? endpoint.issuer }))
      let fetches = 0
      Object.defineProperty(endpoint, 'keysFault', {
        get: () => (fetches++ === 0 ? undefined : 'error'),
      })
      assert.equal((await keys.lookUp('next')).ok, expected)
      assert.equal(keys.state().state, 'failing')
    })
  }
  it('that fails counts for the pause too, and says unavailable until the set was read', async (t) => {
    const { keys, authority, endpoint, log } = await createBench(t)
    await keys.start()
    endpoint.keysFault = 'error'
    const before = authority.keyFetches()
    assert.deepEqual(await keys.lookUp('next'), { ok: false, failure: 'keys_unavailable' })
    assert.deepEqual(await keys.lookUp('next'), { ok: false, failure: 'keys_unavailable' })
    assert.equal(authority.keyFetches(), before + 1)
    const line = log.at(-1)
    assert.deepEqual([line?.level, line?.message], ['warn', 'unknown key not looked up'])
    assert.deepEqual(Object.keys(line?.fields ?? {}), ['tenant', 'version', 'error'])
    endpoint.keysFault = undefined
    // Within the pause, so that no second look-up is what clears it.
    await keys.refresh()
    assert.deepEqual(await keys.lookUp('next'), { ok: false, failure: 'key_unknown' })
  })
  it('that finds a key which must not be used gives its reason', async (t) => {
    const { keys, endpoint } = await createBench(t)
    await keys.start()
    endpoint.keys.push(jwkOf(next, { use: 'enc' }))
    assert.deepEqual(await keys.lookUp('next'), { ok: false, failure: 'key_unusable' })
  })
})

describe('retired keys', () => {
  it('are withdrawn, and the refresh ends', async (t) => {
    const { keys, time } = await createBench(t)
    await keys.start()
    const found = keys.find(known)
    assert.ok(found?.ok)
    keys.retire()
    assert.equal(found.value.withdrawn, true)
    assert.deepEqual(time.delays(), [])
  })
  it('ignore replies that arrive later', async (t) => {
    const { keys, endpoint } = await createBench(t)
    const release = hold(endpoint)
    const started = keys.start()
    keys.retire()
    release()
    await started
    assert.equal(keys.state().keys, 0)
  })
  it('take in no key that was looked up meanwhile', async (t) => {
    const { keys, endpoint } = await createBench(t)
    await keys.start()
    endpoint.keys.push(jwkOf(signingKey('next')))
    const release = hold(endpoint)
    const waiting = keys.lookUp('next')
    keys.retire()
    release()
    assert.equal((await waiting).ok, false)
  })
})

describe('stored keys', () => {
  function createStore(stored?: StoredKeys): KeyStore & { saved: Map<string, StoredKeys> } {
    const saved = new Map<string, StoredKeys>()
    return {
      saved,
      load: async () => stored,
      async save(name, documents) {
        saved.set(name, documents)
      },
    }
  }
  const stored = (
    endpoint: { issuer: string },
    url: string,
    more: Partial<StoredKeys> = {},
  ): StoredKeys => ({
    readMs: startMs - hourMs,
    metadata: { issuer: endpoint.issuer, jwks_uri: `${url}/${ids.contoso}/discovery/v2.0/keys` },
    keys: [jwkOf(tenantKey(ids.contoso))],
    ...more,
  })
  /** A bench whose authority is down and whose store holds what `make` returns. */
  async function cold(t: TestContext, more: Partial<StoredKeys> = {}) {
    let document: StoredKeys | undefined
    const keyStore: KeyStore = { load: async () => document, save: async () => {} }
    const bench = await createBench(t, { keyStore })
    document = stored(bench.endpoint, bench.authority.url, more)
    bench.endpoint.metadataFault = 'error'
    await bench.keys.start()
    return bench
  }
  it('are read before the first attempt counts as over, so that the service is ready with them', async (t) => {
    const loading: (() => void)[] = []
    const keyStore: KeyStore = {
      load: () => new Promise((done) => void loading.push(() => done(undefined))),
      save: async () => {},
    }
    const { keys, endpoint, log } = await createBench(t, { keyStore })
    endpoint.keysFault = 'error'
    const started = keys.start()
    await eventually(
      () => loading.length,
      (count) => count === 1,
    )
    assert.deepEqual(
      log.map(({ message }) => message),
      ['keys not read'],
    )
    assert.equal(keys.state().state, 'untried')
    loading[0]?.()
    await started
    assert.equal(keys.state().state, 'failing')
  })
  it('are kept whenever the set was read', async (t) => {
    const keyStore = createStore()
    const { keys, endpoint } = await createBench(t, { keyStore })
    await keys.start()
    const saved = keyStore.saved.get(`${ids.contoso}-v2.0`)
    assert.deepEqual(saved?.keys, endpoint.keys)
    assert.equal(saved?.readMs, startMs)
    assert.equal((saved?.metadata as { issuer?: string } | undefined)?.issuer, endpoint.issuer)
  })
  it('serve a cold start while the authority is down', async (t) => {
    const { keys, log } = await cold(t)
    assert.equal(keys.find(known)?.ok, true)
    assert.equal(keys.state().state, 'failing')
    assert.equal(keys.state().lastReadMs, startMs - hourMs)
    assert.deepEqual(log.at(-1), {
      level: 'warn',
      fields: { ...about, readMs: startMs - hourMs },
      message: 'stored keys are used',
    })
  })
  it('are replaced once the authority is back', async (t) => {
    const { keys, endpoint, time } = await cold(t)
    endpoint.metadataFault = undefined
    await time.advance(500)
    assert.equal(keys.state().state, 'ready')
    assert.equal(keys.state().lastReadMs, startMs + 500)
  })
  it('are no younger than they are: they end a day after they were read', async (t) => {
    const { keys, time } = await cold(t)
    time.jump(23 * hourMs - 1)
    assert.equal(keys.find(known)?.ok, true)
    time.jump(1)
    assert.deepEqual(keys.find(known), { ok: false, failure: 'key_unconfirmed' })
  })
  for (const [what, more, error] of [
    ['are a day old', { readMs: startMs - 24 * hourMs }, /older than a day/],
    ['come from the future', { readMs: startMs + 1 }, /later than now/],
    [
      'have the metadata of another issuer',
      { metadata: { issuer: 'https://evil.test', jwks_uri: 'x' } },
      /names the issuer/,
    ],
    ['have no metadata', { metadata: null }, /has no issuer/],
    ['hold no usable key', { keys: [] }, /the key set is empty/],
  ] as const) {
    it(`are not used where they ${what}`, async (t) => {
      const { keys, log } = await cold(t, more)
      assert.equal(keys.state().keys, 0)
      assert.equal(keys.issuer, undefined)
      assert.equal(keys.find(known), undefined)
      const line = log.find(({ message }) => message === 'stored keys not used')
      assert.equal(line?.level, 'warn')
      assert.match(String(line?.fields.error), error)
    })
  }
  for (const [what, readMs] of [
    ['read at this very moment', startMs],
    ['almost a day old', startMs - 24 * hourMs + 1],
  ] as const) {
    it(`are used where they were ${what}`, async (t) => {
      const { keys } = await cold(t, { readMs })
      assert.equal(keys.find(known)?.ok, true)
    })
  }
  it('let an unknown key be looked up', async (t) => {
    const { keys, endpoint } = await cold(t)
    endpoint.keys.push(jwkOf(signingKey('next')))
    assert.equal((await keys.lookUp('next')).ok, true)
  })
  it('are asked for under the tenant and the version', async (t) => {
    const names: string[] = []
    const keyStore: KeyStore = {
      async load(name) {
        names.push(name)
        return undefined
      },
      save: async () => {},
    }
    const { keys, endpoint } = await createBench(t, { keyStore, version: '1.0' })
    endpoint.metadataFault = 'error'
    await keys.start()
    assert.deepEqual(names, [`${ids.contoso}-v1.0`])
  })
  it('are not looked for where there are keys', async (t) => {
    let loads = 0
    const keyStore: KeyStore = {
      async load() {
        loads++
        return undefined
      },
      save: async () => {},
    }
    const { keys, endpoint, time } = await createBench(t, { keyStore })
    await keys.start()
    endpoint.keysFault = 'error'
    await time.advance(refreshIntervalMs)
    assert.equal(loads, 0)
  })
  it('are not looked for where the authority has no such version', async (t) => {
    let loads = 0
    const keyStore: KeyStore = {
      async load() {
        loads++
        return undefined
      },
      save: async () => {},
    }
    const { keys, endpoint } = await createBench(t, { keyStore, version: '1.0' })
    endpoint.metadataFault = 'not found'
    await keys.start()
    assert.equal(keys.state().state, 'absent')
    assert.equal(loads, 0)
  })
  it('that are not kept for ever, as on a disk that does not answer, hold up no refresh', async (t) => {
    const keyStore: KeyStore = { load: async () => undefined, save: () => new Promise(() => {}) }
    const { keys, endpoint, time } = await createBench(t, { keyStore })
    await keys.start()
    assert.deepEqual(time.delays(), [refreshIntervalMs])
    endpoint.keys.push(jwkOf(signingKey('next')))
    assert.equal((await keys.lookUp('next')).ok, true)
    await time.advance(refreshIntervalMs)
    assert.equal(keys.state().lastReadMs, startMs + refreshIntervalMs)
  })
  it('stay as they are where a tenant is retired before the reply arrives', async (t) => {
    const keyStore = createStore()
    const { keys, endpoint, log } = await createBench(t, { keyStore })
    const release = hold(endpoint)
    const started = keys.start()
    keys.retire()
    release()
    await started
    assert.deepEqual([...keyStore.saved], [])
    assert.deepEqual(log, [])
  })
  it('that cannot be kept are no reason to fail', async (t) => {
    const keyStore: KeyStore = {
      load: async () => undefined,
      save: () => Promise.reject(new Error('disk full')),
    }
    const { keys, log } = await createBench(t, { keyStore })
    await keys.start()
    assert.equal(keys.state().state, 'ready')
    assert.deepEqual(log.at(-1), {
      level: 'warn',
      fields: { ...about, error: 'disk full' },
      message: 'keys not stored',
    })
  })
})

describe('an error that is none', () => {
  it('is described all the same', async (t) => {
    const keyStore: KeyStore = {
      load: async () => undefined,
      save: () => Promise.reject('plain text'),
    }
    const { keys, log } = await createBench(t, { keyStore })
    await keys.start()
    assert.ok(log.some(({ fields }) => fields.error === 'plain text'))
  })
  it('is described with five causes at most, those without a text left out', async (t) => {
    const chain = (depth: number): Error | undefined =>
      depth > 7 ? undefined : new Error(depth === 2 ? '' : `e${depth}`, { cause: chain(depth + 1) })
    const keyStore: KeyStore = { load: async () => undefined, save: () => Promise.reject(chain(1)) }
    const { keys, log } = await createBench(t, { keyStore })
    await keys.start()
    assert.equal(log.at(-1)?.fields.error, 'e1: e3: e4: e5: e6')
  })
})
