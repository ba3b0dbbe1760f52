import { startMs } from './ids.ts'

/** A clock and a scheduler that only move when a test says so. */
export interface ManualTime {
  nowMs: number
  schedule(task: () => void, delayMs: number): () => void
  /** Delays of the tasks that wait, in ms from now, shortest first. */
  delays(): readonly number[]
  /** Moves the clock and nothing else, as when no task gets to run. */
  jump(ms: number): void
  /** Moves on, running each task at its time; each is waited for until it schedules itself anew. */
  advance(ms: number): Promise<void>
}

interface Task {
  readonly atMs: number
  readonly run: () => void
}

export function createManualTime(): ManualTime {
  const tasks = new Set<Task>()
  let scheduled = () => {}
  const time: ManualTime = {
    nowMs: startMs,
    schedule(run, delayMs) {
      const task = { atMs: time.nowMs + delayMs, run }
      tasks.add(task)
      scheduled()
      return () => void tasks.delete(task)
    },
    delays: () => [...tasks].map(({ atMs }) => atMs - time.nowMs).sort((a, b) => a - b),
    jump(ms) {
      time.nowMs += ms
    },
    async advance(ms) {
      const untilMs = time.nowMs + ms
      for (;;) {
        const [next] = [...tasks].sort((a, b) => a.atMs - b.atMs)
        if (!next || next.atMs > untilMs) break
        time.nowMs = Math.max(time.nowMs, next.atMs)
        const count = tasks.size
        tasks.delete(next)
        // One task may set off another before its time, so that two must come back.
        const again = new Promise<void>((resolve) => {
          scheduled = () => {
            if (tasks.size >= count) resolve()
          }
        })
        next.run()
        await again
      }
      time.nowMs = untilMs
    },
  }
  return time
}
