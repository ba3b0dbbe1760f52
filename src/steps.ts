import { setImmediate as nextTurn } from 'node:timers/promises'

/** Long work in small steps; each `yield` is a place where it may pause. */
export type Steps<Result> = Generator<undefined, Result>

/** Steps between two pauses: with policies some milliseconds of work. */
const stepsPerSlice = 25

/** Does the whole work without a pause. */
export function runAtOnce<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/** Does the work in slices of the event loop, so that requests are answered in between. */
export async function runInSlices<Result>(steps: Steps<Result>): Promise<Result> {
  for (let count = 1; ; count++) {
    const { done, value } = steps.next()
    if (done) return value
    if (count % stepsPerSlice === 0) await nextTurn()
  }
}
