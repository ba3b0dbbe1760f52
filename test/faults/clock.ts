/** A clock of the verifier's own, which a test steps while the process runs: libfaketime. */
import { existsSync, globSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Life, makeFolder } from '../serve/process.ts'

/** Where distributions keep the library; `FAKETIME_LIBRARY` names another place. */
const places = ['/usr/lib/*/faketime/libfaketime.so.1', '/usr/lib*/faketime/libfaketime.so.1']

export interface Clock {
  /** What a process needs in its environment to read this clock. */
  readonly env: Readonly<Record<string, string>>
  /** Sets the clock so far ahead of (or behind) the real one; processes follow within a second. */
  set(aheadSeconds: number): void
}

/**
 * Makes a clock that shows the real time. `wall` is what an administrator or NTP steps; `wall and
 * timers` is time that passes, so that whatever is due in the meantime falls due at once.
 */
export function makeClock(t: Life, kind: 'wall' | 'wall and timers' | undefined): Clock {
  if (kind === undefined) {
    return {
      env: {},
      set() {
        throw new Error('this chain has no clock of its own')
      },
    }
  }
  const file = join(makeFolder(t), 'clock')
  const set = (aheadSeconds: number) =>
    writeFileSync(file, `${aheadSeconds < 0 ? '-' : '+'}${Math.abs(aheadSeconds)}\n`)
  set(0)
  return {
    env: {
      LD_PRELOAD: findLibrary(),
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: kind === 'wall' ? '1' : '0',
    },
    set,
  }
}

function findLibrary(): string {
  const named = process.env.FAKETIME_LIBRARY
  const found = named ? [named].filter((file) => existsSync(file)) : globSync(places)
  const [library] = found
  if (library !== undefined) return library
  throw new Error(
    'libfaketime is missing: install it (Debian and Ubuntu: apt-get install faketime) or name its file in the variable FAKETIME_LIBRARY',
  )
}
