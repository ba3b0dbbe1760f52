/** Several runs of the tests one after the other, each with its own environment. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'

export interface TestRuns {
  /** Runs `test.ts` with these arguments; prints a line, and all it printed where a test failed. */
  run(title: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<void>
  /** Prints `N passed, N failed` of all runs, and sets the exit code. */
  conclude(): void
}

/** Begins to count. */
export function createTestRuns(): TestRuns {
  let passed = 0
  let failed = 0
  return {
    async run(title, args, env) {
      process.stdout.write(`${title} ... `)
      const started = Date.now()
      const output = await runTests(args, env)
      const counts = /^(\d+) passed, (\d+) failed$/m.exec(output)
      const [good, bad] = counts ? [Number(counts[1]), Number(counts[2])] : [0, 1]
      const seconds = ((Date.now() - started) / 1000).toFixed(1)
      process.stdout.write(`${good} passed, ${bad} failed (${seconds} s)\n`)
      if (bad > 0) process.stdout.write(`${output}\n`)
      passed += good
      failed += bad
    },
    conclude() {
      process.stdout.write(`\n${passed} passed, ${failed} failed\n`)
      if (failed > 0 || passed === 0) process.exitCode = 1
    },
  }
}

function runTests(args: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'test.ts'), ...args], {
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
