/**
 * Tests what operators install: the recipes, the packed tarball and the file tree of the container
 * image, then the HAProxy recipes on the other versions that they name. The last line is `N passed,
 * N failed`.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { haproxyCommand, haproxyVersions } from './haproxy-versions.ts'
import { createTestRuns } from './test-runs.ts'

const tests = join(import.meta.dirname, '../test')
const filesOf = (folder: string) =>
  readdirSync(join(tests, folder))
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(tests, folder, name))

const runs = createTestRuns()

await runs.run('recipes and packages', [...filesOf('recipes'), ...filesOf('package')], {})
for (const version of haproxyVersions) {
  const { command, args } = await haproxyCommand(version)
  const env = { HAPROXY: [command, ...args].join(' ') }
  const files = ['haproxy.test.ts', 'controllers.test.ts'].map((name) =>
    join(tests, 'recipes', name),
  )
  await runs.run(`recipes on HAProxy ${version}`, files, env)
}
runs.conclude()
