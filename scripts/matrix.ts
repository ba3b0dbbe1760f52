/**
 * The end-to-end tests on each version of HAProxy, with each way of loading the action and with one
 * and two threads: `npm run test:matrix`. With `--load`, the tests under load, as HAProxy is shipped,
 * on the oldest and the newest version: `npm run test:load`. Versions given as arguments limit it to
 * those. The last line is `N passed, N failed`.
 */
import { haproxyCommand, haproxyVersions } from './haproxy-versions.ts'
import { createTestRuns } from './test-runs.ts'

const isLoad = process.argv.includes('--load')
const named = process.argv.slice(2).filter((argument) => argument !== '--load')
const loads = isLoad ? ['lua-load-per-thread'] : ['lua-load-per-thread', 'lua-load']
const threads = isLoad ? ['2'] : ['1', '2']
const isAtAnEnd = (_: string, index: number) => [0, haproxyVersions.length - 1].includes(index)
const usual = isLoad ? haproxyVersions.filter(isAtAnEnd) : haproxyVersions
const versions = named.length > 0 ? named : usual

const runs = createTestRuns()
for (const version of versions) {
  const { command, args } = await haproxyCommand(version)
  for (const load of loads) {
    for (const count of threads) {
      const title = `HAProxy ${version}, ${load}, ${count} thread${count === '1' ? '' : 's'}`
      await runs.run(title, ['--only', isLoad ? 'load' : 'e2e'], {
        HAPROXY: [command, ...args].join(' '),
        HAPROXY_LUA_LOAD: load,
        HAPROXY_THREADS: count,
        // End-to-end tests mostly wait for time to pass in HAProxy.
        E2E_CONCURRENCY: '2',
      })
    }
  }
}
runs.conclude()
