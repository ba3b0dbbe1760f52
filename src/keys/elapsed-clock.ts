/**
 * Creates the clock that measures intervals, in ms. It starts at the wall clock's time and never
 * goes back. `monotonic` stops while the machine is suspended, so the clock also advances when the
 * wall clock gets more than a second ahead: what expired during the pause has expired. It ignores a
 * wall clock that is set back. Without `monotonic`, it follows only the forward steps of the wall
 * clock.
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
    } else aheadMs = Math.min(aheadMs, nowAheadMs)
    return beginMs + ranMs + skippedMs
  }
}
