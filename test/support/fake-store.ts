/** A store in memory that does what the scripts of src/store/scripts.ts do, by a clock that is set. */
import type { StoreConnection } from '../../src/store/connection.ts'
import { stampOf } from '../../src/store/entry.ts'

export interface FakeStore {
  /** Values by key, and when each was announced. */
  values: Map<string, string>
  announced: Map<string, number>
  connect(): StoreConnection
}

const endOf = (value: string) =>
  Math.max(
    Number(/"until":(\d+)/.exec(value)?.[1] ?? 0),
    Number(/"keptUntil":(\d+)/.exec(value)?.[1] ?? 0),
  )

/** Creates it, empty. `nowMs` is its own clock. */
export function createFakeStore(nowMs: () => number): FakeStore {
  const newest = () => Math.max(0, ...store.announced.values())
  const stampAfter = (...floors: number[]) =>
    Math.max(nowMs() * 1_000, newest() + 1, ...floors.map((floor) => floor + 1))
  const write = (key: string, json: string, stamp: number) => {
    store.values.set(key, `${stamp} ${json}`)
    store.announced.set(key, stamp)
    return stamp
  }
  const store: FakeStore = {
    values: new Map(),
    announced: new Map(),
    connect: () => ({
      async add(key, json, { floorUs, formerEnd }) {
        const former = store.values.get(key) ?? ''
        const keptUntil = Math.max(formerEnd, endOf(former))
        const isLater = keptUntil > endOf(json)
        const kept = isLater ? `${json.slice(0, -1)},"keptUntil":${keptUntil}}` : json
        const changedUs = write(key, kept, stampAfter(floorUs, stampOf(former)))
        return { changedUs, ...(isLater && { keptUntil }) }
      },
      async remove(key, { floorUs, value: ours }) {
        const theirs = store.values.get(key) ?? ''
        const value = stampOf(ours) > stampOf(theirs) ? ours : theirs
        if (value === '' || value.includes('"removed":true')) return 0
        const { keptUntil: _, ...known } = JSON.parse((ours || value).replace(/^\d+ /, ''))
        const keptUntil = Math.max(endOf(theirs), endOf(ours))
        const kept = keptUntil > known.until && { keptUntil }
        const json = JSON.stringify({ ...known, ...kept, removed: true })
        return write(key, json, stampAfter(floorUs, stampOf(theirs), stampOf(ours)))
      },
      async merge(pairs, floorUs) {
        let stamp = stampAfter(floorUs)
        for (let i = 0; i < pairs.length; i += 2) {
          const [key = '', ours = ''] = pairs.slice(i, i + 2)
          const isNewer = stampOf(store.values.get(key) ?? '') < stampOf(ours)
          if (isNewer) store.values.set(key, ours)
          if (isNewer || !store.announced.has(key)) store.announced.set(key, stamp++)
        }
        return 0
      },
      async poll(since, limit, windowUs) {
        const changes = [...store.announced]
          .filter(([key, us]) => us > since.us || (us === since.us && key !== since.key))
          .toSorted(([, one], [, other]) => one - other)
          .slice(0, limit)
          .map(([key, announcedUs]) => ({
            ...{ key, announcedUs },
            value: store.values.get(key) ?? '',
          }))
        return {
          timeUs: nowMs() * 1_000,
          values: store.values.size,
          announced: store.announced.size,
          newestUs: newest(),
          markUs: store.announced.get(since.key) ?? -1,
          withinWindow: [...store.announced.values()].filter((us) => us >= nowMs() * 1e3 - windowUs)
            .length,
          upToMark: [...store.announced.values()].filter((us) => us <= since.us).length,
          changes,
        }
      },
      async prune(keys) {
        for (const key of keys) {
          if (endOf(store.values.get(key) ?? '') > nowMs() / 1_000) continue
          store.values.delete(key)
          store.announced.delete(key)
        }
      },
      async readUnannounced(use) {
        await use([...store.values].filter(([key]) => !store.announced.has(key)).flat())
      },
      describe: async () => ({}),
      close() {},
    }),
  }
  return store
}
