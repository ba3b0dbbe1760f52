/**
 * Measures what many revocations in the store cost, for docs/store.md:
 *
 *     node scripts/store-size.ts [COUNT] [redis|valkey]
 *
 * Prints memory of the server, start and memory of a verifier, the size and the time of a poll by
 * HAProxy, what a poll of the store costs, and the processor time of HAProxy for a hit, without any
 * revocation and with all of them: pairs of short rounds, in turn, and the median of their ratios with
 * its interval of 95 %. The last line is JSON for bench/results.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readMetrics } from '../test/e2e/cache-stack.ts'
import { createLane } from '../test/load/lane.ts'
import { createNativeApplication } from '../test/load/native-application.ts'
import { startAuthority } from '../test/serve/authority.ts'
import { makeFolder } from '../test/serve/process.ts'
import { shippedConfig, startHaproxy } from './local-stack/haproxy.ts'
import { storeServerCommand } from './store-servers.ts'

const [count, which] = [Number(process.argv[2] ?? 1_000_000), process.argv[3] ?? 'valkey']
const hitsPerRound = 4_000
const pairs = 80
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

/** Processor time of all threads of a process so far, in ms, by the scheduler's own count in ns. */
function exactCpuMs(pid: number): number {
  const times = readdirSync(`/proc/${pid}/task`).map((thread) =>
    Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]),
  )
  return times.reduce((sum, ns) => sum + ns, 0) / 1e6
}

const memoryMb = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024

const measured: Record<string, string> = {}

function print(what: string, value: number, unit: string): void {
  measured[what] = `${value.toFixed(value < 10 ? 2 : 0)} ${unit}`
  process.stdout.write(`${what.padEnd(52)} ${measured[what]}\n`)
}

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
    /** µs a request. */
    const spend = async (): Promise<number> => {
      const before = exactCpuMs(haproxy.pid)
      await Promise.all(
        lanes.map(async (lane) => {
          for (let i = 0; i < hitsPerRound / lanes.length; i++) await lane.ask(token)
        }),
      )
      return ((exactCpuMs(haproxy.pid) - before) / hitsPerRound) * 1_000
    }
    // Threads tell their numbers to each other once a second, so only a long time has a right count.
    const hits = async () => {
      await new Promise((over) => setTimeout(over, 1_500))
      await lanes[0]?.ask(token)
      return (await readMetrics({ haproxy })).get('cache_hits_total') ?? 0
    }
    return { spend, hits }
  }
  const none = await measure('none', 0)
  const many = await measure(`${count}`, count)
  // In turn and from either side, so that what else the machine does meets both.
  const rounds: { readonly none: number; readonly many: number }[] = []
  // The first rounds fill caches.
  for (const { spend } of [none, many, none, many]) await spend()
  const before = [await none.hits(), await many.hits()]
  while (rounds.length < pairs) {
    const [first, second] = rounds.length % 2 === 0 ? [none, many] : [many, none]
    const [one, other] = [await first.spend(), await second.spend()]
    rounds.push(rounds.length % 2 === 0 ? { none: one, many: other } : { none: other, many: one })
  }
  for (const [index, { hits }] of [none, many].entries()) {
    const share = ((await hits()) - (before[index] ?? 0)) / (pairs * hitsPerRound)
    if (share < 0.99) throw new Error(`only ${share} of the requests were hits`)
  }
  const sorted = (values: readonly number[]) => values.toSorted((one, other) => one - other)
  const at = (values: readonly number[], index: number) => sorted(values)[index] ?? Number.NaN
  const ratios = rounds.map((round) => round.many / round.none)
  // Ranks between which the median of all lies with 95 %: binomial, in its normal approximation.
  const half = Math.ceil(0.98 * Math.sqrt(pairs))
  const middle = pairs / 2
  const [low, median, high] = [middle - half, middle, middle + half].map((rank) => at(ratios, rank))
  const medianOf = (which: 'none' | 'many') =>
    at(
      rounds.map((round) => round[which]),
      middle,
    )
  print('processor time of HAProxy for a hit, with none', medianOf('none'), 'µs')
  print(`processor time of HAProxy for a hit, with ${count}`, medianOf('many'), 'µs')
  const percent = (ratio = Number.NaN) => Number(((ratio - 1) * 100).toFixed(2))
  process.stdout.write(
    `difference, median of ${pairs} pairs: ${percent(median)} % (${percent(low)} to ${percent(high)} %)\n`,
  )
  const hit = {
    ...{ noneUs: medianOf('none'), manyUs: medianOf('many'), pairs, hitsPerRound },
    differencePercent: { low: percent(low), median: percent(median), high: percent(high) },
  }
  process.stdout.write(`${JSON.stringify({ server: which, count, measured, hit })}\n`)
} finally {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
}
