import { startRunningClock } from './running-clock.ts'

/**
 * Runs `attempt` until its result is what a test waits for; fails with the last one otherwise. Pauses of
 * the machine do not count.
 */
export async function eventually<T>(
  attempt: () => Promise<T> | T,
  isRight: (value: T) => boolean,
  withinMs = 20_000,
): Promise<T> {
  const clock = startRunningClock()
  try {
    for (;;) {
      const value = await attempt()
      if (isRight(value)) return value
      if (clock.nowMs() > withinMs) {
        throw new Error(`not within ${withinMs} ms: ${JSON.stringify(value)}`)
      }
      await new Promise((next) => setTimeout(next, 10))
    }
  } finally {
    clock.stop()
  }
}
