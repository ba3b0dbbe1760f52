import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createElapsedClock } from '../../src/keys/elapsed-clock.ts'

const hourMs = 3_600_000

function createBench(isMonotonic = true) {
  const time = { wall: 1_000_000, monotonic: 50 }
  const monotonic = isMonotonic ? () => time.monotonic : undefined
  const elapsed = createElapsedClock(() => time.wall, monotonic)
  return {
    elapsed: () => elapsed() - 1_000_000,
    run(ms: number) {
      time.wall += ms
      time.monotonic += ms
    },
    setWall(byMs: number) {
      time.wall += byMs
    },
  }
}

describe('the clock for intervals', () => {
  it('begins at the time of the wall clock and runs with both', () => {
    const { elapsed, run } = createBench()
    assert.equal(elapsed(), 0)
    run(hourMs)
    assert.equal(elapsed(), hourMs)
  })
  it('continues when the wall clock is set back, and does not count the way forward twice', () => {
    const { elapsed, run, setWall } = createBench()
    setWall(-8 * hourMs)
    assert.equal(elapsed(), 0)
    run(2 * hourMs)
    assert.equal(elapsed(), 2 * hourMs)
  })
  it('counts the time of a suspended machine, which only the wall clock knows', () => {
    const { elapsed, run, setWall } = createBench()
    run(hourMs)
    assert.equal(elapsed(), hourMs)
    setWall(25 * hourMs)
    assert.equal(elapsed(), 26 * hourMs)
    run(hourMs)
    assert.equal(elapsed(), 27 * hourMs)
  })
  it('does not add up differences below a second', () => {
    const { elapsed, run, setWall } = createBench()
    for (let i = 0; i < 100; i++) {
      setWall(i % 2 === 0 ? 1 : -1)
      run(1)
      elapsed()
    }
    assert.equal(elapsed(), 100)
    setWall(1_000)
    assert.equal(elapsed(), 100)
    setWall(1)
    assert.equal(elapsed(), 1_101)
  })
  it('never goes back with a wall clock alone, and takes each of its steps forward', () => {
    const { elapsed, setWall } = createBench(false)
    setWall(500)
    assert.equal(elapsed(), 500)
    setWall(-hourMs)
    assert.equal(elapsed(), 500)
    setWall(1)
    assert.equal(elapsed(), 501)
  })
})
