import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { judgeMemory, type Sample } from '../../scripts/soak/memory.ts'

const mebibyte = 1024 * 1024

/** So many samples, with what each has. */
function samples(count: number, mib: (index: number) => number, entries = (_: number) => 0) {
  return Array.from(
    { length: count },
    (_, index): Sample => ({ residentBytes: mib(index) * mebibyte, entries: entries(index) }),
  )
}

const isFlat = (seen: readonly Sample[], mayGrow = 16 * mebibyte) =>
  judgeMemory(seen, mayGrow).isFlat

describe('the memory of a process', () => {
  it('is flat when it stays where it is', () => {
    assert.equal(isFlat(samples(100, () => 200)), true)
  })

  it('may grow in the first half, which is for warming up', () => {
    assert.equal(isFlat(samples(100, (index) => Math.min(index, 50) * 10)), true)
  })

  it('may swing with each garbage collection', () => {
    assert.equal(isFlat(samples(100, (index) => 200 + (index % 5) * 50)), true)
  })

  it('is not flat when it climbs to the end', () => {
    assert.equal(isFlat(samples(100, (index) => 200 + index)), false)
  })

  it('is not flat when it climbs beneath its swings', () => {
    const climbing = samples(100, (index) => 200 + (index % 5) * 50 + index)
    assert.equal(isFlat(climbing), false)
  })

  it('may climb by as much as is told', () => {
    const climbing = samples(100, (index) => 200 + index)
    assert.equal(isFlat(climbing, 24 * mebibyte), false)
    assert.equal(isFlat(climbing, 25 * mebibyte), true)
  })

  it('may grow by what a bounded cache gained in the meantime', () => {
    const filling = samples(
      100,
      (index) => 200 + index,
      (index) => index * 300,
    )
    assert.equal(isFlat(filling), true)
  })

  it('is not judged by a handful of samples', () => {
    assert.equal(isFlat(samples(7, () => 200)), false)
  })
})
