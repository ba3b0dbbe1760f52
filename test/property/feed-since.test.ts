/**
 * HAProxy may be told only what is new since its last answer, by replicas that answer in turn and know different
 * things. The oracle is what each replica has: whoever just heard it has to know all of it.
 */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { addRevocationFeed } from '../../src/verify/revocation-feed.ts'
import type { Rules } from '../../src/verify/rules.ts'
import { startMs } from '../support/ids.ts'
import { fc } from '../support/property.ts'

interface Entry {
  readonly kind: 'token'
  readonly id: string
  readonly before: number
  readonly until: number
}

const rules = {
  version: 'one',
  policies: new Map(),
  resources: new Map(),
  callerKeys: [],
  authorities: new Map(),
} as unknown as Rules

function createReplica() {
  const replica = { list: new Map<string, Entry>(), nowMs: startMs }
  let handler: (request: object, reply: object) => unknown = () => assert.fail('no route')
  const app = {
    get(_path: string, given: typeof handler) {
      handler = given
    },
  } as unknown as FastifyInstance
  let list = createRevocationList([])
  addRevocationFeed(app, {
    rules: () => rules,
    revocations: () => list,
    clock: () => replica.nowMs,
  })
  return {
    replica,
    change() {
      list = createRevocationList([...replica.list.values()])
    },
    ask(headers: Readonly<Record<string, string>>) {
      const said: { status: number; headers: Map<string, string>; body?: string } = {
        status: 200,
        headers: new Map(),
      }
      const reply = {
        header(name: string, value: string) {
          said.headers.set(name, value)
          return reply
        },
        code(status: number) {
          said.status = status
          return reply
        },
        type: () => reply,
        send(body?: string) {
          if (body !== undefined) said.body = body
        },
      }
      handler({ headers, raw: { rawHeaders: [] } }, reply)
      return said
    },
  }
}

/** What the action does with a feed: see judgeFeed, shareKnown and keepKnown in its file. */
class Front {
  known = new Map<string, number>()
  tags: string[] = []
  news = 0

  poll(replica: ReturnType<typeof createReplica>, nowSeconds: number, isWholeDue: boolean): void {
    const isWhole = isWholeDue || this.tags.length === 0
    const etag = this.tags.at(-1) ?? ''
    const tags = isWhole
      ? {}
      : { 'if-none-match': etag, 'x-entra-auth-feed-since': this.tags.join(', ') }
    const said = replica.ask({ 'x-entra-auth-feed': '2', ...tags })
    if (said.status === 304) return
    const since = said.headers.get('X-Entra-Auth-Feed-Since')
    if (since !== undefined) {
      assert.ok(!isWhole && this.tags.includes(since), since)
      this.news++
    }
    if (isWhole) {
      this.known = new Map([...this.known].filter(([, ending]) => ending > nowSeconds))
      this.tags = []
    }
    for (const { id, until } of JSON.parse(said.body ?? '').revocations as Entry[]) {
      this.known.set(id, Math.max(until, this.known.get(id) ?? 0))
    }
    const last = said.headers.get('ETag') ?? ''
    this.tags = [...this.tags.filter((tag) => tag !== last), last].slice(-3)
  }
}

const which = fc.integer({ min: 0, max: 1 })
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('add' as const),
      replica: which,
      id: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      life: fc.constantFrom(1, 60, 3_600),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('remove' as const),
      replica: which,
      id: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('clock' as const),
      replica: which,
      ms: fc.constantFrom(-7_200_000, -1_000, 1_000, 61_000, 7_200_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), replica: which }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('poll' as const),
      replica: which,
      front: which,
      isWholeDue: fc.boolean(),
    }),
  },
)

it('who hears only what is new knows all that the replica has, which it heard last', () => {
  let news = 0
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 80 }), (steps) => {
      const replicas = [createReplica(), createReplica()]
      const fronts = [new Front(), new Front()]
      for (const each of steps) {
        const index = each.replica
        const { replica, change } = replicas[index] as ReturnType<typeof createReplica>
        const nowSeconds = replica.nowMs / 1000
        if (each.do === 'add') {
          const until = Math.floor(nowSeconds) + each.life
          replica.list.set(each.id, { kind: 'token', id: each.id, before: 0, until })
          change()
        } else if (each.do === 'remove') {
          replica.list.delete(each.id)
          change()
        } else if (each.do === 'clock') {
          replica.nowMs += each.ms
        } else if (each.do === 'restart') {
          const fresh = createReplica()
          fresh.replica.list = replica.list
          fresh.replica.nowMs = replica.nowMs
          fresh.change()
          replicas[index] = fresh
        } else {
          const front = fronts[each.front] as Front
          front.poll(
            replicas[index] as ReturnType<typeof createReplica>,
            startMs / 1000,
            each.isWholeDue,
          )
          for (const { id, until } of replica.list.values()) {
            if (until <= nowSeconds) continue
            const ending = front.known.get(id)
            assert.ok(ending !== undefined && ending >= until, `${id} is missing`)
          }
        }
      }
      news += fronts.reduce((sum, front) => sum + front.news, 0)
    }),
    { numRuns: 500 },
  )
  // Otherwise nothing was shown.
  assert.ok(news > 200, `${news}`)
})
