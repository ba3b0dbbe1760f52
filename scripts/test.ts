/**
 * The steps of `npm test`. Prints one line a step while it runs, what failed, a table, and as the
 * very last line `N passed, N failed`: every test and every check counts one.
 */

import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { finished } from 'node:stream/promises'
import { run } from 'node:test'
import { inspect, parseArgs } from 'node:util'

const ROOT = resolve(import.meta.dirname, '..')
const E2E = join(ROOT, 'test', 'e2e')
/** Need nginx, systemd and the package registry, so they run on their own: `npm run test:recipes`. */
const RECIPES = [join(ROOT, 'test', 'recipes'), join(ROOT, 'test', 'package')]
/** Runs on its own, on several versions of HAProxy: `npm run test:load`. */
const LOAD = join(ROOT, 'test', 'load')
/** Needs Chromium, so it runs on its own: `npm run test:browser`. */
const BROWSER = join(ROOT, 'test', 'browser')
/** Runs on its own, against real servers: `npm run test:store`. */
const STORE = join(ROOT, 'test', 'store')
/** Runs on its own, against a real API server: `npm run test:cluster`. */
const CLUSTER = join(ROOT, 'test', 'cluster')
/** Needs a HAProxy with QUIC and a client for HTTP/3; a part of `npm run test:matrix`. */
const HTTP3 = join(ROOT, 'test', 'http3')
const CHART = join(ROOT, 'test', 'chart')
/** Neither start programs nor wait: `npm run test:quick`, below a minute on two cores. */
const QUICK = ['unit', 'config', 'verify', 'revocation', 'session', 'project', 'docs', 'schema']
const PROGRESS_EVERY_MS = 30_000
const TEST_TIMEOUT_MS = 60_000
/** A file that keeps something open never ends by itself; this long is more than any needs. */
const FILE_TIMEOUT_MS = 5 * 60_000
const NEVER_ENDED = `still running after ${FILE_TIMEOUT_MS / 1000} s: a test hangs or leaves something open`

type Result = { passed: number; failed: number; output: string }
type Step = { name: string; title: string; run: () => Promise<Result> }

const stop = new AbortController()

/** Runs Node with these arguments, which passes or fails as a whole. */
function check(...args: string[]): Promise<Result> {
  return new Promise((done) => {
    const child = spawn(process.execPath, args, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: stop.signal,
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    }
    child.on('error', (error) => done({ passed: 0, failed: 1, output: error.message }))
    child.on('close', (code) =>
      done(code === 0 ? { passed: 1, failed: 0, output: '' } : { passed: 0, failed: 1, output }),
    )
  })
}

/** Fails below 100 % of lines, branches and functions of the folders that decide, by the quick tests. */
async function measureCoverage(): Promise<Result> {
  const result = await check(
    '--disable-warning=ExperimentalWarning',
    '--test',
    `--test-concurrency=${Math.min(2, availableParallelism())}`,
    '--test-reporter=spec',
    '--experimental-test-coverage',
    '--test-coverage-include=src/{token,keys,policy,identity,session,sign-in}/**',
    '--test-coverage-lines=100',
    '--test-coverage-branches=100',
    '--test-coverage-functions=100',
    'test/{unit,conformance}/**/*.test.ts',
    'test/session/{key-folder,verify}.test.ts',
    'test/sign-in/{auth,edges,entra,entra-errors,id-token,listener,log,login,navigation,own-revocations,pages,recheck,reload,sign-in,sign-out}.test.ts',
    'test/attack/{answers-that-race,id-tokens,open-redirect,session-fixation,sign-in-floods,sign-in-hosts,state-and-code}.test.ts',
  )
  // The table and what failed; the tests that passed stand before.
  const start = Math.max(0, result.output.indexOf('ℹ start of coverage report'))
  return { ...result, output: result.output.slice(start) }
}

/**
 * Runs one test file in its own process. A skipped or todo test and a file without tests count as
 * failures: a test that does not run must not look green.
 */
async function runFile(file: string, only: string | undefined): Promise<Result> {
  const name = relative(ROOT, file)
  const failures: string[] = []
  const printed: string[] = []
  let passed = 0
  const events = run({
    files: [file],
    cwd: ROOT,
    timeout: TEST_TIMEOUT_MS,
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(FILE_TIMEOUT_MS)]),
    ...(only === undefined ? {} : { testNamePatterns: only }),
  })
  // The runner reports the file itself as a test when it held none, broke down or never ended.
  const isFile = (test: { name: string; nesting: number }) =>
    test.nesting === 0 && resolve(ROOT, test.name) === file
  events.on('test:pass', (test) => {
    if (test.skip !== undefined) failures.push(`${name}: "${test.name}" is skipped`)
    else if (test.todo !== undefined) failures.push(`${name}: "${test.name}" is marked todo`)
    else if (isFile(test)) {
      if (only === undefined) failures.push(`${name}: no test in this file`)
    } else if (test.details.type !== 'suite') passed += 1
  })
  events.on('test:fail', (test) => {
    const { error } = test.details
    const failureType = 'failureType' in error ? error.failureType : undefined
    if (failureType === 'subtestsFailed') return
    if (failureType === 'testAborted') {
      failures.push(`${name}: ${stop.signal.aborted ? 'stopped' : NEVER_ENDED}`)
      return
    }
    const place = `${name}${!isFile(test) && test.line ? `:${test.line}` : ''}`
    const title = isFile(test) ? 'the file failed outside its tests' : `"${test.name}"`
    failures.push(`${place}: ${title}\n${indent(describe(error.cause ?? error))}`)
  })
  for (const event of ['test:stdout', 'test:stderr'] as const) {
    events.on(event, ({ message }) => printed.push(message))
  }
  events.resume()
  await finished(events)
  const output = [...failures]
  if (failures.length > 0 && printed.length > 0) {
    output.push(`${name} printed:\n${indent(printed.join(''))}`)
  }
  return { passed, failed: failures.length, output: output.join('\n') }
}

function describe(cause: unknown): string {
  if (cause instanceof Error) return cause.stack ?? cause.message
  return typeof cause === 'string' ? cause : inspect(cause)
}

function indent(text: string): string {
  return text.trimEnd().replaceAll(/^/gm, '    ')
}

/** Runs test files, so many at a time; no file at all is a failure. */
async function runFiles(
  files: string[],
  concurrency: number,
  only: string | undefined,
): Promise<Result> {
  const queue = [...files]
  const results: Result[] = []
  const progress = createProgress(files.length)
  const work = async () => {
    for (let file = queue.shift(); file && !stop.signal.aborted; file = queue.shift()) {
      results.push(await runFile(file, only))
      progress.tell(results.length)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, work))
  progress.end()
  const passed = results.reduce((sum, result) => sum + result.passed, 0)
  const failed = results.reduce((sum, result) => sum + result.failed, 0)
  if (passed + failed === 0) return { passed, failed: 1, output: 'no test ran' }
  return { passed, failed, output: results.flatMap(({ output }) => output || []).join('\n') }
}

/** How far a step is: in its own line on a terminal, else a line on stderr every half minute. */
function createProgress(total: number): { tell(done: number): void; end(): void } {
  const started = Date.now()
  const { isTTY } = process.stdout
  let shown = ''
  let toldAtMs = started
  const clear = () => process.stdout.write('\b \b'.repeat(shown.length))
  return {
    tell(done) {
      const text = `${done} of ${total} files (${seconds(started)}) `
      if (isTTY) {
        clear()
        process.stdout.write(text)
        shown = text
      } else if (Date.now() - toldAtMs >= PROGRESS_EVERY_MS) {
        toldAtMs = Date.now()
        process.stderr.write(`  ${text.trimEnd()}\n`)
      }
    },
    end: () => {
      if (isTTY) clear()
    },
  }
}

function findTestFiles(): string[] {
  return readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(ROOT, 'test', name))
    .sort()
}

function seconds(fromMs: number): string {
  return `${((Date.now() - fromMs) / 1000).toFixed(1)} s`
}

function fail(line: string): never {
  process.stderr.write(`${line}\n`)
  process.exit(64)
}

function parseCommandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        only: { type: 'string' },
        name: { type: 'string' },
        quick: { type: 'boolean' },
      },
    })
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error))
  }
}

function planSteps(): Step[] {
  const { values, positionals } = parseCommandLine()
  const all = findTestFiles()
  const chosen = positionals.map((path) => resolve(path))
  const unknown = chosen.find((path) => !all.includes(path))
  if (unknown) fail(`${relative(ROOT, unknown)} is no test file: name files like test/**/*.test.ts`)
  const usual = all.filter((file) => ![...RECIPES, STORE, CLUSTER].includes(dirname(file)))
  const files = chosen.length > 0 ? chosen : usual
  const e2e = files.filter((file) => file.startsWith(E2E))
  const chart = files.filter((file) => file.startsWith(CHART))
  const load = files.filter((file) => file.startsWith(LOAD))
  const browser = files.filter((file) => file.startsWith(BROWSER))
  const http3 = files.filter((file) => file.startsWith(HTTP3))
  const unit = files.filter(
    (file) => ![...e2e, ...chart, ...load, ...browser, ...http3].includes(file),
  )
  const e2eConcurrency = Number(process.env.E2E_CONCURRENCY || 1)
  if (!Number.isInteger(e2eConcurrency) || e2eConcurrency < 1) {
    fail('E2E_CONCURRENCY must be a whole number from 1')
  }

  const steps: Step[] = [
    {
      name: 'lint',
      title: 'lint',
      run: () => check('node_modules/@biomejs/biome/bin/biome', 'check', '.'),
    },
    {
      name: 'types',
      title: 'types',
      run: () => check('node_modules/typescript/bin/tsc', '--noEmit'),
    },
    {
      name: 'unit',
      title: 'unit and route tests',
      run: () => runFiles(unit, Math.min(2, availableParallelism()), values.name),
    },
    { name: 'coverage', title: 'coverage of the core', run: () => measureCoverage() },
    {
      name: 'chart',
      title: 'tests of the Helm chart',
      run: () => runFiles(chart, Math.min(2, availableParallelism()), values.name),
    },
    {
      name: 'e2e',
      title: 'end-to-end tests',
      run: () => runFiles(e2e, e2eConcurrency, values.name),
    },
    {
      name: 'load',
      title: 'tests under load',
      run: () => runFiles(load, 1, values.name),
    },
    {
      name: 'browser',
      title: 'tests in a browser',
      run: () => runFiles(browser, 1, values.name),
    },
    {
      name: 'http3',
      title: 'tests over HTTP/3',
      run: () => runFiles(http3, 1, values.name),
    },
  ]
  const names = steps.map((step) => step.name)
  if (values.only !== undefined && !names.includes(values.only)) {
    fail(`--only takes one of ${names.join(', ')}`)
  }
  if (values.quick) {
    const quick = all.filter((file) => QUICK.includes(basename(dirname(file))))
    const title = 'quick tests'
    const run = () => runFiles(quick, Math.min(2, availableParallelism()), values.name)
    return [...steps.slice(0, 2), { name: 'quick', title, run }]
  }
  if (values.only !== undefined) return steps.filter((step) => step.name === values.only)
  if (chosen.length === 0)
    return steps.filter(({ name }) => !['load', 'browser', 'http3'].includes(name))
  const wanted = Object.entries({ unit, chart, e2e, load, browser, http3 }).filter(
    ([, some]) => some.length > 0,
  )
  return steps.filter(({ name }) => wanted.some(([one]) => one === name))
}

async function main(): Promise<void> {
  const rows: { title: string; result: string; time: string }[] = []
  let passed = 0
  let failed = 0
  for (const step of planSteps()) {
    const started = Date.now()
    process.stdout.write(`${step.title} ... `)
    const result = await step.run()
    const time = seconds(started)
    const summary = `${result.passed} passed, ${result.failed} failed`
    process.stdout.write(`${summary} (${time})\n`)
    if (result.failed > 0) process.stdout.write(`${result.output.trimEnd()}\n`)
    rows.push({
      title: step.title,
      result: result.failed > 0 ? `FAILED: ${summary}` : summary,
      time,
    })
    passed += result.passed
    failed += result.failed
    if (stop.signal.aborted) break
  }
  const width = (key: 'title' | 'result') => Math.max(...rows.map((row) => row[key].length))
  const lines = rows.map(({ title, result, time }) =>
    [title.padEnd(width('title')), result.padEnd(width('result')), time].join('  '),
  )
  process.stdout.write(`\n${lines.join('\n')}\n\n${passed} passed, ${failed} failed\n`)
  if (failed > 0 || passed === 0) process.exitCode = 1
}

if (Number(process.versions.node.split('.')[0]) < 22) {
  fail(
    `Node.js ${process.versions.node} is too old for the tests: use npm test, which brings its own`,
  )
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    stop.abort()
    // The runner needs a moment to end its test processes, the second signal none.
    setTimeout(() => process.exit(130), 2_000).unref()
  })
}
await main()
if (stop.signal.aborted) process.exitCode = 130
