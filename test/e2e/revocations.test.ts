import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { bestOfThree } from '../support/best-of-three.ts'
import { eventually } from '../support/eventually.ts'
import { type CacheStack, isHit, pollingFast, startCacheStack } from './cache-stack.ts'
import { values } from './client.ts'
import {
  alice,
  allow,
  allowHeaders,
  answer,
  deny,
  issuedAt,
  type Revocation,
  revocations,
  type Said,
  type Script,
} from './fake-verifier.ts'

const until = Math.floor(Date.now() / 1000) + 3600
const aliceRevoked: Revocation = {
  kind: 'user',
  id: 'contoso-tid/alice-oid',
  before: issuedAt + 1,
  until,
}
const refused: Script = () => deny(401, 'revoked')

describe('a revocation', () => {
  let stack: CacheStack
  before(async () => {
    // Polls as often as they ship.
    stack = await startCacheStack({ editLua: (text) => `${text}\n` })
  })
  after(() => stack.stop())
  beforeEach(async () => {
    stack.reset()
    stack.verifier.feed = revocations()
  })

  for (const [kind, id, before] of [
    ['user', 'contoso-tid/alice-oid', issuedAt + 1],
    ['user', 'Contoso-TID/Alice-OID', issuedAt + 1],
    ['client', 'contoso-tid/client-appid', issuedAt + 1],
    ['tenant', 'contoso-tid', issuedAt + 1],
    ['token', 'token-uti', 0],
    ['key', 'key-kid', 0],
  ] as const) {
    it(`of a ${kind} ends a verdict within a poll: ${id}`, async () => {
      // A process of its own: what was revoked once stays so until its time is over.
      const own = await startCacheStack({ editLua: (text) => `${text}\n` })
      try {
        await own.untilRemembered()
        own.verifier.script = refused
        assert.ok(isHit(await own.askFor()))
        own.verifier.feed = revocations([{ kind, id, before, until }])
        const { reply, polls, lastHitMs } = await own.untilForgotten()
        assert.equal(reply.status, 401)
        // Two threads at most: the other one may poll twice before this one does.
        assert.ok(polls <= 4 && lastHitMs < 1700, `${polls} polls, ${lastHitMs} ms`)
        // Not even for a new verdict of a verifier that does not know yet.
        own.verifier.script = () => allow()
        for (let index = 0; index < 3; index++) assert.equal(isHit(await own.askFor()), false)
      } finally {
        await own.stop()
      }
    })
  }

  for (const order of [
    ['until', 'before', 'id', 'kind'],
    ['before', 'kind', 'until', 'id'],
    ['kind', 'id', 'before', 'until'],
  ]) {
    it(`counts the same with blanks, fractions and the members ${order.join(', ')}`, async () => {
      await stack.untilRemembered()
      // Between the largest time that does not end the verdict, and the time at which it was issued.
      const { id, kind } = aliceRevoked
      const members: Record<string, unknown> = { kind, id, before: issuedAt + 0.5, until }
      const inOrder = Object.fromEntries(order.map((name) => [name, members[name]]))
      const body = JSON.stringify({ version: 'version-1', revocations: [inOrder] }, null, 2)
      stack.verifier.script = refused
      stack.verifier.feed = () => answer(200, [], body)
      const { reply } = await stack.untilForgotten()
      assert.equal(reply.status, 401)
      // The next one begins without it.
      await stack.stop()
      stack = await startCacheStack({ editLua: (text) => `${text}\n` })
    })
  }

  for (const id of ['u', 'ut', '%25', 'X'.repeat(300)]) {
    it(`of a token ends its verdict, however long its id is: ${id.slice(0, 4)}`, async () => {
      const own = await startCacheStack({ editLua: (text) => `${text}\n` })
      try {
        own.verifier.script = () => allow().replaceAll('token-uti', id)
        await own.untilRemembered()
        own.verifier.script = refused
        const said = id.replaceAll('%25', '%')
        own.verifier.feed = revocations([{ kind: 'token', id: said, before: 0, until }])
        assert.equal((await own.untilForgotten()).reply.status, 401)
      } finally {
        await own.stop()
      }
    })
  }

  it('leaves everybody else alone', async () => {
    const others = ['user', 'client', 'tenant', 'token', 'key'].flatMap((kind) =>
      ['contoso-tid/bob-oid', 'alice-oid', 'other-tid', 'other', '/'].map((id) => ({
        kind,
        id,
        before: issuedAt + 1,
        until,
      })),
    )
    await stack.untilRemembered()
    stack.verifier.feed = revocations(others)
    await stack.morePolls(1)
    assert.ok(isHit(await stack.askFor()))
  })

  it('of earlier tokens leaves a later one alone', async () => {
    await stack.untilRemembered()
    stack.verifier.feed = revocations([
      { ...aliceRevoked, before: issuedAt },
      { kind: 'tenant', id: 'contoso-tid', before: issuedAt, until },
      { kind: 'client', id: 'contoso-tid/client-appid', before: issuedAt - 100, until },
    ])
    await stack.morePolls(1)
    assert.ok(isHit(await stack.askFor()))
  })
})

describe('what the verifier says of revocations', () => {
  async function withStack(
    options: Parameters<typeof startCacheStack>[0],
    run: (stack: CacheStack) => Promise<void>,
  ): Promise<void> {
    const stack = await startCacheStack(options)
    try {
      await run(stack)
    } finally {
      await stack.stop()
    }
  }

  /** Two threads that poll in step would each hear every other replica only. */
  function onOneThread(config: string): string {
    return config.replace(/^ *noreuseport$/m, '$&\n    nbthread 1')
  }

  async function assertNeverRemembered(stack: CacheStack, times = 5): Promise<void> {
    for (let index = 0; index < times; index++) assert.equal(isHit(await stack.askFor()), false)
  }

  it('ends a verdict that was under way when the revocation came', () =>
    withStack({}, async (stack) => {
      await stack.untilRemembered()
      let decide: (said: Said) => void = () => {}
      stack.verifier.script = () =>
        new Promise((done) => {
          decide = done
        })
      const late = stack.askFor('late')
      await eventually(
        () => stack.verifier.calls.at(-1),
        (call) => isOf(call, 'late'),
      )
      stack.verifier.feed = revocations([aliceRevoked])
      await stack.morePolls(1)
      decide(allow())
      assert.equal((await late).status, 200)
      stack.verifier.script = refused
      assert.equal((await stack.askFor('late')).status, 401)
    }))

  it('ends a verdict that came just before the revocation', () =>
    withStack({}, async (stack) => {
      await stack.untilRemembered()
      let tell: (said: Said) => void = () => {}
      stack.verifier.feed = () =>
        new Promise((done) => {
          tell = done
        })
      const polls = stack.verifier.polls.length
      await eventually(
        () => stack.verifier.polls.length,
        (count) => count > polls,
      )
      assert.ok(isHit(await stack.untilRemembered('just-before')))
      const said = revocations([aliceRevoked])
      stack.verifier.feed = said
      tell(answer(200, [], JSON.stringify({ version: 'version-1', revocations: [aliceRevoked] })))
      stack.verifier.script = refused
      const { reply, lastHitMs } = await stack.untilForgotten('just-before')
      assert.equal(reply.status, 401)
      assert.ok(lastHitMs < 1500, `${lastHitMs} ms`)
    }))

  it('adds up over replicas that answer in turn', () =>
    withStack({}, async (stack) => {
      await stack.untilRemembered()
      const knows = revocations([aliceRevoked])
      const knowsNothing = revocations()
      let polls = 0
      // Every third, so that two threads that poll in step hear of it both.
      stack.verifier.feed = (call) => (polls++ % 3 === 0 ? knows : knowsNothing)(call)
      await eventually(
        () => stack.askFor(),
        (reply) => !isHit(reply),
      )
      for (let index = 0; index < 10; index++) {
        await assertNeverRemembered(stack, 2)
        await stack.morePolls(1)
      }
    }))

  it('drops no other verdict when replicas answer in turn, whatever each knows', () =>
    withStack({ editConfig: onOneThread }, async (stack) => {
      const known = (...users: readonly string[]) =>
        revocations(users.map((user) => ({ ...aliceRevoked, id: `contoso-tid/${user}-oid` })))
      // A list each, in another order, with another ETag; one that does not know its own yet.
      const replicas = [known('bob', 'carol'), known('carol', 'bob'), known(), known('dave')]
      let polls = 0
      stack.verifier.feed = (call) => (replicas[polls++ % replicas.length] ?? refused)(call)
      await stack.morePolls(3)
      await stack.untilRemembered()
      const calls = stack.verifier.calls.length
      const until = stack.verifier.polls.length + 12
      await eventually(
        async () => {
          assert.ok(isHit(await stack.askFor()))
          return stack.verifier.polls.length
        },
        (count) => count >= until,
      )
      assert.equal(stack.verifier.calls.length, calls)
      // And none of what any of them said was missed.
      for (const user of ['bob', 'carol', 'dave']) {
        stack.verifier.script = () => allow({ ...alice, 'X-Auth-Request-User': `${user}-oid` })
        for (let index = 0; index < 3; index++) {
          assert.equal(isHit(await stack.askFor(user)), false, user)
        }
      }
    }))

  it('holds until its time is over, when nobody says it any more', () => {
    // Then it is dropped when all is read the next time.
    const often = (lua: string) =>
      pollingFast(lua).replace('WHOLE_FEED_MS = 60000', 'WHOLE_FEED_MS = 100')
    return withStack({ editLua: often }, async (stack) => {
      await stack.untilRemembered()
      const soon = Math.floor(Date.now() / 1000) + 2
      stack.verifier.feed = revocations([{ ...aliceRevoked, until: soon }])
      await stack.morePolls(1)
      await assertNeverRemembered(stack)
      stack.verifier.feed = revocations()
      await stack.morePolls(2)
      if (Date.now() / 1000 < soon - 0.2) await assertNeverRemembered(stack)
      // Always another state, so that there is something to read.
      let count = 0
      await eventually(async () => {
        const id = `contoso-tid/user-${count++}`
        stack.verifier.feed = revocations([{ ...aliceRevoked, id }])
        await stack.morePolls(1)
        await stack.askFor()
        return stack.askFor()
      }, isHit)
      assert.ok(Date.now() / 1000 >= soon, 'forgotten too early')
    })
  })

  it('stays active as long as the verifier lists it, whatever its time', () =>
    withStack({}, async (stack) => {
      await stack.untilRemembered()
      stack.verifier.feed = revocations([{ ...aliceRevoked, until: 1 }])
      await stack.morePolls(2)
      await assertNeverRemembered(stack)
    }))

  it('belongs to one version of the configuration', () =>
    withStack({}, async (stack) => {
      await stack.untilRemembered()
      stack.verifier.feed = revocations([], 'version-2')
      const { lastHitMs } = await stack.untilForgotten()
      assert.ok(lastHitMs < 1500, `${lastHitMs} ms`)
      await stack.morePolls(1)
      // Still said by a replica with the old configuration.
      await assertNeverRemembered(stack)
      const rest = allowHeaders().filter(([name]) => name !== 'X-Entra-Auth-Version')
      stack.verifier.script = () => answer(200, [...rest, ['X-Entra-Auth-Version', 'version-2']])
      await stack.untilRemembered()
    }))

  it('is asked for with the caller key and the last ETag', () =>
    withStack({ env: { ENTRA_AUTH_CALLER_KEY: 'key-of-the-caller' } }, async (stack) => {
      await stack.untilRemembered()
      await stack.morePolls(2)
      const [last] = stack.verifier.polls.slice(-1)
      assert.ok(last)
      assert.equal(last.method, 'GET')
      assert.deepEqual(values(last, 'x-entra-auth-key'), ['key-of-the-caller'])
      assert.equal(values(last, 'if-none-match').length, 1)
      assert.deepEqual(values(last, 'authorization'), [])
    }))

  it('is good for as long as 304 is the answer', () =>
    withStack({ env: { ENTRA_AUTH_FEED_STALE_SECONDS: '2' } }, async (stack) => {
      await bestOfThree(async () => {
        await stack.untilRemembered()
        const start = performance.now()
        while (performance.now() - start < 3000) {
          assert.ok(isHit(await stack.askFor()))
          await new Promise((next) => setTimeout(next, 50))
        }
      })
    }))

  it('is not known from a 304 alone', () =>
    withStack({ feed: () => 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n' }, async (stack) => {
      await stack.morePolls(2)
      await assertNeverRemembered(stack)
    }))

  for (const [what, feed] of Object.entries<Script>({
    'no answer': () => 'hang',
    'a closed connection': () => 'close',
    'status 500': () => answer(500),
    'status 503': () => answer(503),
    'status 404': () => answer(404),
    'status 403': () => deny(403, 'caller_not_allowed'),
    garbage: () => ({ garbage: 'nonsense\r\n\r\n' }),
    'half an answer': () => answer(200, [], '{"version":"version-1","revocat'),
    'a 304 to another state': () => 'HTTP/1.1 304 Not Modified\r\nETag: "other"\r\n\r\n',
  })) {
    it(`goes stale, and the cache with it: ${what}`, () =>
      withStack({ env: { ENTRA_AUTH_FEED_STALE_SECONDS: '2' } }, async (stack) => {
        await stack.untilRemembered()
        stack.verifier.feed = feed
        const { pollsAtLastHit, lastHitMs, ms } = await stack.untilForgotten()
        // One bad answer is not the end.
        assert.ok(pollsAtLastHit >= 2, `the last hit after ${pollsAtLastHit} polls`)
        assert.ok(
          ms > 1000 && lastHitMs < 2500,
          `the last hit at ${lastHitMs} ms, none at ${ms} ms`,
        )
        await assertNeverRemembered(stack)
        stack.verifier.feed = revocations()
        await stack.untilRemembered()
      }))
  }

  it('is as old as the question', () =>
    withStack({ env: { ENTRA_AUTH_FEED_STALE_SECONDS: '2' } }, async (stack) => {
      await stack.untilRemembered()
      const said = revocations()
      const after = (ms: number): Script => {
        return (call) => new Promise((done) => setTimeout(() => done(said(call)), ms))
      }
      stack.verifier.feed = after(500)
      await stack.morePolls(2)
      await stack.untilRemembered()
      // The section in between waits no longer than a second, twice at most.
      stack.verifier.feed = after(5000)
      let misses = 0
      await eventually(
        async () => {
          misses = isHit(await stack.askFor()) ? 0 : misses + 1
          return misses
        },
        // For longer than an answer can still be under way.
        (row) => row >= 100,
        8000,
      )
    }))

  it('is strict: an answer of any other form is rejected', () => {
    const one = JSON.stringify(aliceRevoked)
    const state = (list: string) => `{"version":"version-1","revocations":[${list}]}`
    const odd = [
      ...['', 'null', '[]', '{}', '{"version":"version-1"}', '{"revocations":[]}'],
      '{"version":1,"revocations":[]}',
      '{"version":"","revocations":[]}',
      '{"version":"version-1","revocations":{}}',
      '{"version":"version-1","revocations":null}',
      '{"version":"version-1","version":"version-1","revocations":[]}',
      '{"version":"version-1","revocations":[],"more":[]}',
      '{"version":"version\\u002d1","revocations":[]}',
      ...[`${state('')}x`, `${state('')}${state('')}`, `x${state('')}`, state('').slice(0, -1)],
      ...[state(','), state(`${one},`), state(`,${one}`), state(`${one}${one}`), state('null')],
      ...[state('{}'), state('[]'), state('1'), state('"x"'), state(one.slice(0, -1))],
      state(one.replace('"user"', '"group"')),
      state(one.replace('"kind":"user",', '')),
      state(one.replace(',"until":', ',"unless":')),
      state(one.replace(/,"until":\d+/, '')),
      state(one.replace('"kind"', '"id"')),
      state(one.replace('{', '{"more":1,')),
      state(one.replace('}', ',"more":1}')),
      state(one.replace(/"before":\d+/, '"before":-1')),
      state(one.replace(/"before":\d+/, '"before":"1"')),
      state(one.replace(/"before":\d+/, '"before":null')),
      state(one.replace(/"before":\d+/, '"before":1e400')),
      state(one.replace(/"before":\d+/, `"before":${'9'.repeat(400)}`)),
      state(one.replace('alice-oid', 'alice\\u002doid')),
      state(one.replace('alice-oid', 'alice\noid')),
      state(one.replace('alice-oid', 'Jürgen')),
      state(one.replace('"contoso-tid/alice-oid"', '""')),
      state(one.replace(',"before"', ' "before"')),
      state(one.replace(',"before"', '},"before"')),
    ]
    let next = 0
    const feed: Script = () => answer(200, [], odd[Math.min(next++, odd.length - 1)])
    return withStack({ feed, editLua: pollingFast }, async (stack) => {
      while (next <= odd.length) await assertNeverRemembered(stack, 1)
      // The same with blanks, and in another order, is the state again.
      const { kind, id, before } = aliceRevoked
      const spaced = { version: 'version-1', revocations: [{ until, before, id: `${id}2`, kind }] }
      stack.verifier.feed = () => answer(200, [], ` ${JSON.stringify(spaced, null, 2)}\n`)
      await stack.untilRemembered()
    })
  })

  it('has a length and an end', () => {
    const body = JSON.stringify({ version: 'version-1', revocations: [] })
    const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
    const chunk = `${body.length.toString(16)}\r\n${body}\r\n`
    function* forEver(head: string, piece: string): Iterable<string> {
      yield head
      for (;;) yield piece
    }
    const odd: Said[] = [
      `${chunked}${chunk}0\r\n\r\n`,
      { pieces: forEver(chunked, chunk), everyMs: 10 },
      { pieces: forEver('HTTP/1.1 200 OK\r\n\r\n', ' '), everyMs: 10 },
      {
        pieces: forEver('HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 100 Continue\r\n\r\n'),
        everyMs: 10,
      },
      answer(200, [], `${body}${' '.repeat(4 * 1024 * 1024)}`),
    ]
    let next = 0
    const feed: Script = () => odd[next++ % odd.length] ?? 'close'
    return withStack({ feed }, async (stack) => {
      await stack.morePolls(odd.length)
      await assertNeverRemembered(stack)
      stack.verifier.feed = revocations()
      await stack.untilRemembered()
    })
  })

  it('may be ten thousand revocations and not one more', () => {
    const list = (count: number) =>
      Array.from({ length: count }, (_, index) => ({
        ...aliceRevoked,
        id: `contoso-tid/user-${index}`,
      }))
    return withStack({ feed: revocations(list(10_000)) }, async (stack) => {
      await stack.untilRemembered()
      stack.verifier.feed = revocations(list(10_001))
      await eventually(
        () => stack.askFor(),
        (reply) => !isHit(reply),
      )
      await stack.haproxy.waitForLog((line) => line.includes('more than 10000 revocations'))
      await stack.morePolls(2)
      await assertNeverRemembered(stack)
      stack.verifier.feed = revocations([aliceRevoked])
      // With those that were known before it is one too many: they hold until their time is over.
      await stack.morePolls(2)
      await assertNeverRemembered(stack)
    })
  })

  it('may be ten thousand, and the thread serves requests while it reads them', () =>
    withStack({ editConfig: onOneThread }, async (stack) => {
      const seen: number[] = []
      for (let round = 0; round < 3 && !seen.some((count) => count >= 15); round++) {
        const id = `token-of-round-${round}`
        stack.verifier.script = () => allow().replaceAll('token-uti', id)
        await stack.untilRemembered(id)
        const list = Array.from({ length: 9_900 + round }, (_, index) => `token-${index}`)
        const feed = revocations(
          [...list, id].map((id) => ({ kind: 'token', id, before: 0, until })),
        )
        let isSaid = false
        let served = 0
        stack.verifier.feed = (call) => {
          isSaid = true
          return feed(call)
        }
        while (isHit(await stack.askFor(id))) if (isSaid) served++
        seen.push(served)
      }
      // Two or three where one task keeps the thread until it is done.
      assert.ok(
        seen.some((count) => count >= 15),
        `${seen} requests were served meanwhile`,
      )
    }))

  it('is not said by an older verifier: no cache, and one line in the log', () =>
    withStack({ feed: () => answer(404) }, async (stack) => {
      await stack.morePolls(3)
      await assertNeverRemembered(stack)
      assert.equal(stack.verifier.calls.length, 5)
      const lines = stack.haproxy.logLines.filter((line) => line.includes('status 404'))
      assert.ok(lines.length >= 1 && lines.length <= 2, lines.join('\n'))
    }))
})

describe('an outage of the verifier', () => {
  it('is bridged for the known until the word on revocations is stale', async () => {
    const stack = await startCacheStack({ env: { ENTRA_AUTH_FEED_STALE_SECONDS: '3' } })
    try {
      await stack.untilRemembered()
      await stack.verifier.stop()
      for (let index = 0; index < 20; index++) assert.ok(isHit(await stack.askFor()))
      const applied = stack.app.requests.length
      assert.equal((await stack.askFor('unknown')).status, 503)
      assert.equal(stack.app.requests.length, applied)
      const { reply, lastHitMs, ms } = await stack.untilForgotten()
      assert.equal(reply.status, 503)
      assert.ok(ms > 2000 && lastHitMs < 3500, `the last hit at ${lastHitMs} ms, none at ${ms} ms`)
      const admitted = stack.app.requests.length
      for (let index = 0; index < 5; index++) {
        assert.equal((await stack.askFor()).status, 503)
      }
      assert.equal(stack.app.requests.length, admitted)
      await stack.verifier.restart()
      await stack.untilRemembered()
    } finally {
      await stack.stop()
    }
  })
})

function isOf(call: Parameters<Script>[0] | undefined, token: string): boolean {
  return call !== undefined && values(call, 'authorization')[0] === `Bearer ${token}`
}
