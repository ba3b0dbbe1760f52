import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { type CacheStack, readMetrics, startCacheStack } from './cache-stack.ts'
import { ask } from './client.ts'
import { allow, deny, issuedAt, revocations } from './fake-verifier.ts'

describe('the numbers of the action', () => {
  let stack: CacheStack
  before(async () => {
    const bob = { kind: 'user', id: 'contoso-tid/bob', before: issuedAt, until: 9e9 }
    stack = await startCacheStack({ feed: revocations([bob]) })
    await stack.untilRemembered()
  })
  after(() => stack.stop())

  /** Reads until what the other thread counted has been published with a request of its own. */
  function numbers(isRight: (all: Map<string, number>) => boolean) {
    return eventually(
      async () => Object.fromEntries(await readMetrics(stack)),
      (all) => isRight(new Map(Object.entries(all))),
    )
  }

  it('are a page that Prometheus reads', async () => {
    const page = await fetch(stack.haproxy.metricsUrl)
    assert.equal(page.status, 200)
    assert.match(page.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
    const described = new Set<string>()
    for (const line of (await page.text()).trimEnd().split('\n')) {
      const [, name = ''] = /^# TYPE (\w+) (?:counter|gauge|summary)$/.exec(line) ?? []
      if (name !== '') described.add(name)
      if (line.startsWith('#')) continue
      assert.match(line, /^\w+(\{reason="\w+"\})? (\d+(\.\d+)?|\+Inf)$/)
      const base = (/^\w+/.exec(line)?.[0] ?? '').replace(/_(sum|count)$/, '')
      assert.ok(described.has(base), line)
    }
  })

  it('are nowhere but on that page', async () => {
    const { origin } = new URL(stack.haproxy.metricsUrl)
    assert.equal((await fetch(`${origin}/`)).status, 404)
    assert.equal((await fetch(stack.haproxy.metricsUrl, { method: 'POST' })).status, 404)
  })

  it('count hits, misses and calls over all threads', async () => {
    const earlier = await readMetrics(stack)
    const requests = 200
    // A connection each, so that every thread has its share.
    for (let index = 0; index < requests; index++) {
      await ask(stack.haproxy.port, { headers: [['Authorization', 'Bearer counted']] })
    }
    const more = (all: Map<string, number>, name: string) =>
      (all.get(name) ?? 0) - (earlier.get(name) ?? 0)
    const seen = await eventually(
      async () => {
        // What a thread counted shows with the next request that it has.
        await ask(stack.haproxy.port, { headers: [['Authorization', 'Bearer counted']] })
        return readMetrics(stack)
      },
      (all) => more(all, 'requests_total') >= requests,
    )
    const misses = more(seen, 'cache_misses_total')
    assert.ok(misses >= 1 && misses <= 4, `${misses} misses`)
    assert.ok(more(seen, 'cache_hits_total') >= requests - 4)
    assert.equal(seen.get('cache_misses_total'), seen.get('call_seconds_count'))
    assert.ok((seen.get('cache_entries') ?? 0) >= 2)
    assert.ok((seen.get('cache_bytes') ?? 0) > 4000)
  })

  it('count refusals by reason', async () => {
    stack.verifier.script = () => deny(403, 'role_missing')
    for (let index = 0; index < 5; index++) await stack.askFor('refused')
    stack.verifier.script = () => 'close'
    await stack.askFor('refused')
    await stack.askFor('', { headers: [['Authorization', '']] })
    stack.verifier.script = () => allow()
    const seen = await eventually(
      async () => {
        await stack.askFor()
        return readMetrics(stack)
      },
      (all) => all.has('refusals_total{reason="malformed_credentials"}'),
    )
    assert.equal(seen.get('refusals_total{reason="role_missing"}'), 5)
    assert.equal(seen.get('refusals_total{reason="verifier_unavailable"}'), 1)
    assert.equal(seen.get('refusals_total{reason="malformed_credentials"}'), 1)
  })

  it('have a bounded number of reasons', async () => {
    let next = 0
    stack.verifier.script = () => deny(401, `reason_${next++}`)
    for (let index = 0; index < 100; index++) await stack.askFor('refused')
    stack.verifier.script = () => allow()
    const reasons = (all: Map<string, number>) =>
      [...all.keys()].filter((name) => name.startsWith('refusals_total'))
    const seen = await eventually(
      async () => {
        await stack.askFor()
        return readMetrics(stack)
      },
      (all) => (all.get('refusals_total{reason="other"}') ?? 0) >= 35,
    )
    assert.equal(reasons(seen).length, 65)
  })

  it('tell how old the word on revocations is', async () => {
    const fresh = await readMetrics(stack)
    assert.equal(fresh.get('cache_usable'), 1)
    assert.equal(fresh.get('revocations'), 1)
    assert.ok((fresh.get('poll_age_seconds') ?? 99) < 2)
    stack.verifier.feed = () => 'close'
    await numbers((all) => (all.get('poll_age_seconds') ?? 0) > 1)
  })

  it('hold no token and no identity', async () => {
    const text = await (await fetch(stack.haproxy.metricsUrl)).text()
    assert.doesNotMatch(text, /alice|contoso-tid|token-uti|Bearer/)
  })
})

describe('the numbers of an action without a cache', () => {
  it('are there as well', async () => {
    const stack = await startCacheStack({ env: { ENTRA_AUTH_CACHE_ENTRIES: '0' } })
    try {
      for (let index = 0; index < 20; index++) await ask(stack.haproxy.port)
      const seen = await eventually(
        () => readMetrics(stack),
        (all) => all.get('requests_total') === 20,
      )
      assert.equal(seen.get('cache_hits_total'), 0)
      assert.equal(seen.get('poll_age_seconds'), Number.POSITIVE_INFINITY)
    } finally {
      await stack.stop()
    }
  })
})
