/** All benchmarks, one after the other: `npm run bench`. Results go to `bench/results/`. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { requireTools } from './tools.ts'

requireTools(['wrk', 'h2load', 'valgrind'])
for (const part of ['service', 'haproxy']) {
  const script = join(import.meta.dirname, part, 'run.ts')
  const { status } = spawnSync(process.execPath, [script], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}
