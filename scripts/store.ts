/**
 * The tests of the store that replicas share: `npm run test:store`. They run against a real Redis and
 * a real Valkey, which are downloaded first. The last line is `N passed, N failed`.
 */
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { storeServerCommand, storeServers } from './store-servers.ts'
import { createTestRuns } from './test-runs.ts'

const folder = resolve(import.meta.dirname, '../test/store')
const files = readdirSync(folder)
  .filter((name) => name.endsWith('.test.ts'))
  .toSorted()
  .map((name) => join(folder, name))

const runs = createTestRuns()
for (const server of storeServers) {
  const { command, args } = await storeServerCommand(server)
  await runs.run(`the store in ${server}`, files, { STORE_SERVER: [command, ...args].join(' ') })
}
runs.conclude()
