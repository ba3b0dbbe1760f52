/**
 * Creates the clock that intervals are measured by, in ms: it begins at the wall clock's time and never
 * goes back. `monotonic` stands still while the machine is suspended, so a wall clock that runs ahead of
 * it by more than a second counts too: what lapsed meanwhile has lapsed. A wall clock that is set back
 * changes nothing. Without `monotonic` the wall clock's steps forward are all there is.
 */
export function createElapsedClock(wall: () => number, monotonic?: () => number): () => number {
  const toleranceMs = monotonic ? 1_000 : 0
  const beginMs = wall()
  const monotonicBeginMs = monotonic?.() ?? 0
  let skippedMs = 0
  let aheadMs = 0

  return () => {
    const ranMs = (monotonic?.() ?? 0) - monotonicBeginMs
    const nowAheadMs = wall() - beginMs - ranMs
    if (nowAheadMs > aheadMs + toleranceMs) {
      skippedMs += nowAheadMs - aheadMs
      aheadMs = nowAheadMs
    } else if (nowAheadMs < aheadMs) aheadMs = nowAheadMs
    return beginMs + ranMs + skippedMs
  }
}
