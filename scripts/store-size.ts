/**
 * Measures what many revocations in the store cost, for docs/store.md:
 *
 *     node scripts/store-size.ts [COUNT] [redis|valkey]
 *
 * Prints memory of the server, start and memory of a verifier, the size and the time of a poll by
 * HAProxy, what a poll of the store costs, and the instructions of HAProxy for a hit, without any
 * revocation and with all of them. valgrind counts the instructions: differences of time between two
 * processes are larger than what is looked for. The last line is JSON.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readMetrics } from '../test/e2e/cache-stack.ts'
import { createLane } from '../test/load/lane.ts'
import { createNativeApplication } from '../test/load/native-application.ts'
import { startAuthority } from '../test/serve/authority.ts'
import { makeFolder } from '../test/serve/process.ts'
import { findHaproxy, shippedConfig, shippedLua, startHaproxy } from './local-stack/haproxy.ts'
import { storeServerCommand } from './store-servers.ts'

const [count, which] = [Number(process.argv[2] ?? 1_000_000), process.argv[3] ?? 'valkey']
/** The difference of both is what hits cost: start, first misses and the end of the process cancel out. */
const [fewHits, manyHits] = [200, 1_700]
const runs = 2
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

const measured: Record<string, string> = {}

function print(what: string, value: number, unit: string): void {
  measured[what] = `${value.toFixed(value < 10 ? 2 : 0)} ${unit}`
  process.stdout.write(`${what.padEnd(52)} ${measured[what]}\n`)
}

/** None within the time that HAProxy has to know. */
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
    const text = readFileSync(shippedConfig, 'utf8').replace(/^global$/m, 'global\n    nbthread 1')
    writeFileSync(config, application.edit(text))
    const token = await authority.token('alice')
    // Polls go by the clock and not by requests, so there are to be few of them.
    const lua = join(folder, 'rarely-polling.lua')
    writeFileSync(
      lua,
      readFileSync(shippedLua, 'utf8').replace('POLL_LEAST_MS = 800', 'POLL_LEAST_MS = 5000'),
    )
    /** Instructions of HAProxy for so many hits, with its start. */
    const countFor = async (hits: number): Promise<number> => {
      const binary = await findHaproxy()
      const valgrind = ['--tool=callgrind', `--callgrind-out-file=${folder}/callgrind.%p`]
      const haproxy = await startHaproxy({
        verifier: replica.service.address,
        application: application.address,
        configs: [config],
        lua,
        binary: { command: 'valgrind', args: [...valgrind, binary.command, ...binary.args] },
        env: { ENTRA_AUTH_TIMEOUT_MS: '30000' },
      })
      const seen = async () => (await readMetrics({ haproxy })).get('cache_hits_total') ?? 0
      const lane = createLane(haproxy.port)
      while ((await seen()) === 0) await lane.ask(token)
      const before = await seen()
      for (let i = 0; i < hits; i++) await lane.ask(token)
      const share = ((await seen()) - before) / hits
      lane.close()
      await haproxy.stop()
      if (share < 0.99) throw new Error(`only ${share} of the requests were hits`)
      const [file = ''] = readdirSync(folder).filter((each) => each.startsWith('callgrind.'))
      const [, total] =
        /^(?:summary|totals): (\d+)/m.exec(readFileSync(join(folder, file), 'utf8')) ?? []
      rmSync(join(folder, file))
      return Number(total)
    }
    return async () =>
      ((await countFor(manyHits)) - (await countFor(fewHits))) / (manyHits - fewHits)
  }
  const none = await measure('none', 0)
  const many = await measure(`${count}`, count)
  const counts: Record<string, number[]> = { none: [], many: [] }
  for (let run = 0; run < runs; run++) {
    counts.none?.push(await none())
    counts.many?.push(await many())
  }
  const medianOf = (values: readonly number[] = []) =>
    values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? Number.NaN
  const base = medianOf(counts.none)
  for (const [name, values] of Object.entries(counts)) {
    print(`instructions of HAProxy for a hit, ${name}`, medianOf(values), '')
    const percent = values.map((value) => ((value / base - 1) * 100).toFixed(2))
    process.stdout.write(`  against none, each run: ${percent.join(' %, ')} %\n`)
  }
  process.stdout.write(`${JSON.stringify({ server: which, count, measured, hit: counts })}\n`)
} finally {
  for (const cleanUp of cleanUps.reverse()) await cleanUp()
}
