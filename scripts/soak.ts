/**
 * Runs full load with new tokens through HAProxy, long enough to see memory grow:
 *
 *     npm run soak -- --minutes 30            (the default)
 *     npm run soak -- --requests 10000000
 *
 * `--known` is the share of requests that use one of 500 known tokens, in percent (default 70).
 * `--signed` is the share with a new valid token (default 10). The rest has new forged tokens. Signing
 * costs as much as dozens of requests, so a machine may not reach its share: the output says what was
 * sent. The last line is `N passed, N failed`.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads'
import { buildService } from './local-stack/built-service.ts'
import { freePorts } from './local-stack/free-port.ts'
import { shippedConfig, startHaproxy } from './local-stack/haproxy.ts'
import { givePatience, patientTimeoutMs } from './local-stack/patience.ts'
import type { LoadReport } from './soak/load.ts'
import { allocatorBytes, collectorBytes, judgeMemory, type Sample } from './soak/memory.ts'

const contoso = '11111111-1111-4111-8111-111111111111'
const ordersId = '33333333-3333-4333-8333-333333333333'
const sampleMs = 2_000
const progressMs = 30_000
/** From so long a run on, the second half finds a heap that has its size. */
const settledMs = 20 * 60_000
const mebibyte = 1024 * 1024

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    requests: { type: 'string' },
    known: { type: 'string', default: '70' },
    signed: { type: 'string', default: '10' },
    clients: { type: 'string', default: '32' },
  },
})
const requestLimit = Number(values.requests ?? 0)
const minutes = Number(values.minutes ?? (requestLimit > 0 ? 24 * 60 : 30))
if (!(minutes > 0) || !(requestLimit >= 0)) {
  process.stderr.write('--minutes and --requests must be numbers above 0\n')
  process.exit(64)
}

const folder = mkdtempSync(join(tmpdir(), 'entra-auth-soak-'))
const cleanUps: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })]
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void end().then(() => process.exit(130)))
}
try {
  process.exitCode = (await run()) ? 0 : 1
} finally {
  await end()
}

async function end(): Promise<void> {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
}

async function run(): Promise<boolean> {
  const { port1: signerPort, port2: loadPort } = new MessageChannel()
  const signer = startThread('signer.ts', { loadPort: signerPort }, [signerPort])
  const [{ origin, known }] = await once(signer, 'message')
  const application = startThread('application.ts')
  const [{ port: applicationPort }] = await once(application, 'message')
  const verifier = await startVerifier(origin)
  const haproxy = await startHaproxy({
    verifier: verifier.address,
    application: `127.0.0.1:${applicationPort}`,
    configs: [writePatientConfig()],
    env: {
      ENTRA_AUTH_BAD_TOKENS_PER_10S: '1000000000',
      ENTRA_AUTH_TIMEOUT_MS: patientTimeoutMs,
      // Full within a minute, so that a short run too sees what comes after.
      ENTRA_AUTH_CACHE_BYTES: String(4 * mebibyte),
    },
    discardLog: true,
  })
  cleanUps.push(() => haproxy.stop())

  const startedMs = performance.now()
  const elapsedMs = () => performance.now() - startedMs
  const load = startThread(
    'load.ts',
    {
      port: haproxy.port,
      known,
      signerPort: loadPort,
      clients: Number(values.clients),
      knownPercent: Number(values.known),
      signedPercent: Number(values.signed),
      requestLimit,
    },
    [loadPort],
  )
  let report: LoadReport | undefined
  let ended = false
  load.on('message', (message) => {
    report = message
    ended = message.ended === true
  })

  const ofVerifier: Sample[] = []
  const ofHaproxy: Sample[] = []
  let nextProgressMs = progressMs
  while (!ended && elapsedMs() < minutes * 60_000) {
    await wait(sampleMs)
    load.postMessage('report')
    ofVerifier.push({
      residentBytes: readResidentBytes(verifier.pid),
      entries: await readMetric(verifier.metricsUrl, 'entra_auth_token_cache_entries'),
    })
    ofHaproxy.push({
      residentBytes: readResidentBytes(haproxy.pid),
      entries: await readMetric(haproxy.metricsUrl, 'entra_auth_action_cache_entries'),
    })
    if (elapsedMs() < nextProgressMs) continue
    nextProgressMs += progressMs
    tell(elapsedMs(), report, ofVerifier.at(-1), ofHaproxy.at(-1))
  }
  load.postMessage('end')
  while (!ended) await wait(50)
  application.postMessage('report')
  const [{ arrived, wrong }] = await once(application, 'message')
  if (!report) throw new Error('the load said nothing')
  return conclude(report, elapsedMs(), { arrived, wrong }, ofVerifier, ofHaproxy)
}

function startThread(name: string, data: object = {}, transferList: MessagePort[] = []): Worker {
  const file = resolve(import.meta.dirname, 'soak', name)
  const worker = new Worker(file, { workerData: data, transferList })
  worker.on('error', (error) => {
    throw error
  })
  cleanUps.push(() => worker.terminate())
  return worker
}

async function startVerifier(authority: string) {
  const [port = 0, metricsPort = 0] = await freePorts(2)
  const file = join(folder, 'config.yaml')
  writeFileSync(
    file,
    `
listen: { port: ${port} }
metrics: { port: ${metricsPort} }
admin: { port: 0 }
tenants: { contoso: { id: ${contoso}, authority: ${authority} } }
policies:
  orders: { audiences: [${ordersId}], allow: [{ actor: user, scopes: [Orders.Read] }] }
`,
  )
  const { command, args } = buildService()
  const child = spawn(command, [...args, 'serve', '--config', file], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {},
  })
  const ended = once(child, 'exit')
  cleanUps.push(() => {
    child.kill('SIGKILL')
    return ended
  })
  const address = `127.0.0.1:${port}`
  for (let attempt = 0; ; attempt++) {
    const health = await fetch(`http://${address}/readyz`).catch(() => undefined)
    if (health?.status === 200) break
    if (attempt === 600) throw new Error('the verifier does not become ready')
    await wait(100)
  }
  return { address, pid: child.pid ?? 0, metricsUrl: `http://127.0.0.1:${metricsPort}/metrics` }
}

function writePatientConfig(): string {
  const file = join(folder, 'haproxy.cfg')
  writeFileSync(file, givePatience(readFileSync(shippedConfig, 'utf8')))
  return file
}

function readResidentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024
}

async function readMetric(url: string, name: string): Promise<number> {
  const page = await (await fetch(url)).text()
  const lines = page
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}

function sumUp(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

function tell(ms: number, report?: LoadReport, verifier?: Sample, haproxy?: Sample): void {
  const total = sumUp(report?.requests ?? {})
  const rate = Math.round(total / (ms / 1_000))
  const inMib = (bytes = 0) => Math.round(bytes / mebibyte)
  process.stdout.write(
    `${Math.round(ms / 1_000)} s  ${total} requests (${rate}/s), ${sumUp(report?.errors ?? {})} errors  verifier ${inMib(verifier?.residentBytes)} MiB, ${verifier?.entries} tokens  HAProxy ${inMib(haproxy?.residentBytes)} MiB, ${haproxy?.entries} verdicts\n`,
  )
}

function conclude(
  { requests, errors }: LoadReport,
  ms: number,
  { arrived, wrong }: { arrived: number; wrong: number },
  ofVerifier: readonly Sample[],
  ofHaproxy: readonly Sample[],
): boolean {
  const total = sumUp(requests)
  const isNew = requests.new + requests.forged
  process.stdout.write(
    `\n${total} requests in ${Math.round(ms / 1_000)} s, ${Math.round(total / (ms / 1_000))}/s: ${requests.known} with known tokens, ${requests.new} with new valid ones, ${requests.forged} with new forged ones; ${availableParallelism()} processors\n\n`,
  )
  const checks: [boolean, string][] = [
    [isNew > total / 100, `${isNew} requests had a token that was never seen before`],
    [sumUp(errors) === 0, `errors: ${JSON.stringify(errors)}`],
    [
      wrong === 0 && arrived === requests.known + requests.new,
      `${arrived} requests reached the application, ${wrong} under a wrong identity`,
    ],
    checkMemory('verifier', ofVerifier, ms < settledMs ? collectorBytes : allocatorBytes),
    checkMemory('HAProxy', ofHaproxy, allocatorBytes),
  ]
  for (const [ok, text] of checks) process.stdout.write(`${ok ? 'passed' : 'FAILED'}  ${text}\n`)
  const passed = checks.filter(([ok]) => ok).length
  process.stdout.write(`\n${passed} passed, ${checks.length - passed} failed\n`)
  return passed === checks.length
}

function checkMemory(
  name: string,
  samples: readonly Sample[],
  toleranceBytes: number,
): [boolean, string] {
  const { isFlat, thirdBytes, lastBytes, allowedBytes } = judgeMemory(samples, toleranceBytes)
  const mib = (bytes: number) => (bytes / mebibyte).toFixed(1)
  return [
    isFlat,
    `${name}: ${mib(thirdBytes)} MiB in the third quarter, ${mib(lastBytes)} MiB in the last (may have ${mib(allowedBytes)} more), ${samples.length} samples`,
  ]
}
