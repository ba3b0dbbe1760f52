/**
 * The fault suite: `npm run test:faults`. `-- --short` is the form for a pipeline, file names limit
 * it to those. Prints a table of what was sent, admitted and refused in each fault; the last line is
 * `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process'
import { globSync, readdirSync } from 'node:fs'
import { relative, resolve } from 'node:path'
import { finished } from 'node:stream/promises'
import { run } from 'node:test'
import { inspect, parseArgs } from 'node:util'

const root = resolve(import.meta.dirname, '..')
const folder = resolve(root, 'test/faults')
const fileTimeoutMs = 15 * 60_000

interface Row {
  readonly fault: string
  readonly sent: number
  readonly admitted: number
  readonly refused: number
  readonly unavailable: number
  readonly failed: number
  readonly longestMs: number
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { short: { type: 'boolean', default: false } },
})
if (values.short) process.env.FAULTS_SHORT = '1'
installFaketime()

const files =
  positionals.length > 0
    ? positionals.map((path) => resolve(path))
    : readdirSync(folder)
        .filter((name) => name.endsWith('.faults.ts'))
        .toSorted()
        .map((name) => resolve(folder, name))
const rows: Row[] = []
const failures: string[] = []
let passed = 0

// Each waits most of the time; side by side they fit into a pipeline.
const events = run({ files, cwd: root, concurrency: values.short ? 2 : 1, timeout: fileTimeoutMs })
events.on('test:pass', (test) => {
  if (test.skip !== undefined || test.todo !== undefined) failures.push(`skipped: ${test.name}`)
  else if (files.includes(resolve(root, test.name))) failures.push(`no test in ${test.name}`)
  else if (test.details.type !== 'suite') {
    passed++
    const seconds = (test.details.duration_ms / 1_000).toFixed(1)
    process.stdout.write(`passed  ${test.name} (${seconds} s)\n`)
  }
})
events.on('test:fail', (test) => {
  const { error } = test.details
  if ('failureType' in error && error.failureType === 'subtestsFailed') return
  const cause = error.cause ?? error
  const text = cause instanceof Error ? (cause.stack ?? cause.message) : inspect(cause)
  failures.push(`${relative(root, test.file ?? '')}: ${test.name}\n${text}`)
  process.stdout.write(`FAILED  ${test.name}: ${text.replace(/\s+/g, ' ').slice(0, 300)}\n`)
})
events.on('test:diagnostic', ({ message }) => {
  if (message.startsWith('fault ')) rows.push(JSON.parse(message.slice('fault '.length)))
})
events.resume()
await finished(events)

process.stdout.write(`\n${formatTable(rows)}\n`)
for (const failure of failures) process.stdout.write(`\n${failure}\n`)
process.stdout.write(`\n${passed} passed, ${failures.length} failed\n`)
if (failures.length > 0 || passed === 0) process.exitCode = 1

/** As Markdown, so that it can go into the documentation as it is. */
function formatTable(lines: readonly Row[]): string {
  const head = ['fault', 'sent', 'admitted', 'refused', 'unavailable', 'failed', 'longest, ms']
  const cells = lines.map((row) => [
    row.fault,
    ...[row.sent, row.admitted, row.refused, row.unavailable, row.failed, row.longestMs].map(
      String,
    ),
  ])
  const text = (line: readonly string[]) => `| ${line.join(' | ')} |`
  return [text(head), text(['---', ...head.slice(1).map(() => '---:')]), ...cells.map(text)].join(
    '\n',
  )
}

/** The clock that steps needs a library; it comes like HAProxy, from Debian, where that is possible. */
function installFaketime(): void {
  const places = ['/usr/lib/*/faketime/libfaketime.so.1', '/usr/lib*/faketime/libfaketime.so.1']
  if (process.env.FAKETIME_LIBRARY || globSync(places).length > 0) return
  process.stderr.write('installing faketime with apt-get\n')
  const sudo = process.getuid?.() === 0 ? [] : ['sudo', '-n']
  const apt = [...sudo, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', '-y']
  const execute = (...args: string[]) => {
    const [command = '', ...rest] = [...apt, ...args]
    return spawnSync(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0
  }
  const install = () => execute('install', '--no-install-recommends', 'faketime')
  // The package lists are missing in a fresh container.
  if (install() || (execute('update') && install())) return
  process.stderr.write('faketime could not be installed: apt-get install faketime\n')
}
