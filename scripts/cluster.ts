/**
 * The chart, the admission policies and the recipes against a real API server: `npm run test:cluster`.
 * By hand before a release, since the first run builds it. The last line is `N passed, N failed`.
 */
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { apiServerPath, etcdCommand } from './kubernetes.ts'
import { createTestRuns } from './test-runs.ts'

const folder = resolve(import.meta.dirname, '../test/cluster')
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.test.ts'))
  .toSorted()
  .map((name) => join(folder, name))

const { command, args } = await etcdCommand()
const runs = createTestRuns()
await runs.run('the API server', files, {
  ETCD: [command, ...args].join(' '),
  KUBE_APISERVER: apiServerPath(),
})
runs.conclude()
