/**
 * The chart, the admission policies, the recipes and the quick start against a real API server: `npm run
 * test:cluster`.
 * By hand before a release, since the first run builds it. The last line is `N passed, N failed`.
 */
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from './debian-packages.ts'
import { haproxyCommand } from './haproxy-versions.ts'
import { etcdCommand, kubernetesPath } from './kubernetes.ts'
import { createTestRuns } from './test-runs.ts'

const folder = resolve(import.meta.dirname, '../test/cluster')
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.test.ts'))
  .toSorted()
  .map((name) => join(folder, name))

const commandOf = ({ command, args }: Command) => [command, ...args].join(' ')
const runs = createTestRuns()
await runs.run('the API server', files, {
  ETCD: commandOf(await etcdCommand()),
  HAPROXY: commandOf(await haproxyCommand('3.4')),
  KUBE_APISERVER: kubernetesPath('kube-apiserver'),
  KUBECTL: kubernetesPath('kubectl'),
})
runs.conclude()
