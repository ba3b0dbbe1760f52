/**
 * What operators install, tried once: the recipes, the packed tarball and the tree of the container
 * image; then the recipes for HAProxy on the other versions that they claim. The last line is
 * `N passed, N failed`.
 */
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { haproxyCommand, haproxyVersions } from './haproxy-versions.ts'

const tests = join(import.meta.dirname, '../test')
const filesOf = (folder: string) =>
  readdirSync(join(tests, folder))
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(tests, folder, name))

let passed = 0
let failed = 0

await run('recipes and packages', [...filesOf('recipes'), ...filesOf('package')], {})
for (const version of haproxyVersions) {
  const { command, args } = await haproxyCommand(version)
  const env = { HAPROXY: [command, ...args].join(' ') }
  await run(`recipes on HAProxy ${version}`, [join(tests, 'recipes/haproxy.test.ts')], env)
}
process.stdout.write(`\n${passed} passed, ${failed} failed\n`)
if (failed > 0 || passed === 0) process.exitCode = 1

async function run(title: string, files: string[], env: Record<string, string>): Promise<void> {
  process.stdout.write(`${title} ... `)
  const started = Date.now()
  const output = await runTests(files, env)
  const counts = /^(\d+) passed, (\d+) failed$/m.exec(output)
  const [good, bad] = counts ? [Number(counts[1]), Number(counts[2])] : [0, 1]
  const seconds = ((Date.now() - started) / 1000).toFixed(1)
  process.stdout.write(`${good} passed, ${bad} failed (${seconds} s)\n`)
  if (bad > 0) process.stdout.write(`${output}\n`)
  passed += good
  failed += bad
}

function runTests(files: string[], env: Record<string, string>): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'test.ts'), ...files], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.once('error', fail)
    child.once('close', () => done(output))
  })
}
