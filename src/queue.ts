/** Runs one task at a time, in the order in which they came; a failure holds up nothing. */
export type Queue = <T>(task: () => Promise<T>) => Promise<T>

/** Creates an empty queue. */
export function createQueue(): Queue {
  let working: Promise<unknown> = Promise.resolve()
  return (task) => {
    const result = working.then(task)
    working = result.catch(() => {})
    return result
  }
}
