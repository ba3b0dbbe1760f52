import { monitorEventLoopDelay } from 'node:perf_hooks'

/** Says whether the event loop lags behind so far that a verdict would come too late. */
export interface OverloadWatch {
  readonly isOverloaded: boolean
  stop(): void
}

/** Time between two looks; as long as that the last answer counts. */
const lookIntervalMs = 100
/** How often Node measures the lag, which is the precision of it. */
const resolutionMs = 10

/**
 * Watches the lag of the event loop; a limit of 0 ms is none. A pause, as of a reload, lasts one look;
 * what lasts two is overload. In real time, whatever clock the service was given: that is what lags.
 */
export function watchOverload(limitMs: () => number): OverloadWatch {
  const lag = monitorEventLoopDelay({ resolution: resolutionMs })
  lag.enable()
  let wasLagging = false
  let isOverloaded = false

  function look(): void {
    const lagMs = lag.mean / 1e6 - resolutionMs
    lag.reset()
    const isLagging = limitMs() > 0 && lagMs > limitMs()
    isOverloaded = isLagging && wasLagging
    wasLagging = isLagging
  }

  const timer = setInterval(look, lookIntervalMs).unref()
  return {
    get isOverloaded() {
      return isOverloaded
    },
    stop() {
      clearInterval(timer)
      lag.disable()
    },
  }
}
