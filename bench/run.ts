/** All benchmarks, one after the other: `npm run bench`. Results go to `bench/results/`. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { parseOptions } from './options.ts'
import { requireTools } from './tools.ts'

const args = process.argv.slice(2)
const { only, rounds } = parseOptions(args)
requireTools([
  ...['wrk', 'h2load'],
  ...(only.includes('instructions') ? ['valgrind'] : []),
  ...(only.includes('stalls') ? ['cc', 'chrt'] : []),
])
if (only.includes('service')) await run('service', [])
if (only.some((part) => part !== 'service')) await run('haproxy', args)

async function run(part: string, rest: readonly string[]): Promise<void> {
  const script = join(import.meta.dirname, part, 'run.ts')
  const child = spawn(process.execPath, [script, ...rest], {
    stdio: 'inherit',
    env: { ...process.env, BENCH_ROUNDS: String(rounds) },
  })
  // It ends what it started; without this it would go on alone.
  const forward = (signal: NodeJS.Signals) => child.kill(signal)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, forward)
  const [code] = await once(child, 'exit')
  if (code !== 0) process.exit(code ?? 1)
}
