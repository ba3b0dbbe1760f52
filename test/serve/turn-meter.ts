/**
 * Loaded into a service by `--import`: measures how long a turn of its event loop keeps requests
 * waiting, in time of the processor, so that a machine which is busy with other things does not count.
 * SIGWINCH writes the longest turn since the last one to standard error, in µs.
 */
import { isMainThread } from 'node:worker_threads'

function cpuMicros(): number {
  const { user, system } = process.threadCpuUsage()
  return user + system
}

if (isMainThread) {
  let last = cpuMicros()
  let longest = 0
  const turn = () => {
    const now = cpuMicros()
    longest = Math.max(longest, now - last)
    last = now
    setImmediate(turn).unref()
  }
  turn()
  process.on('SIGWINCH', () => {
    process.stderr.write(`longest turn ${longest} µs\n`)
    longest = 0
  })
}
