/**
 * HAProxy is told of recent revocations only. The oracle is the feed that told it of all: two HAProxies
 * live through the same, each with one of the feeds, and whom the one admits the other has to admit.
 */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { RevocationStore } from '../../src/revocation/revocation-store.ts'
import type { CopyLine, DiskCopy } from '../../src/store/disk-copy.ts'
import { createSharedRevocations } from '../../src/store/shared-revocations.ts'
import { createFakeStore } from '../support/fake-store.ts'
import { fc } from '../support/property.ts'

const startMs = 1_800_000_000_000
const cacheSeconds = 600
/** Default of ENTRA_AUTH_FEED_STALE_S, as the action has it. */
const staleMs = 15_000

function createCopy(): DiskCopy {
  let lines: CopyLine[] = []
  let isWhole = false
  return {
    load: async () => ({ lines, isWhole }),
    async append(more) {
      lines = [...lines, ...more]
    },
    async rewrite(all) {
      lines = [...all]
      isWhole = true
    },
    async markStale() {
      isWhole = false
    },
    get length() {
      return lines.length
    },
  }
}

interface FeedEntry {
  readonly id: string
  readonly until: number
}

/** What the action does with a feed: see addRevocation, remember and isStillGood in its file. */
class Front {
  known = new Map<string, number>()
  cache = new Map<string, number>()
  usableUntilMs = 0

  poll(nowMs: number, entries: readonly FeedEntry[]): void {
    const merged = new Map([...this.known].filter(([, ending]) => ending > nowMs / 1_000))
    for (const { id, until } of entries) merged.set(id, Math.max(until, merged.get(id) ?? 0))
    this.known = merged
    this.usableUntilMs = nowMs + staleMs
  }

  isHit(id: string, nowMs: number): boolean {
    if (nowMs >= this.usableUntilMs) return false
    if (nowMs < (this.cache.get(id) ?? 0) && !this.known.has(id)) return true
    this.cache.delete(id)
    return false
  }

  remember(id: string, nowMs: number, maxAgeSeconds: number): void {
    if (maxAgeSeconds <= 0 || nowMs >= this.usableUntilMs || this.known.has(id)) return
    this.cache.set(id, nowMs + maxAgeSeconds * 1_000)
  }

  restart(): void {
    this.known.clear()
    this.cache.clear()
    this.usableUntilMs = 0
  }
}

interface World {
  wait(ms: number): Promise<void>
  revoke(verifier: number, id: string): Promise<void>
  end(verifier: number, id: string): Promise<void>
  link(verifier: number, isUp: boolean): Promise<void>
  restartVerifier(verifier: number): Promise<void>
  restartFront(front: number): void
  poll(front: number, verifier: number): void
  request(front: number, verifier: number, id: string): void
  storeClock(aheadMs: number): void
  backUp(): void
  restore(): void
  /** Requests that the cache of the HAProxy with the recent feed answered. */
  readonly hits: number
  /** Entries that only the other feed had. */
  readonly left: number
}

async function createWorld(skewsMs: readonly number[]): Promise<World> {
  let nowMs = startMs
  let storeAheadMs = 0
  const store = createFakeStore(() => nowMs + storeAheadMs)
  let backup = { values: new Map(store.values), announced: new Map(store.announced) }
  const seen = { hits: 0, left: 0 }
  const verifiers = await Promise.all(
    [0, 1].map(async (index) => {
      const copy = createCopy()
      const isUp = { value: true }
      const links = new Set<{ close(): void }>()
      const create = (): RevocationStore => {
        const created = createSharedRevocations({
          async connect({ onClose }) {
            if (!isUp.value) throw new Error('down')
            links.add({ close: () => onClose(new Error('cut off')) })
            return store.connect()
          },
          copy,
          former: async () => [],
          now: () => nowMs + (skewsMs[index] ?? 0),
          monotonic: () => nowMs - startMs,
          onNotice() {},
        })
        created.setLongest(90_000)
        created.setVerdictLife?.(cacheSeconds)
        return created
      }
      const revocations = create()
      await revocations.start()
      return { isUp, links, create, revocations, clockMs: () => nowMs + (skewsMs[index] ?? 0) }
    }),
  )
  const fronts = [2, 3].map((index) => ({
    clockMs: () => nowMs + (skewsMs[index] ?? 0),
    recent: new Front(),
    all: new Front(),
  }))
  const verifier = (index: number) => verifiers[index] as (typeof verifiers)[number]
  const front = (index: number) => fronts[index] as (typeof fronts)[number]
  async function settle(): Promise<void> {
    for (let round = 0; round < 2; round++) {
      for (const each of verifiers) await each.revocations.reload().catch(() => {})
    }
  }
  return {
    get hits() {
      return seen.hits
    },
    get left() {
      return seen.left
    },
    async wait(ms) {
      // Each poll of a verifier moves on what it last heard; in the end it has heard all.
      nowMs += ms
      await settle()
    },
    async revoke(index, id) {
      const { revocations } = verifier(index)
      const before = Math.ceil(nowMs / 1_000)
      await revocations
        // One of the three signs out.
        .add({ kind: 'key', id, before, until: before + 90_000 }, { isYielding: id === 'c' })
        .then(settle)
        .catch(() => {})
    },
    // A replica that was cut off before goes on to list what was ended, which the other feed shows for
    // longer. That is about an access that was given back, so it is left out.
    async end(index, id) {
      if (verifiers.some(({ isUp }) => !isUp.value)) return
      await verifier(index)
        .revocations.remove('key', id)
        .then(settle)
        .catch(() => {})
    },
    async link(index, isUp) {
      const each = verifier(index)
      each.isUp.value = isUp
      if (!isUp) for (const link of each.links) link.close()
      each.links.clear()
      await settle()
    },
    async restartVerifier(index) {
      const each = verifier(index)
      await each.revocations.stop?.()
      each.revocations = each.create()
      await each.revocations.start()
    },
    restartFront(index) {
      front(index).recent.restart()
      front(index).all.restart()
    },
    poll(index, from) {
      const { recent, all, clockMs } = front(index)
      const { revocations, clockMs: itsMs } = verifier(from)
      const { list } = revocations
      const isCurrent = (ending: number) => ending > itsMs() / 1_000
      const told = (list.recent?.() ?? [])
        .filter(({ ending }) => isCurrent(ending))
        .map(({ revocation: { id }, listedUntil }) => ({ id, until: listedUntil }))
      const everything = list.entries.filter(({ until }) => isCurrent(until))
      seen.left += everything.length - told.length
      recent.poll(clockMs(), told)
      all.poll(clockMs(), everything)
    },
    request(index, from, id) {
      const { recent, all, clockMs } = front(index)
      const { revocations, clockMs: itsMs } = verifier(from)
      const known = revocations.list.get('key', id)
      const isAllowed = !known || revocations.list.endOf(known) <= itsMs() / 1_000
      const life = Math.floor(revocations.verdictLife?.() ?? 0)
      const admit = (which: Front): boolean => {
        if (which.isHit(id, clockMs())) {
          if (which === recent) seen.hits++
          return true
        }
        if (isAllowed) which.remember(id, clockMs(), Math.min(cacheSeconds, life))
        return isAllowed
      }
      const [byAll, byRecent] = [admit(all), admit(recent)]
      assert.ok(byAll || !byRecent, `${id} is admitted, who is in the feed of all`)
    },
    storeClock(aheadMs) {
      storeAheadMs = aheadMs
    },
    backUp() {
      backup = { values: new Map(store.values), announced: new Map(store.announced) }
    },
    restore() {
      store.values = new Map(backup.values)
      store.announced = new Map(backup.announced)
    },
  }
}

const which = fc.integer({ min: 0, max: 1 })
const someone = fc.constantFrom('a', 'b', 'c')
const some = { weight: 1 }
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('wait'),
      ms: fc.constantFrom(500, 5_000, 60_000, 300_000, 840_000, 1_900_000),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('revoke'), verifier: which, id: someone }) },
  { ...some, arbitrary: fc.record({ do: fc.constant('end'), verifier: which, id: someone }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('link'), verifier: which, isUp: fc.boolean() }),
  },
  { ...some, arbitrary: fc.record({ do: fc.constant('restartVerifier'), verifier: which }) },
  { ...some, arbitrary: fc.record({ do: fc.constant('restartFront'), front: which }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('visit'), front: which, verifier: which, other: which }),
  },
  {
    ...some,
    arbitrary: fc.record({
      do: fc.constant('storeClock'),
      ms: fc.constantFrom(-7_200_000, 0, 7_200_000),
    }),
  },
  { ...some, arbitrary: fc.record({ do: fc.constantFrom('backUp', 'restore') }) },
)

async function live(world: World, steps: readonly object[]): Promise<void> {
  for (const each of steps) {
    const {
      do: what,
      ms = 0,
      verifier = 0,
      other = 0,
      front = 0,
      id = '',
      isUp,
    } = each as {
      do: string
      ms?: number
      verifier?: number
      other?: number
      front?: number
      id?: string
      isUp?: boolean
    }
    if (what === 'wait') await world.wait(ms)
    if (what === 'revoke') await world.revoke(verifier, id)
    if (what === 'end') await world.end(verifier, id)
    if (what === 'link') await world.link(verifier, isUp === true)
    if (what === 'restartVerifier') await world.restartVerifier(verifier)
    if (what === 'restartFront') world.restartFront(front)
    if (what === 'storeClock') world.storeClock(ms)
    if (what === 'backUp') world.backUp()
    if (what === 'restore') world.restore()
    if (what !== 'visit') continue
    // The poll may go to one replica, and the requests to the other.
    world.poll(front, other)
    for (const user of ['a', 'b', 'c']) world.request(front, verifier, user)
  }
}

it('HAProxy with the feed of recent revocations admits nobody whom the full feed rejects', async () => {
  const seen = { hits: 0, left: 0 }
  const skew = fc.constantFrom(-3_600_000, -60_000, 0, 60_000, 3_600_000)
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(fc.constantFrom(-30_000, 0, 30_000), fc.constant(0), skew, skew),
      fc.array(step, { minLength: 10, maxLength: 80 }),
      async (skewsMs, steps) => {
        const world = await createWorld(skewsMs)
        await live(world, steps)
        seen.hits += world.hits
        seen.left += world.left
      },
    ),
    { numRuns: 400 },
  )
  // Otherwise nothing was shown.
  assert.ok(seen.hits > 1_000 && seen.left > 200, JSON.stringify(seen))
})
