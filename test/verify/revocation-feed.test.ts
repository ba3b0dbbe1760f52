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
  /** The body; undefined for a 304. */
  function poll():
    | { version: string; revocations: { id: string }[]; challenges: object }
    | undefined {
    let body: string | undefined
    const reply = {
      header(name: string, value: string) {
        if (name === 'ETag') etag = value
        return reply
      },
      code: () => reply,
      type: () => reply,
      send(sent?: string) {
        body = sent
        return reply
      },
    }
    const headers = { 'if-none-match': etag, 'x-entra-auth-feed': '2' }
    handler({ headers, raw: { rawHeaders: [] } }, reply)
    return body === undefined ? undefined : JSON.parse(body)
  }
  assert.deepEqual(
    poll()?.revocations.map(({ id }) => id),
    ['first'],
  )
  assert.equal(poll(), undefined)
  return { parts, poll, retired, rulesOf }
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
