/**
 * How long does a thread of HAProxy not look at its connections, while a long list of revocations changes in all
 * Lua states? Measured is the CPU time between two polls of a thread: threads of this benchmark share few cores,
 * so their waits for a core are left out. HAProxy has real-time priority (`chrt --fifo`), so that the system takes
 * no thread off its core in between. Otherwise others spin for as long as the one that holds a lock waits for a
 * core: then 64 threads of HAProxy without any Lua show 4 to 8 ms on two cores.
 */
import { randomUUID } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { benchTenant } from '../tokens.ts'
import { frontConfig, type Ports, shippedFront } from './configs.ts'
import { median, round } from './numbers.ts'
import { cpuTime, memory, runProgram } from './programs.ts'
import { type Bench, withStack } from './stack.ts'
import { cpuUs } from './variants.ts'
import { startVerifier } from './verifier.ts'

const threads = 64
const revocations = 10_000
const changes = 5
/** Times without a change. */
const quietTimes = 2
/** Until each thread has read the list. */
const changeSeconds = 8
/** As in thread-polls.c. */
const slots = 256

/**
 * The longest time in each thread: after the start, while nothing changes, and after each change of the list.
 * `withoutLua` is HAProxy alone under the same load, to compare with.
 */
export async function measureStalls(bench: Bench, authority: string) {
  const library = join(bench.files.folder, 'thread-polls.so')
  const source = join(import.meta.dirname, 'thread-polls.c')
  await runProgram(['cc', '-O2', '-shared', '-fPIC', '-o', library, source, '-ldl'])
  const setup: Setup = {
    bench,
    library,
    list: createList(join(bench.files.folder, `revocations-${bench.version}.json`)),
    authority,
  }
  setup.list.write()
  const alone = (ports: Ports) => frontConfig('alone', ports, bench.files)
  return {
    threads,
    revocations,
    withoutLua: (await measureSetup(setup, alone, 0)).results,
    ...(await measureSetup(setup, shippedFront, changes)),
  }
}

interface Setup {
  readonly bench: Bench
  readonly library: string
  readonly list: ReturnType<typeof createList>
  readonly authority: string
}

async function measureSetup(
  { bench, library, list, authority }: Setup,
  config: (ports: Ports) => string,
  changes: number,
) {
  const { folder } = bench.files
  const times = createTimes(join(folder, `polls-${bench.version}`))
  const options = {
    wrapper: ['chrt', '--fifo', '1', 'env', `LD_PRELOAD=${library}`, `POLL_TIMES=${times.file}`],
    // HAProxy 3.4 warns of more threads than cores.
    config: (ports: Ports) =>
      config(ports)
        .replace('nbthread 1\n', `nbthread ${threads}\n`)
        .replace(/^ +zero-warning\n/m, ''),
    startVerifier: async ({ verifier }: Ports) =>
      (await startVerifier(verifier, authority, folder, { config: { revocationFile: list.file } }))
        .child,
  }
  return withStack(bench, options, async ({ front, ports }) => {
    const results: object[] = []
    const measure = async (what: string, change: () => void) => {
      times.forget()
      const before = cpuUs(cpuTime(front))
      change()
      const answers = await askFor(ports.front, bench.token)
      const longest = times.read()
      results.push({
        what,
        threads: longest.length,
        medianMs: round(median(longest), 2),
        longestMs: round(Math.max(...longest), 2),
        over5Ms: longest.filter((ms) => ms > 5).length,
        cpuMsForEachThread: round((cpuUs(cpuTime(front)) - before) / 1000 / threads, 1),
        ...answers,
      })
    }
    await measure('start', () => {})
    for (let index = 1; index <= quietTimes; index++) await measure(`nothing ${index}`, () => {})
    for (let index = 1; index <= changes; index++) await measure(`change ${index}`, list.write)
    return { results, haproxyMiB: memory(front).nowMiB }
  })
}

/** The longest CPU time between two polls of each thread, in a file that thread-polls.c writes. */
function createTimes(file: string) {
  writeFileSync(file, Buffer.alloc(slots * 8))
  return {
    file,
    forget() {
      // In place: the threads have it mapped.
      writeFileSync(file, Buffer.alloc(slots * 8), { flag: 'r+' })
    },
    /** In ms, of each thread that polled. */
    read(): number[] {
      const bytes = readFileSync(file)
      const all = Array.from({ length: slots }, (_, slot) =>
        Number(bytes.readBigUInt64LE(slot * 8)),
      )
      return all.filter((ns) => ns > 0).map((ns) => ns / 1e6)
    },
  }
}

/** Revocations of users that send nothing here. Each write has one more. */
function createList(file: string) {
  const now = Math.floor(Date.now() / 1000)
  const create = () => ({
    kind: 'user',
    id: `${benchTenant}/${randomUUID()}`,
    before: now,
    until: now + 24 * 3600,
  })
  const list = Array.from({ length: revocations - changes - 1 }, create)
  return {
    file,
    write() {
      list.push(create())
      writeFileSync(`${file}.new`, JSON.stringify({ revocations: list }), { mode: 0o600 })
      renameSync(`${file}.new`, file)
    },
  }
}

/** Requests on new connections, one after the other, so that many threads have some. */
async function askFor(port: number, token: string) {
  const headers = { authorization: `Bearer ${token}`, connection: 'close' }
  const end = performance.now() + changeSeconds * 1000
  let [requests, failed] = [0, 0]
  for (; performance.now() < end; requests++) {
    const reply = await fetch(`http://127.0.0.1:${port}/orders`, { headers })
    await reply.arrayBuffer()
    if (reply.status !== 200) failed++
    await sleep(5)
  }
  return { requests, failed }
}
