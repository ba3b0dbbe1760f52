/**
 * Measures what many revocations in the store cost, for docs/store.md:
 *
 *     node scripts/store-size.ts [COUNT] [redis|valkey]
 *
 * Prints, without revocations and with all of them: the server's memory, a verifier's start time
 * and memory, the size and time of a poll by HAProxy, the cost of a poll of the store, and
 * HAProxy's processor time for a hit.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readMetrics } from '../test/e2e/cache-stack.ts'
import { createLane } from '../test/load/lane.ts'
import { createNativeApplication } from '../test/load/native-application.ts'
import { startAuthority } from '../test/serve/authority.ts'
import { makeFolder } from '../test/serve/process.ts'
import { shippedConfig, startHaproxy } from './local-stack/haproxy.ts'
import { storeServerCommand } from './store-servers.ts'

const [count, which] = [Number(process.argv[2] ?? 1_000_000), process.argv[3] ?? 'valkey']
const hitsPerRound = 20_000
const tickMs = 1_000 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

const { command, args } = await storeServerCommand(which === 'redis' ? 'redis' : 'valkey')
process.env.STORE_SERVER = [command, ...args].join(' ')
const { startStoreServer } = await import('../test/store/server.ts')
const { launchReplica } = await import('../test/store/service.ts')

const cleanUps: (() => unknown)[] = []
const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }

/** Processor time of a process so far, in ms. */
function cpuMs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const [, , , , , , , , , , , user, system] = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(user) + Number(system)) * tickMs
}

const memoryMb = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024

const print = (what: string, value: number, unit: string) =>
  process.stdout.write(`${what.padEnd(52)} ${value.toFixed(value < 10 ? 2 : 0)} ${unit}\n`)

/** Half of them long ago, none within the time that HAProxy has to know. */
const fill = `
local from, to, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
for i = from, to do
  local id = string.format('11111111-1111-4111-8111-111111111111/60000000-0000-4000-8000-%012d', i)
  local stamp = string.format('%.0f', (now - 7200) * 1000000 + i)
  redis.call('HSET', '{entra-auth}:revocations', 'user ' .. id, stamp .. ' {"kind":"user","id":"' .. id ..
    '","before":' .. (now - 7200) .. ',"until":' .. (now + 83100) .. ',"madeAt":' .. (now - 7200) .. ',"untilDefault":true}')
  redis.call('ZADD', '{entra-auth}:changes', stamp, 'user ' .. id)
end
return 1`

try {
  const authority = await startAuthority(life)
  const folder = makeFolder(life)
  const measure = async (name: string, revocations: number) => {
    const server = await startStoreServer(life)
    const now = Math.floor(Date.now() / 1_000)
    for (let from = 1; from <= revocations; from += 5_000) {
      const to = Math.min(revocations, from + 4_999)
      await server.ask('EVAL', fill, '0', `${from}`, `${to}`, `${now}`)
    }
    const used = /used_memory:(\d+)/.exec(await server.ask('INFO', 'memory'))?.[1]
    print(`${name}: memory of the server`, Number(used) / 1e6, 'MB')
    const began = performance.now()
    const store = { url: server.url }
    const replica = await launchReplica(life, authority, folder, name, store, { cacheSeconds: 600 })
    while (
      (await fetch(`${replica.service.origin}/readyz`).catch(() => undefined))?.status !== 200
    ) {
      await new Promise((over) => setTimeout(over, 20))
    }
    print(`${name}: start of the verifier until it is ready`, performance.now() - began, 'ms')
    const { pid, origin } = replica.service
    const again = performance.now()
    const feed = await fetch(`${origin}/revocations`)
    const body = await feed.text()
    print(`${name}: GET /revocations`, performance.now() - again, 'ms')
    print(`${name}: its size`, body.length, 'bytes')
    const idle = cpuMs(pid)
    await new Promise((over) => setTimeout(over, 20_000))
    print(`${name}: processor time of the verifier at rest`, (cpuMs(pid) - idle) / 20, 'ms per s')
    print(`${name}: memory of the verifier`, memoryMb(pid), 'MB')

    const application = await createNativeApplication('%[req.fhdr(x-auth-request-user)]')
    const config = join(folder, `${name}.cfg`)
    writeFileSync(config, application.edit(readFileSync(shippedConfig, 'utf8')))
    const haproxy = await startHaproxy({
      verifier: replica.service.address,
      application: application.address,
      configs: [config],
    })
    life.after(() => haproxy.stop())
    const token = await authority.token('alice')
    const lanes = Array.from({ length: 4 }, () => createLane(haproxy.port))
    return async (): Promise<number> => {
      const before = { cpu: cpuMs(haproxy.pid), hits: await hits() }
      await Promise.all(
        lanes.map(async (lane) => {
          for (let i = 0; i < hitsPerRound / lanes.length; i++) await lane.ask(token)
        }),
      )
      const share = ((await hits()) - before.hits) / hitsPerRound
      if (share < 0.99) process.stdout.write(`only ${share} of the requests were hits\n`)
      return ((cpuMs(haproxy.pid) - before.cpu) / hitsPerRound) * 1_000
    }
    async function hits(): Promise<number> {
      return (await readMetrics({ haproxy })).get('cache_hits_total') ?? 0
    }
  }
  const none = await measure('none', 0)
  const many = await measure(`${count}`, count)
  const costs: [number[], number[]] = [[], []]
  // In turn, so that what else the machine does meets both.
  for (let round = 0; round < 5; round++) {
    costs[0].push(await none())
    costs[1].push(await many())
  }
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
  print('processor time of HAProxy for a hit, with none', median(costs[0]), 'µs')
  print(`processor time of HAProxy for a hit, with ${count}`, median(costs[1]), 'µs')
} finally {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
}
