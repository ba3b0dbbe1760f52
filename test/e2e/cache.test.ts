import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { startRunningClock } from '../support/running-clock.ts'
import { type CacheStack, isHit, pollingFast, readMetrics, startCacheStack } from './cache-stack.ts'
import { values } from './client.ts'
import {
  alice,
  allow,
  allowFor,
  allowHeaders,
  answer,
  type Call,
  deny,
  type Script,
} from './fake-verifier.ts'
import { replacing } from './stack.ts'

/** Allows everybody as the user whom the token names. */
const allowTheToken: Script = (call) => {
  const user = tokenOf(call)
  return allow({ ...alice, 'X-Auth-Request-User': user })
}

function tokenOf(call: Call): string {
  return (values(call, 'authorization')[0] ?? '').slice('Bearer '.length)
}

describe('the cache', () => {
  let stack: CacheStack
  before(async () => {
    stack = await startCacheStack({
      // A second policy, by path only for this test.
      editConfig: replacing(
        'http-request lua.entra-auth orders',
        'http-request lua.entra-auth orders unless { path_beg /second }\n    http-request lua.entra-auth second if { path_beg /second }',
      ),
    })
    await stack.untilRemembered('warm-up')
  })
  after(() => stack.stop())
  beforeEach(() => {
    stack.reset()
    stack.verifier.script = allowTheToken
  })

  it('spares the verifier a call and changes nothing else', async () => {
    const first = await stack.askFor('spared')
    assert.equal(first.status, 200, first.body)
    assert.equal(isHit(first), false)
    const headersOfFirst = stack.app.requests[0]?.headers
    for (let index = 0; index < 20; index++) assert.ok(isHit(await stack.askFor('spared')))
    assert.equal(stack.verifier.calls.length, 1)
    const identity = (headers: typeof headersOfFirst) =>
      headers?.filter(([name]) => /^x-auth-request/i.test(name))
    assert.ok(identity(headersOfFirst)?.length)
    for (const seen of stack.app.requests) {
      assert.deepEqual(identity(seen.headers), identity(headersOfFirst))
    }
  })

  it('has the same variables for the log', async () => {
    const path = '/for-the-log'
    await stack.askFor('logged')
    await stack.askFor('logged', { path })
    const line = await stack.haproxy.waitForLog((one) => one.includes(`path=${path} `))
    assert.match(
      line,
      / verify_ms=0 ok=1 policy=orders actor=user tenant=contoso-tid user=logged client_id=client-appid token_id=token-uti reason=- cache=hit/,
    )
  })

  it('keeps tokens apart', async () => {
    for (const token of [
      'one',
      'two',
      'one',
      'two',
      `${'x'.repeat(500)}1`,
      `${'x'.repeat(500)}2`,
    ]) {
      await stack.askFor(token)
      const [user] = values(stack.app.requests.at(-1) ?? { headers: [] }, 'x-auth-request-user')
      assert.equal(user, token)
    }
  })

  it('keeps tokens with one ending apart', async () => {
    // What finds an entry is the end of the token; what decides is the whole of it.
    const ending = 'e'.repeat(200)
    for (const token of [`a${ending}`, `b${ending}`, `a${ending}`, ending, `b${ending}`]) {
      await stack.askFor(token)
      const [user] = values(stack.app.requests.at(-1) ?? { headers: [] }, 'x-auth-request-user')
      assert.equal(user, token)
    }
    assert.equal(stack.verifier.calls.length, 5)
  })

  it('keeps policies apart', async () => {
    await stack.askFor('both')
    const second = await stack.askFor('both', { path: '/second' })
    assert.equal(isHit(second), false)
    stack.verifier.script = () => deny(403, 'role_missing')
    assert.ok(isHit(await stack.askFor('both', { path: '/second' })))
    assert.equal((await stack.askFor('both2', { path: '/second' })).status, 403)
    assert.deepEqual(
      stack.verifier.calls.map((call) => call.url),
      ['/verify/orders', '/verify/second', '/verify/second'],
    )
  })

  it('forgets a verdict when its time is over', async () => {
    stack.verifier.script = () => allowFor(2)
    await stack.askFor('expiring')
    const { hits, lastHitMs, ms } = await stack.untilForgotten('expiring')
    assert.ok(
      hits > 0 && ms > 1500 && lastHitMs < 2500,
      `${hits} hits up to ${lastHitMs} ms, ${ms} ms`,
    )
  })

  it('counts the time from the question, not from the answer', async () => {
    stack.verifier.script = () => new Promise((done) => setTimeout(() => done(allowFor(1)), 900))
    await stack.askFor('slow')
    await new Promise((next) => setTimeout(next, 150))
    stack.verifier.script = () => deny(401, 'token_expired')
    assert.equal((await stack.askFor('slow')).status, 401)
  })

  it('counts the time for which HAProxy stood still', async () => {
    stack.verifier.script = () => allowFor(1)
    await stack.untilRemembered('paused')
    stack.verifier.script = () => deny(401, 'token_expired')
    process.kill(stack.haproxy.pid, 'SIGSTOP')
    await new Promise((next) => setTimeout(next, 2100))
    process.kill(stack.haproxy.pid, 'SIGCONT')
    assert.equal((await stack.askFor('paused')).status, 401)
  })

  it('is not prolonged by a clock that is set', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'entra-auth-clock-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'ahead')
    const setClock = (aheadSeconds: number) => writeFileSync(file, `${aheadSeconds}`)
    setClock(0)
    const prelude = `do local real = os.time os.time = function() local file = io.open("${file}")
      local ahead = file:read("n") file:close() return real() + ahead end end`
    const own = await startCacheStack({
      editLua: (text) => pollingFast(`${prelude.replaceAll('\n', ' ')} ${text}`),
    })
    t.after(() => own.stop())
    own.verifier.script = () => allowFor(60)
    await own.untilRemembered()
    setClock(3600)
    assert.equal(isHit(await own.askFor()), false)
    await own.untilRemembered()
    for (const aheadSeconds of [0, -3600]) {
      setClock(aheadSeconds)
      own.verifier.script = () => allowFor(60)
      await own.untilRemembered()
      own.verifier.script = () => allowFor(2)
      await own.untilRemembered('expiring')
      const { lastHitMs } = await own.untilForgotten('expiring')
      assert.ok(lastHitMs < 2500, `${aheadSeconds} s: the last hit asked for at ${lastHitMs} ms`)
    }
  })

  const withCacheControl = (value: string | undefined) => {
    const rest = allowHeaders().filter(([name]) => name !== 'Cache-Control')
    return answer(200, value === undefined ? rest : [...rest, ['Cache-Control', value]])
  }

  it('lets verdicts of a long time end one after the other, and none later', async (t) => {
    const own = await startCacheStack({
      editLua: (text) =>
        pollingFast(text).replace('SPREAD_FROM_SECONDS = 60', 'SPREAD_FROM_SECONDS = 4'),
    })
    t.after(() => own.stop())
    await own.untilRemembered('warm-up')
    own.verifier.script = () => allowFor(4)
    const clock = startRunningClock()
    t.after(() => clock.stop())
    const left = new Map<string, number>()
    for (let index = 0; index < 20; index++) {
      left.set(`spread-${index}`, clock.nowMs())
      await own.askFor(`spread-${index}`)
    }
    const lives: number[] = []
    await eventually(
      async () => {
        for (const [token, sinceMs] of left) {
          const askedMs = clock.nowMs()
          if (isHit(await own.askFor(token))) continue
          left.delete(token)
          lives.push(askedMs - sinceMs)
        }
        return left.size
      },
      (size) => size === 0,
    )
    // Three or four seconds, by chance: all alike once in half a million times.
    const [shortest, longest] = [Math.min(...lives), Math.max(...lives)]
    assert.ok(shortest > 2_500 && longest - shortest > 500, `${shortest} to ${longest} ms`)
    assert.ok(longest < 5_500, `${longest} ms`)
  })

  it('keeps a verdict for as long as the action may, and no longer', async () => {
    const says = (value: string): Script => {
      const said = withCacheControl(value)
      return () => said
    }
    stack.verifier.script = says('private, max-age=1, entra-auth-max-age=60')
    await stack.untilRemembered('longer')
    stack.verifier.script = says('private, max-age=30, entra-auth-max-age=1')
    await stack.untilRemembered('shorter')
    stack.verifier.script = says('private, max-age=1')
    await stack.untilRemembered('usual')
    const { lastHitMs } = await stack.untilForgotten('shorter')
    assert.ok(lastHitMs < 1500, `the last hit asked for at ${lastHitMs} ms`)
    await stack.untilForgotten('usual')
    assert.ok(isHit(await stack.askFor('longer')))
  })
  const without = (name: string) => allowHeaders().filter(([one]) => one !== name)
  const replaced = (name: string, value: string) => answer(200, [...without(name), [name, value]])
  for (const [what, said] of Object.entries({
    'a refusal with 401': deny(401, 'token_expired'),
    'a refusal with 403': deny(403, 'role_missing'),
    'an outage': deny(503, 'keys_unavailable'),
    garbage: answer(200),
    'an allow of a policy on probation': answer(200, [
      ...allowHeaders(),
      ['X-Entra-Auth-Report', 'role_missing'],
    ]),
    'an allow for no time': allowFor(0),
    'an allow without Cache-Control': withCacheControl(undefined),
    'an allow that is not to be stored': withCacheControl('no-store, max-age=30'),
    'an allow with two times': withCacheControl('max-age=5, max-age=30'),
    'an allow with an odd time': withCacheControl('max-age=30s'),
    'an allow for a negative time': withCacheControl('private, max-age=-1'),
    'an allow for a time that is no whole number': withCacheControl('private, max-age=1.5'),
    'an allow for longer than a number can say': withCacheControl(`max-age=${'9'.repeat(400)}`),
    'an allow with two times of its own for the action': withCacheControl(
      'max-age=30, entra-auth-max-age=5, entra-auth-max-age=30',
    ),
    'an allow with no time for the action': withCacheControl('max-age=30, entra-auth-max-age=0'),
    'an allow with a time for the action alone': withCacheControl('private, entra-auth-max-age=30'),
    'an allow for the action, but for no other cache': withCacheControl(
      'private, max-age=0, entra-auth-max-age=30',
    ),
    'an allow not to be stored, with a time for the action': withCacheControl(
      'no-store, max-age=30, entra-auth-max-age=30',
    ),
    'an allow for no number of seconds': withCacheControl('private, max-age=nan'),
    'an allow of another version': replaced('X-Entra-Auth-Version', 'version-2'),
    'an allow without a version': answer(200, without('X-Entra-Auth-Version')),
    'an allow without the time of issue': answer(200, without('X-Entra-Auth-Issued-At')),
    'an allow with an odd time of issue': replaced('X-Entra-Auth-Issued-At', '-1'),
    'an allow without a key': answer(200, without('X-Entra-Auth-Key-Id')),
    'an allow without a tenant': answer(200, without('X-Entra-Auth-Tenant')),
    'an allow without a user': answer(200, without('X-Entra-Auth-User')),
    'an allow without a token id': answer(200, without('X-Entra-Auth-Token-Id')),
  })) {
    it(`does not hold ${what}`, async () => {
      stack.verifier.script = () => said
      const first = await stack.askFor('not-held')
      const second = await stack.askFor('not-held')
      assert.equal(isHit(first) || isHit(second), false)
      assert.equal(second.status, first.status)
      assert.equal(stack.verifier.calls.length, 2)
    })
  }

  it('does not hold what is said to nobody', async () => {
    stack.verifier.script = () => deny(401, 'no_credentials')
    for (let index = 0; index < 3; index++) await stack.askFor('', { headers: [] })
    assert.equal(stack.verifier.calls.length, 3)
  })

  it('serves every method, and leaves bodies alone', async () => {
    await stack.askFor('methods')
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      const body = method.repeat(20_000)
      const reply = await stack.askFor('methods', { method, body })
      assert.equal(reply.status, 200)
      assert.ok(isHit(reply), method)
      assert.equal(stack.app.requests.at(-1)?.body, body)
    }
  })

  it('serves a token beside another header with authorization in its name', async () => {
    const ask = () =>
      stack.askFor('', {
        headers: [
          ['X-Amz-Authorization', 'other'],
          ['Authorization', 'Bearer beside'],
        ],
      })
    assert.equal((await ask()).status, 200)
    for (let index = 0; index < 3; index++) assert.ok(isHit(await ask()))
    assert.equal(stack.verifier.calls.length, 1)
  })

  it('does not serve two Authorization headers', async () => {
    await stack.askFor('twice')
    const one = ['Authorization', 'Bearer twice'] as const
    for (const headers of [
      [one, one],
      [one, ['authorization', 'Bearer other']],
      [['Authorization', 'Bearer other'], one],
    ] as const) {
      const reply = await stack.askFor('', { headers })
      assert.equal(reply.status, 400)
    }
  })

  it('looks closely where another name holds "authorization"', async () => {
    const headers = [
      ['Authorization', 'Bearer close'],
      ['Proxy-Authorization', 'Basic x'],
    ] as const
    for (let index = 0; index < 2; index++) {
      assert.equal((await stack.askFor('', { headers })).status, 200)
    }
    const only = [['Proxy-Authorization', 'Bearer close']] as const
    stack.verifier.script = () => deny(401, 'no_credentials')
    assert.equal((await stack.askFor('', { headers: only })).status, 401)
  })

  it('is shared by the spellings of one and the same token', async () => {
    for (const token of ['short', `long.${'x'.repeat(200)}`]) {
      stack.reset()
      stack.verifier.script = allowTheToken
      await stack.askFor(token)
      stack.verifier.script = () => deny(401, 'malformed_credentials')
      for (const value of [`bearer ${token}`, `BEARER  ${token}`, `Bearer ${token}`]) {
        const reply = await stack.askFor('', { headers: [['Authorization', value]] })
        assert.ok(isHit(reply), value)
      }
      assert.equal(stack.verifier.calls.length, 1)
    }
  })

  it('does not serve what only looks like the credentials', async () => {
    await stack.askFor('exact')
    stack.verifier.script = () => deny(401, 'malformed_credentials')
    for (const value of ['Bearer exact,', 'Bearer Exact', 'exact']) {
      const reply = await stack.askFor('', { headers: [['Authorization', value]] })
      assert.equal(reply.status, 401, value)
    }
  })
})

describe('the cache behind a configuration that strips nothing', () => {
  it('deletes what the client sent under a managed name', async () => {
    const stack = await startCacheStack({
      editConfig: (text) => text.replace(/^ *http-request del-header \^x.*$/gm, ''),
    })
    try {
      await stack.untilRemembered()
      stack.reset()
      const reply = await stack.askFor('alice', {
        headers: [
          ['Authorization', 'Bearer alice'],
          ['X-Auth-Request-User', 'eve'],
          ['X-Auth-Request-Roles', 'admin'],
        ],
      })
      assert.ok(isHit(reply))
      const [seen] = stack.app.requests
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      assert.deepEqual(values(seen, 'x-auth-request-roles'), [])
    } finally {
      await stack.stop()
    }
  })
})

describe('the bounds of the cache', () => {
  it('are its entries: the least recently used go first', async () => {
    const stack = await startCacheStack({
      env: { ENTRA_AUTH_CACHE_ENTRIES: '3' },
    })
    try {
      await stack.untilRemembered('a')
      for (const token of ['b', 'c', 'a', 'd']) await stack.askFor(token)
      // "b" was the one that nobody had asked for again.
      for (const token of ['a', 'c', 'd']) assert.ok(isHit(await stack.askFor(token)), token)
      assert.equal(isHit(await stack.askFor('b')), false)
      const metrics = await eventually(
        async () => {
          await stack.askFor('a')
          return readMetrics(stack)
        },
        (all) => (all.get('cache_evictions_total') ?? 0) >= 2,
      )
      assert.equal(metrics.get('cache_entries'), 3)
    } finally {
      await stack.stop()
    }
  })

  it('are its bytes, whatever the size of tokens and identities', async () => {
    const limit = 1_000_000
    const stack = await startCacheStack({ env: { ENTRA_AUTH_CACHE_BYTES: String(limit) } })
    try {
      await stack.untilRemembered()
      stack.verifier.script = () => allow({ ...alice, 'X-Auth-Request-Groups': 'g'.repeat(4000) })
      const bytesAtStart = await residentBytes(stack.haproxy.pid)
      // Far more than may stay: 35 MB.
      for (let index = 0; index < 2500; index++) {
        assert.equal((await stack.askFor(`${'t'.repeat(8000)}${index}`)).status, 200)
      }
      const metrics = await eventually(
        async () => {
          await stack.askFor()
          return readMetrics(stack)
        },
        (all) => (all.get('cache_evictions_total') ?? 0) > 2000,
      )
      const bytes = metrics.get('cache_bytes') ?? 0
      assert.ok(bytes > limit / 2 && bytes <= limit, `${bytes} bytes`)
      const grown = (await residentBytes(stack.haproxy.pid)) - bytesAtStart
      assert.ok(grown < 16_000_000, `${grown} bytes more in memory`)
    } finally {
      await stack.stop()
    }
  })

  it('are lifted by nobody: without entries there is no cache and no poll', async () => {
    const stack = await startCacheStack({ env: { ENTRA_AUTH_CACHE_ENTRIES: '0' } })
    try {
      for (let index = 0; index < 5; index++) assert.equal(isHit(await stack.askFor()), false)
      assert.equal(stack.verifier.calls.length, 5)
      assert.equal(stack.verifier.polls.length, 0)
    } finally {
      await stack.stop()
    }
  })

  it('are not filled by verdicts whose time is over', async () => {
    const stack = await startCacheStack()
    try {
      await stack.untilRemembered()
      stack.verifier.script = () => allowFor(1)
      for (let index = 0; index < 50; index++) await stack.askFor(`short-${index}`)
      const entries = async () => {
        await stack.askFor()
        return (await readMetrics(stack)).get('cache_entries')
      }
      // The one in front of them in the list has its own time.
      await eventually(entries, (count) => count === 1, 4000)
    } finally {
      await stack.stop()
    }
  })
})

describe('a hundred thousand requests', () => {
  it('of two identities over shared connections are never mixed up', async () => {
    const stack = await startCacheStack({
      editLua: pollingFast,
      // The answer comes from HAProxy itself, after the action.
      editConfig: (text) =>
        text
          .replace(
            'server app',
            'http-request return status 200 content-type text/plain lf-string "<%[req.fhdr(x-auth-request-user)] %[req.fhdr_cnt(x-auth-request-user)] %[var(txn.entra.user)]>"\n    server app',
          )
          .replace('option dontlognull', 'option dontlognull\n    option dontlog-normal'),
    })
    try {
      // Short lives, so that verdicts are kept and dropped all the time.
      stack.verifier.script = (call) =>
        allowFor(1, { ...alice, 'X-Auth-Request-User': tokenOf(call) })
      const mixed = await Promise.all(
        Array.from({ length: 10 }, (_, seed) => sendMany(stack.haproxy.port, 10_000, seed)),
      )
      assert.deepEqual(mixed, Array(10).fill(0))
      const calls = stack.verifier.calls.length
      assert.ok(calls < 50_000, `${calls} calls, so next to nothing was remembered`)
    } finally {
      await stack.stop()
    }
  })
})

/** Sends requests of two users in a row on one connection; returns how many answers were wrong. */
function sendMany(port: number, count: number, seed: number): Promise<number> {
  const users = Array.from({ length: count }, (_, index) =>
    (index * 7919 + seed) % 5 < 2 ? 'alice' : 'bob',
  )
  const slice = 250
  return new Promise((done, fail) => {
    let sent = 0
    let seen = 0
    let wrong = 0
    let text = ''
    const socket = connect(port, '127.0.0.1', sendSlice)
    function sendSlice() {
      const requests = users
        .slice(sent, sent + slice)
        .map((user) => `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${user}\r\n\r\n`)
      sent += requests.length
      socket.write(requests.join(''))
    }
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      let end = 0
      for (const answered of text.matchAll(/<([^>]*)>/g)) {
        const user = users[seen++]
        if (answered[1] !== `${user} 1 ${user}`) wrong++
        end = (answered.index ?? 0) + answered[0].length
      }
      text = text.slice(end)
      if (seen === count) {
        socket.destroy()
        done(wrong)
      } else if (seen === sent) sendSlice()
    })
    socket.on('error', fail)
    socket.on('close', () => fail(new Error(`closed after ${seen} answers: ${text}`)))
    socket.setTimeout(20_000, () => fail(new Error(`no answer after ${seen}: ${text}`)))
  })
}

async function residentBytes(pid: number): Promise<number> {
  const { readFile } = await import('node:fs/promises')
  const pages = Number((await readFile(`/proc/${pid}/statm`, 'utf8')).split(' ')[1])
  return pages * 4096
}
