/** Hits of shared verdicts without the action, from HAProxy 3.4 on; before it, the same requests through the action. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, before, beforeEach, describe, it } from 'node:test'
import { findHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { eventually } from '../support/eventually.ts'
import { type CacheStack, isHit, pollingFast, readMetrics, startCacheStack } from './cache-stack.ts'
import { type Ask, type Reply, values } from './client.ts'
import { alice, allow, allowPrepared, deny, type Identity, revocations } from './fake-verifier.ts'

/** Variables that rules and log lines read. */
const names = ['policy', 'user', 'tenant', 'client', 'actor', 'token_id', 'cache', 'status', 'ms']
const said = names.map((name) => `%[var(txn.entra.${name})]`).join(' ')

/** One thread whose own cache holds a single verdict, so that all others are found among the shared ones. */
const start = (edit: (text: string) => string = (text) => text) =>
  startCacheStack({
    // Which requests the action saw.
    editLua: (text) =>
      pollingFast(text).replace(
        'txn:set_var("txn.entra.ok", false)',
        'txn:set_var("txn.entra.ok", false) txn:set_var("txn.ran", "yes")',
      ),
    editConfig: (text) =>
      edit(text)
        .replace(/^ +nbthread .*\n/m, '')
        .replace(/^global$/m, 'global\n    nbthread 1')
        .replace(
          'monitor-uri /haproxy-livez',
          `monitor-uri /haproxy-livez
    http-after-response set-header x-ran "%[var(txn.ran)]"
    http-after-response set-header x-said "${said}"`,
        ),
    env: { ENTRA_AUTH_CACHE_ENTRIES: '1', ENTRA_AUTH_BAD_TOKENS_PER_10S: '100000' },
  })

const hasRun = (reply: Reply) => values(reply, 'x-ran')[0] === 'yes'

async function readVersion(): Promise<number> {
  const { command, args } = await findHaproxy()
  const version = execFileSync(command, [...args, '-v'], { encoding: 'utf8' })
  const [, major = '', minor = ''] = /version (\d+)\.(\d+)/.exec(version) ?? []
  return Number(major) * 100 + Number(minor)
}

describe('a shared verdict', () => {
  let stack: CacheStack
  let isShared: boolean
  let hasLane: boolean
  before(async () => {
    const version = await readVersion()
    isShared = version >= 302
    hasLane = version >= 304 && process.env.ENTRA_AUTH_FAST_LANE !== 'off'
    stack = await start()
    stack.verifier.script = () => allowPrepared()
    await stack.untilRemembered('warm-up')
  })
  after(() => stack.stop())
  beforeEach(() => {
    stack.reset()
    stack.verifier.feed = revocations()
    stack.verifier.script = () => allowPrepared()
  })

  /** Shares a verdict that the thread's own cache does not have: two others push it out. */
  const share = async (token: string, identity: Identity = alice) => {
    stack.verifier.script = () => allowPrepared(identity)
    for (const each of [token, `${token}-2`, `${token}-3`]) await stack.askFor(each)
    stack.reset()
    stack.verifier.script = () => deny(401, 'bad_signature')
  }
  /** Asks until the answer comes without the action, where there is a fast lane. */
  const askLane = (token: string, what: Ask = {}) =>
    eventually(
      () => stack.askFor(token, what),
      (reply) => !hasLane || !hasRun(reply),
    )
  const bearer = (token: string) => ['Authorization', `Bearer ${token}`] as const

  it('needs no action, with the same identity, and counts', async () => {
    await share('spared', { ...alice, 'X-Auth-Request-Groups': 'g,h' })
    if (!isShared) return
    const count = async (name: string) => (await readMetrics(stack)).get(name) ?? 0
    const counted = await count('cache_hits_total')
    let spared = 0
    for (let index = 0; index < 40; index++) {
      const reply = await stack.askFor('spared-2')
      assert.ok(isHit(reply))
      assert.equal(
        values(reply, 'x-said')[0],
        'orders alice-oid contoso-tid client-appid user token-uti hit 200 0',
      )
      if (!hasRun(reply)) spared++
      // Each eighth comes into the own cache, in place of the one there.
      assert.ok(isHit(await stack.askFor('spared')))
    }
    assert.ok(hasLane ? spared > 20 : spared === 0, `${spared} of 40`)
    assert.equal(stack.verifier.calls.length, 0)
    assert.equal(stack.app.requests.length, 80)
    for (const seen of stack.app.requests) {
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      assert.deepEqual(values(seen, 'x-auth-request-groups'), ['g,h'])
    }
    await eventually(
      async () => {
        await stack.askFor('spared')
        return (await count('cache_hits_total')) - counted
      },
      (hits) => hits >= 80,
    )
  })

  it('brings values of every length whole, with the action and without it', async () => {
    if (!isShared) return
    for (const length of [1, 232, 239, 240, 241, 2200, 2287, 2288, 2289, 4000]) {
      await share(`length-${length}`, {
        ...alice,
        'X-Auth-Request-Groups': 'g'.repeat(length),
        'X-Auth-Request-Name': '',
      })
      const direct = await askLane(`length-${length}`)
      assert.ok(isHit(direct), `${length}`)
      // A header of the client with a managed name: then the action has it.
      const cleaned = await stack.askFor(`length-${length}-2`, {
        headers: [bearer(`length-${length}-2`), ['X-Auth-Request-Name', 'mallory']],
      })
      assert.ok(isHit(cleaned), `${length}`)
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-groups'), ['g'.repeat(length)])
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
        assert.deepEqual(values(seen, 'x-auth-request-name'), [])
      }
    }
  })

  it('says nothing about a token that differs in one character, wherever', async () => {
    const token = `${'t'.repeat(60)}.${'u'.repeat(600)}.${'v'.repeat(60)}`
    await share(token)
    for (const place of [0, 30, 400, 662, token.length - 1]) {
      const other = `${token.slice(0, place)}w${token.slice(place + 1)}`
      for (let index = 0; index < 3; index++) {
        assert.equal((await stack.askFor(other)).status, 401, `${place}`)
      }
    }
    for (const scheme of ['Basic', 'DPoP', 'Bearer:', '']) {
      const headers = [['Authorization', `${scheme} ${token}`]] as const
      assert.ok((await stack.askFor('', { headers })).status >= 400, scheme)
    }
    assert.equal(stack.app.requests.length, 0)
  })

  it('is none with a second Authorization header, in whatever place', async () => {
    await share('twice')
    for (const headers of [
      [bearer('twice'), ['X-A', 'b'], ['AUTHORIZATION', 'Bearer twice']],
      [bearer('twice'), ['Authorization', '']],
      [['Authorization', 'Bearer other'], ['X-Empty', ''], bearer('twice')],
      [['Authorization', ''], bearer('twice')],
      [['Authorization', 'Basic x'], bearer('twice')],
    ] as const) {
      const reply = await stack.askFor('', { headers })
      assert.equal(reply.status, 400)
    }
    assert.equal(stack.app.requests.length, 0)
  })

  it('leaves no header of the client with a managed name, in any spelling', async () => {
    await share('forged')
    for (const name of ['X-Auth-Request-Roles', 'x-auth-request-user', 'X-AUTH-REQUEST-EMAIL']) {
      const reply = await stack.askFor('', { headers: [bearer('forged'), [name, 'admin']] })
      assert.equal(reply.status, isShared ? 200 : 401)
    }
    for (const seen of stack.app.requests) {
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      assert.ok(!seen.headers.some(([, value]) => value === 'admin'))
    }
  })

  it('is one with a time of issue that no integer holds', async () => {
    stack.verifier.script = () =>
      allowPrepared(alice, (fields) => fields.with(8, '99999999999999999999999'))
    for (const token of ['late', 'late-2', 'late-3', 'late', 'late-2', 'late-3']) {
      assert.equal((await stack.askFor(token)).status, 200)
    }
  })

  it('has its identity where the length of its first name looks like the mark of a miss', async () => {
    const name = `X-${'A'.repeat(43)}`
    const identity = { [name]: 'b' }
    const answer = () =>
      allowPrepared(identity, (fields) => fields.with(3, 'alice-oid').with(4, 'contoso-tid'))
    stack.verifier.script = answer
    for (const token of ['mark', 'mark-2', 'mark-3']) await stack.askFor(token)
    stack.reset()
    stack.verifier.script = answer
    for (let index = 0; index < 20; index++) {
      assert.equal(isHit(await stack.askFor('mark')), isShared || index > 0)
    }
    assert.equal(stack.app.requests.length, 20)
    for (const seen of stack.app.requests) {
      assert.deepEqual(values(seen, name.toLowerCase()), ['b'])
    }
  })

  it('ends with its time', async () => {
    stack.verifier.script = () =>
      allowPrepared().replace('private, max-age=30', 'private, max-age=1')
    for (const token of ['short', 'short-2', 'short-3']) await stack.askFor(token)
    stack.verifier.script = () => deny(401, 'token_expired')
    await eventually(
      async () => (await stack.askFor('short')).status,
      (status) => status === 401,
    )
    for (let index = 0; index < 10; index++) {
      assert.equal((await stack.askFor('short')).status, 401)
    }
  })

  it('ends with another version of the configuration', async () => {
    await share('version')
    stack.verifier.feed = revocations([], 'version-2')
    await eventually(
      async () => (await stack.askFor('version')).status,
      (status) => status === 401,
    )
    for (let index = 0; index < 10; index++) {
      assert.equal((await stack.askFor('version')).status, 401)
    }
  })
})

describe('a shared verdict that is revoked', () => {
  for (const [kind, id] of [
    ['user', 'contoso-tid/alice-oid'],
    ['client', 'contoso-tid/client-appid'],
    ['tenant', 'contoso-tid'],
    ['token', 'token-uti'],
    ['key', 'key-kid'],
  ] as const) {
    it(`ends by its ${kind}`, async () => {
      const stack = await start()
      try {
        stack.verifier.script = () => allowPrepared()
        for (const token of ['warm-up', 'one', 'two', 'three']) await stack.untilRemembered(token)
        stack.verifier.script = () => deny(401, 'token_revoked')
        stack.verifier.feed = revocations([{ kind, id, before: 9e9, until: 9e9 }])
        // Without sharing, the last one is in the cache.
        for (const token of ['one', 'two', 'three']) {
          await eventually(
            async () => (await stack.askFor(token)).status,
            (status) => status === 401,
          )
        }
        for (const token of ['one', 'two', 'three', 'two', 'one']) {
          assert.equal((await stack.askFor(token)).status, 401)
        }
      } finally {
        await stack.stop()
      }
    })
  }
})

describe('shared verdicts of two policies', () => {
  it('are each found for their own alone', async () => {
    const stack = await start((text) => {
      const backend = text.slice(
        text.indexOf('\nbackend orders'),
        text.indexOf('\n.if defined', text.indexOf('\nbackend orders')),
      )
      return text
        .replace(backend, () => backend + backend.replaceAll('orders', 'stock'))
        .replace(
          'default_backend orders',
          'use_backend stock if { path_beg /stock }\n    default_backend orders',
        )
    })
    try {
      const asked = () => stack.verifier.calls.map(({ url }) => url)
      stack.verifier.script = () => allowPrepared()
      await stack.untilRemembered('warm-up')
      stack.verifier.script = ({ url }) =>
        url === '/verify/orders' ? allowPrepared() : deny(403, 'scope_missing')
      for (const token of ['one', 'two', 'three']) await stack.askFor(token)
      for (let index = 0; index < 12; index++) {
        assert.equal((await stack.askFor('one', { path: '/stock' })).status, 403)
        assert.equal((await stack.askFor('one')).status, 200)
      }
      assert.ok(asked().includes('/verify/stock'))
    } finally {
      await stack.stop()
    }
  })
})

describe('a shared verdict of a verifier without prepared values', () => {
  it('is none', async () => {
    const stack = await start()
    try {
      stack.verifier.script = () => allow()
      await stack.untilRemembered('warm-up')
      for (const token of ['a', 'b', 'c']) await stack.askFor(token)
      stack.verifier.script = () => deny(401, 'bad_signature')
      assert.equal((await stack.askFor('a')).status, 401)
    } finally {
      await stack.stop()
    }
  })
})
