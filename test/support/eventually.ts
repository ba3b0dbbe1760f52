/** Runs `attempt` until its result is what a test waits for; fails with the last one otherwise. */
export async function eventually<T>(
  attempt: () => Promise<T> | T,
  isRight: (value: T) => boolean,
  withinMs = 20_000,
): Promise<T> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const value = await attempt()
    if (isRight(value)) return value
    if (performance.now() > deadline) {
      throw new Error(`not within ${withinMs} ms: ${JSON.stringify(value)}`)
    }
    await new Promise((next) => setTimeout(next, 10))
  }
}
