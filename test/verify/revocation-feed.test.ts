/** The answer to a poll is kept; each thing that it is made of must replace it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { addRevocationFeed } from '../../src/verify/revocation-feed.ts'
import type { Rules } from '../../src/verify/rules.ts'
import { startMs } from '../support/ids.ts'

type Handler = (request: object, reply: object) => unknown

const until = startMs / 1000 + 7_200
const listOf = (...ids: readonly string[]) =>
  createRevocationList(ids.map((id) => ({ kind: 'key', id, before: 0, until })))

/** A feed whose parts a test can replace, polled as HAProxy does: with the tag of the last answer. */
function createFeed() {
  const retired: { id: string; atMs: number }[] = []
  const rulesOf = (version: string, reportOnlyUntilMs = 0) =>
    ({
      version,
      policies: new Map([['orders', { name: 'orders', admitsSessions: false, reportOnlyUntilMs }]]),
      resources: new Map(),
      callerKeys: [],
      authorities: new Map([['contoso', { retiredKeys: () => [...retired] }]]),
    }) as unknown as Rules
  const parts = { rules: rulesOf('one'), list: listOf('first'), nowMs: startMs }
  let handler: Handler = () => assert.fail('no route')
  const app = {
    get(_path: string, given: Handler) {
      handler = given
    },
  } as unknown as FastifyInstance
  addRevocationFeed(app, {
    rules: () => parts.rules,
    revocations: () => parts.list,
    clock: () => parts.nowMs,
  })
  let etag = ''
  let saidSince: string | undefined
  /** The body; undefined for a 304. With `more`, for a poll that names an answer that it knows. */
  function poll(
    more: Readonly<Record<string, string>> = {},
  ): { version: string; revocations: { id: string }[]; challenges: object } | undefined {
    let body: string | undefined
    saidSince = undefined
    const reply = {
      header(name: string, value: string) {
        if (name === 'ETag') etag = value
        if (name === 'X-Entra-Auth-Feed-Since') saidSince = value
        return reply
      },
      code: () => reply,
      type: () => reply,
      send(sent?: string) {
        body = sent
        return reply
      },
    }
    const headers = { 'if-none-match': etag, 'x-entra-auth-feed': '2', ...more }
    handler({ headers, raw: { rawHeaders: [] } }, reply)
    return body === undefined ? undefined : JSON.parse(body)
  }
  assert.deepEqual(
    poll()?.revocations.map(({ id }) => id),
    ['first'],
  )
  assert.equal(poll(), undefined)
  /** What a poll hears that asks for what is new since the answer with this tag: ids, and whether they are all. */
  function pollSince(tag = etag) {
    const said = poll({ 'if-none-match': tag, 'x-entra-auth-feed-since': tag })
    assert.ok(saidSince === undefined || saidSince === tag, saidSince)
    return said && { ids: said.revocations.map(({ id }) => id), isAll: saidSince === undefined }
  }
  return { parts, poll, pollSince, tag: () => etag, since: () => saidSince, retired, rulesOf }
}

describe('the answer that is kept for polls', () => {
  it('is replaced with the rules', () => {
    const { parts, poll, rulesOf } = createFeed()
    parts.rules = rulesOf('two')
    assert.equal(poll()?.version, 'two')
    assert.equal(poll(), undefined)
  })

  it('is replaced with the list of revocations', () => {
    const { parts, poll } = createFeed()
    parts.list = listOf('first', 'second')
    assert.deepEqual(
      poll()?.revocations.map(({ id }) => id),
      ['first', 'second'],
    )
    assert.equal(poll(), undefined)
  })

  it('is replaced when an authority withdraws a key', () => {
    const { poll, retired } = createFeed()
    retired.push({ id: 'withdrawn', atMs: startMs })
    assert.deepEqual(
      poll()?.revocations.map(({ id }) => id),
      ['first', 'withdrawn'],
    )
    assert.equal(poll(), undefined)
  })

  it('is replaced when the first entry ends, and not before', () => {
    const { parts, poll } = createFeed()
    parts.nowMs = until * 1000 - 1
    assert.equal(poll(), undefined)
    parts.nowMs = until * 1000
    assert.deepEqual(poll()?.revocations, [])
  })

  it('has an entry again that a clock had ended which was ahead', () => {
    const { parts, poll } = createFeed()
    parts.nowMs = until * 1000
    assert.deepEqual(poll()?.revocations, [])
    parts.nowMs = startMs
    assert.deepEqual(
      poll()?.revocations.map(({ id }) => id),
      ['first'],
    )
  })

  it('is replaced when a policy begins to refuse, and not before', () => {
    const { parts, poll, rulesOf } = createFeed()
    const endMs = startMs + 60_000
    parts.rules = rulesOf('one', endMs)
    assert.deepEqual(poll()?.challenges, {})
    parts.nowMs = endMs - 1
    assert.equal(poll(), undefined)
    parts.nowMs = endMs
    assert.deepEqual(Object.keys(poll()?.challenges ?? {}), ['orders'])
  })
})

describe('what is new since an answer', () => {
  it('is all that came after it, and nothing else', () => {
    const { parts, pollSince, tag } = createFeed()
    const first = tag()
    parts.list = listOf('first', 'second')
    assert.deepEqual(pollSince(), { ids: ['second'], isAll: false })
    const second = tag()
    assert.equal(pollSince(), undefined)
    parts.list = listOf('third', 'first', 'second', 'fourth')
    assert.deepEqual(pollSince(second), { ids: ['third', 'fourth'], isAll: false })
    assert.deepEqual(pollSince(first), { ids: ['third', 'second', 'fourth'], isAll: false })
  })

  it('has an entry again that became longer', () => {
    const { parts, pollSince } = createFeed()
    parts.list = createRevocationList([{ kind: 'key', id: 'first', before: 0, until: until + 1 }])
    assert.deepEqual(pollSince(), { ids: ['first'], isAll: false })
  })

  it('has an entry again that was gone for a time', () => {
    const { parts, pollSince, tag } = createFeed()
    const first = tag()
    parts.nowMs = until * 1000
    assert.deepEqual(pollSince(), { ids: [], isAll: false })
    parts.nowMs = startMs
    // The same answer as before: who has it needs nothing.
    assert.equal(pollSince(first), undefined)
    parts.list = listOf('first', 'second')
    assert.deepEqual(pollSince(first), { ids: ['second'], isAll: false })
  })

  it('comes with the version and the challenges of now', () => {
    const { parts, poll, rulesOf, tag } = createFeed()
    parts.rules = rulesOf('two', startMs - 1)
    const said = poll({ 'x-entra-auth-feed-since': tag() })
    assert.equal(said?.version, 'two')
    assert.deepEqual(said?.revocations, [])
    assert.deepEqual(Object.keys(said?.challenges ?? {}), ['orders'])
  })

  it('is all where the answer is not known here', () => {
    const { parts, pollSince } = createFeed()
    parts.list = listOf('first', 'second')
    for (const tag of ['', '"other"', '__proto__', 'undefined']) {
      assert.deepEqual(pollSince(tag), { ids: ['first', 'second'], isAll: true }, tag)
    }
  })

  it('is since the latest answer of those that a poll names', () => {
    const { parts, poll, tag, since } = createFeed()
    const tags = [tag()]
    for (const ids of [['second'], ['second', 'third']]) {
      parts.list = listOf('first', ...ids)
      poll()
      tags.push(tag())
    }
    parts.list = listOf('first', 'second', 'third', 'fourth')
    const orders = [
      [0, 1, 2],
      [2, 0, 1],
      [1, 2, 0],
    ]
    for (const order of orders) {
      const named = ['"other"', ...order.map((index) => tags[index])].join(', ')
      const said = poll({ 'if-none-match': '"other"', 'x-entra-auth-feed-since': named })
      assert.deepEqual(
        said?.revocations.map(({ id }) => id),
        ['fourth'],
      )
      assert.equal(since(), tags[2])
    }
    // What was heard last is from another replica, and this one says what it said before.
    const named = `${tag()}, "other"`
    const said = poll({ 'if-none-match': '"other"', 'x-entra-auth-feed-since': named })
    assert.deepEqual(said, { version: 'one', revocations: [], challenges: said?.challenges })
    assert.equal(since(), tag())
  })

  it('is all where there are more than HAProxy takes', () => {
    const { parts, pollSince } = createFeed()
    parts.list = listOf(...Array.from({ length: 10_001 }, (_, index) => `id-${index}`))
    assert.equal(pollSince()?.isAll, true)
  })

  it('is known for the last thousand answers', () => {
    const { parts, poll, pollSince, tag } = createFeed()
    const tags = [tag()]
    for (let index = 0; index < 1_000; index++) {
      parts.list = listOf('first', `id-${index}`)
      poll()
      tags.push(tag())
    }
    parts.list = listOf('first', 'last')
    assert.equal(pollSince(tags[0])?.isAll, true)
    assert.equal(pollSince(tags[2])?.isAll, false)
  })

  it('leaves out what is gone again, and has nothing twice', () => {
    const { parts, poll, pollSince, tag } = createFeed()
    const first = tag()
    for (const ids of [['gone', 'stays'], ['stays'], ['gone'], []]) {
      parts.list = listOf('first', ...ids)
      poll()
    }
    parts.list = listOf('first', 'stays')
    assert.deepEqual(pollSince(first), { ids: ['stays'], isAll: false })
    // However much it was.
    for (const kind of ['a', 'b']) {
      parts.list = listOf(...Array.from({ length: 6_000 }, (_, index) => `${kind}-${index}`))
      poll()
    }
    parts.list = listOf('last')
    assert.deepEqual(pollSince(first), { ids: ['last'], isAll: false })
  })

  it('is not forgotten where nothing changes', () => {
    const { parts, poll, pollSince, tag, rulesOf } = createFeed()
    const first = tag()
    parts.list = listOf('first', 'second')
    // Each reload of the configuration has other rules of the same version.
    for (let index = 0; index < 1_001; index++) {
      parts.rules = rulesOf('one')
      poll()
    }
    assert.deepEqual(pollSince(first), { ids: ['second'], isAll: false })
  })

  it('is for actions of form 2 only', () => {
    const { parts, poll, tag } = createFeed()
    parts.list = listOf('first', 'second')
    const said = poll({ 'x-entra-auth-feed': '1', 'x-entra-auth-feed-since': tag() })
    assert.equal(said?.revocations.length, 2)
  })
})
