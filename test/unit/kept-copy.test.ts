import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { type CopyLine, createDiskCopy, type DiskCopy } from '../../src/store/disk-copy.ts'
import { createKeptCopy, type KeptCopy } from '../../src/store/kept-copy.ts'
import { type Life, makeFolder } from '../serve/process.ts'

/** A copy of what `known` has; `during` runs once, while the file is written anew. */
function prepare(t: Life, during: (keeper: KeptCopy, change: (value: string) => void) => void) {
  const file = join(makeFolder(t), 'copy')
  const disk = createDiskCopy(file)
  const known = new Map([['key a', '1 {}']])
  let isFull = false
  let nowMs = 0
  let isFirst = true
  const copy: DiskCopy = {
    ...disk,
    get length() {
      return disk.length
    },
    append: (lines) => (isFull ? Promise.reject(new Error('full')) : disk.append(lines)),
  }
  const keeper: KeptCopy = createKeptCopy({
    copy,
    *lines(): Iterable<CopyLine> {
      yield* [...known]
      if (!isFirst) return
      isFirst = false
      during(keeper, (value) => {
        known.set('key a', value)
        keeper.note('key a', value)
      })
    },
    count: () => known.size,
    monotonic: () => nowMs,
    onNotice() {},
  })
  return {
    keeper,
    load: () => createDiskCopy(file).load(),
    full(value: boolean) {
      isFull = value
    },
    later() {
      nowMs += 60_000
    },
  }
}

describe('the copy of the store, while it is written anew', () => {
  it('is not whole where more changed than was kept, and has all of it the next time', async (t) => {
    const { keeper, load, later } = prepare(t, (_, change) => {
      for (let i = 2; i <= 100_002; i++) change(`${i} {}`)
    })
    await keeper.flush()
    await keeper.settle()
    assert.equal((await load()).isWhole, false)
    later()
    await keeper.flush()
    await keeper.settle()
    assert.deepEqual(await load(), { lines: [['key a', '100002 {}']], isWhole: true })
  })

  it('is not whole where a change could not be added meanwhile', async (t) => {
    const prepared = prepare(t, (keeper, change) => {
      prepared.full(true)
      change('2 {}')
      void keeper.flush()
    })
    const { keeper, load, later, full } = prepared
    await keeper.flush()
    await keeper.settle()
    const { isWhole, lines } = await load()
    assert.ok(!isWhole || lines.some(([, value]) => value === '2 {}'))
    full(false)
    later()
    await keeper.flush()
    await keeper.settle()
    assert.deepEqual(await load(), { lines: [['key a', '2 {}']], isWhole: true })
  })

  it('has at the end of the service what was noted last', async (t) => {
    const { keeper, load } = prepare(t, () => {})
    await keeper.flush()
    await keeper.settle()
    keeper.note('key b', '3 {}')
    await keeper.settle()
    const { isWhole, lines } = await load()
    assert.ok(isWhole)
    assert.deepEqual(lines.at(-1), ['key b', '3 {}'])
  })
})
