/**
 * The end-to-end tests on each version of HAProxy: `npm run test:matrix`. Every version runs twice: as
 * shipped, and with one of the other three combinations of a way of loading and a number of threads. With `--load`, the tests under load, as HAProxy is shipped, on the
 * oldest and the newest version: `npm run test:load`. Versions given as arguments limit it to those,
 * with all combinations. ENTRA_AUTH_FAST_LANE=off is handed on to HAProxy. The last line is `N passed, N failed`.
 */
import { haproxyCommand, haproxyVersions } from './haproxy-versions.ts'
import { createTestRuns } from './test-runs.ts'

const isLoad = process.argv.includes('--load')
const named = process.argv.slice(2).filter((argument) => argument !== '--load')
/** A way of loading the action, and a number of threads. */
type Cell = readonly [load: 'lua-load-per-thread' | 'lua-load', threads: 1 | 2]

const asShipped: Cell = ['lua-load-per-thread', 2]
const others: readonly [Cell, Cell, Cell] = [
  ['lua-load', 1],
  ['lua-load-per-thread', 1],
  ['lua-load', 2],
]

const isAtAnEnd = (version: string) =>
  [haproxyVersions[0], haproxyVersions.at(-1)].some((end) => end === version)
const usual = isLoad ? haproxyVersions.filter(isAtAnEnd) : haproxyVersions
const versions: readonly string[] = named.length > 0 ? named : usual

function cellsOf(version: string): readonly Cell[] {
  if (isLoad) return [asShipped]
  if (named.length > 0) return [asShipped, ...others]
  const index = (haproxyVersions as readonly string[]).indexOf(version)
  return [asShipped, others[index % others.length] ?? others[0]]
}

const runs = createTestRuns()
for (const version of versions) {
  const { command, args } = await haproxyCommand(version)
  for (const [load, threads] of cellsOf(version)) {
    const lane = process.env.ENTRA_AUTH_FAST_LANE === 'off' ? ', without the fast lane' : ''
    const title = `HAProxy ${version}, ${load}, ${threads} thread${threads === 1 ? '' : 's'}${lane}`
    const env = {
      HAPROXY: [command, ...args].join(' '),
      HAPROXY_LUA_LOAD: load,
      HAPROXY_THREADS: String(threads),
      // End-to-end tests mostly wait for time to pass in HAProxy.
      E2E_CONCURRENCY: '2',
    }
    await runs.run(title, ['--only', isLoad ? 'load' : 'e2e'], env)
    const isNewest = version === haproxyVersions.at(-1)
    if (isNewest && !isLoad) await runs.run(`${title}, HTTP/3`, ['--only', 'http3'], env)
  }
}
runs.conclude()
