/**
 * The end-to-end tests on each version of HAProxy, with each way of loading the action and with one
 * and two threads: `npm run test:matrix`. With `--load`, the tests under load, as HAProxy is shipped,
 * on the oldest and the newest version: `npm run test:load`. Versions given as arguments limit it to
 * those. The last line is `N passed, N failed`.
 */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { haproxyCommand, haproxyVersions } from './haproxy-versions.ts'

const isLoad = process.argv.includes('--load')
const named = process.argv.slice(2).filter((argument) => argument !== '--load')
const loads = isLoad ? ['lua-load-per-thread'] : ['lua-load-per-thread', 'lua-load']
const threads = isLoad ? ['2'] : ['1', '2']
const isAtAnEnd = (_: string, index: number) => [0, haproxyVersions.length - 1].includes(index)
const usual = isLoad ? haproxyVersions.filter(isAtAnEnd) : haproxyVersions
const versions = named.length > 0 ? named : usual

let passed = 0
let failed = 0
for (const version of versions) {
  const { command, args } = await haproxyCommand(version)
  for (const load of loads) {
    for (const count of threads) {
      const title = `HAProxy ${version}, ${load}, ${count} thread${count === '1' ? '' : 's'}`
      process.stdout.write(`${title} ... `)
      const started = Date.now()
      const output = await runTests({
        HAPROXY: [command, ...args].join(' '),
        HAPROXY_LUA_LOAD: load,
        HAPROXY_THREADS: count,
        // End-to-end tests mostly wait for time to pass in HAProxy.
        E2E_CONCURRENCY: '2',
      })
      const counts = /^(\d+) passed, (\d+) failed$/m.exec(output)
      const [good, bad] = counts ? [Number(counts[1]), Number(counts[2])] : [0, 1]
      const seconds = ((Date.now() - started) / 1000).toFixed(1)
      process.stdout.write(`${good} passed, ${bad} failed (${seconds} s)\n`)
      if (bad > 0) process.stdout.write(`${output}\n`)
      passed += good
      failed += bad
    }
  }
}
process.stdout.write(`\n${passed} passed, ${failed} failed\n`)
if (failed > 0 || passed === 0) process.exitCode = 1

function runTests(env: Record<string, string>): Promise<string> {
  return new Promise((done, fail) => {
    const script = join(import.meta.dirname, 'test.ts')
    const child = spawn(process.execPath, [script, '--only', isLoad ? 'load' : 'e2e'], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.once('error', fail)
    // The counts at the end are the last ones; the step's own line has its title before them.
    child.once('close', () => done(output))
  })
}
