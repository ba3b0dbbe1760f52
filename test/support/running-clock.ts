/** What is later than this was late because the machine or this process stood still. */
const longestStepMs = 50

export interface RunningClock {
  nowMs(): number
  stop(): void
}

/**
 * A clock that stands still while the machine does, as one whose processor others use may for a second
 * or two: for limits in time that say nothing about that.
 */
export function startRunningClock(): RunningClock {
  let ranMs = 0
  let beatMs = performance.now()
  const sinceBeat = (nowMs: number) => Math.min(nowMs - beatMs, longestStepMs)
  const beat = setInterval(() => {
    const nowMs = performance.now()
    ranMs += sinceBeat(nowMs)
    beatMs = nowMs
  }, longestStepMs / 5)
  return {
    nowMs: () => ranMs + sinceBeat(performance.now()),
    stop: () => clearInterval(beat),
  }
}
