/**
 * `npm run demo`: starts dev-entra, the verifier, an application and HAProxy on loopback, shows who
 * gets in and who does not, and checks every row of what it shows.
 */
import { parseArgs } from 'node:util'
import { writeGuide } from './demo/guide.ts'
import { runTour } from './demo/run.ts'
import { createCleanup, startStack } from './demo/stack.ts'
import { createScore, createTable } from './demo/table.ts'

const usage = `usage: npm run demo [-- --once]

  --once   end after the tour; exit code 0 only if every row was as expected
`

const exitUsage = 64

function parseCommandLine(): { once: boolean } {
  try {
    const { values } = parseArgs({
      options: { once: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    })
    if (values.help) {
      process.stdout.write(usage)
      process.exit(0)
    }
    return { once: values.once ?? false }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n${usage}`)
    process.exit(exitUsage)
  }
}

/**
 * Aborts on Ctrl-C and its relatives, and when whoever reads along has left, as in
 * `npm run demo | head`. Cleaning up takes seconds at most, so a second signal changes nothing.
 */
function listenForStop(): { signal: AbortSignal; aborted: Promise<void> } {
  const stop = new AbortController()
  const aborted = new Promise<void>((done) => {
    const end = (exitCode: number) => {
      if (stop.signal.aborted) return
      process.exitCode = exitCode
      stop.abort()
      done()
    }
    process.on('SIGHUP', () => end(129))
    process.on('SIGINT', () => end(130))
    process.on('SIGTERM', () => end(143))
    process.stdout.on('error', () => end(1))
  })
  return { signal: stop.signal, aborted }
}

/** The children must neither find settings of the caller's nor ask a proxy for loopback. */
function clearEnvironment(): { lua: string | undefined } {
  const lua = process.env.ENTRA_AUTH_LUA_FILE
  for (const name of Object.keys(process.env)) {
    if (/^(ENTRA_AUTH_|DEV_ENTRA_)|^(https?|all)_proxy$/i.test(name)) delete process.env[name]
  }
  return { lua }
}

const print = (text: string) => void process.stdout.write(`${text}\n`)
const seconds = () => `${(performance.now() / 1000).toFixed(1)} s`.padStart(7)

async function main(): Promise<void> {
  const { once } = parseCommandLine()
  const { signal, aborted } = listenForStop()
  const { lua } = clearEnvironment()
  // No more rows once the demo ends, for whatever reason.
  const over = new AbortController()
  const table = createTable(process.stdout.isTTY && !process.env.NO_COLOR)
  const score = createScore()
  const cleanup = createCleanup()

  const progress = (name: string, result: string) => {
    signal.throwIfAborted()
    print(`${seconds()}  ${name.padEnd(12)} ${result}`)
  }

  try {
    const stopped = aborted.then(() => signal.throwIfAborted())
    print('Starting (all on loopback, with ports that are free):')
    const stack = await Promise.race([startStack({ cleanup, progress, lua }), stopped])
    if (!stack) return
    if (lua) print(`         ENTRA_AUTH_LUA_FILE: ${lua} instead of the action that ships`)
    print(
      '\nEvery row is checked; "app saw" is whom the identity headers named to the application.\n',
    )
    const died = stack.died.then((failure) => Promise.reject(failure))
    const tourSignal = AbortSignal.any([signal, over.signal])
    await Promise.race([runTour({ stack, table, score, print, signal: tourSignal }), stopped, died])
    process.exitCode = score.exitCode()
    if (!once) {
      print(`\n${score.summary()} (${seconds().trim()})\n\n${writeGuide(stack)}`)
      await Promise.race([aborted, died])
      // To end a demo that has shown everything is no failure.
      process.exitCode = score.exitCode()
    }
  } catch (error) {
    if (!signal.aborted) {
      score.fail()
      process.exitCode = 1
      process.stderr.write(`\n${error instanceof Error ? error.message : error}\n`)
    }
  } finally {
    over.abort()
    if (!once || signal.aborted) print('\nStopping.')
    await cleanup.run()
  }
  if (once && !signal.aborted) print(`\n${score.summary()}`)
}

await main()
