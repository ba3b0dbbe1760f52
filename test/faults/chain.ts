/** The whole way as an operator runs it: an authority, verifiers as processes, HAProxy, an application. */
import { readFileSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import {
  type Haproxy,
  type HaproxyOptions,
  shippedConfig,
  startHaproxy,
} from '../../scripts/local-stack/haproxy.ts'
import { givePatience, patientTimeoutMs } from '../../scripts/local-stack/patience.ts'
import { type Authority, contoso, createAuthority, ordersId } from '../serve/authority.ts'
import {
  type Life,
  makeFolder,
  type ServiceProcess,
  type Stdout,
  startService,
  untilReady,
} from '../serve/process.ts'
import { type Clock, makeClock } from './clock.ts'
import { makeGate } from './gate.ts'
import { startWitness, type Witness } from './witness.ts'

/** Object id of the persona carol, who is revoked from the start. */
const carol = 'a3333333-3333-4333-8333-333333333333'

export interface ChainOptions {
  /** Default: one. */
  readonly verifiers?: 1 | 2
  /** What the clock of the verifiers drags along; default: no clock of their own. */
  readonly clock?: 'wall' | 'wall and timers'
  readonly haproxy?: Pick<HaproxyOptions, 'binary' | 'args' | 'env'>
  readonly haproxyThreads?: number
  /** HAProxy waits no longer for a verifier than it ships with; by default it has patience. */
  readonly shippedTimeouts?: true
  /** More environment of the verifiers. */
  readonly env?: Readonly<Record<string, string>>
  /** Where the log of the verifiers goes; by default it is read. */
  readonly stdout?: Stdout
  /** What happens to the authority before the verifiers start; they need not become ready then. */
  readonly beforeStart?: (chain: Pick<Chain, 'authority' | 'shutAuthority'>) => Promise<void>
}

export interface Verifier {
  /** The process that runs at present. */
  readonly process: ServiceProcess
  readonly adminOrigin: string
  readonly revocationFile: string
  /** Writes another configuration, with one tenant more, as YAML. */
  addTenant(name: string, id: string, authority: string): void
  /** Starts a new process at the same address, once the one before has ended. */
  startAnew(): Promise<void>
}

export interface Chain extends Life {
  readonly authority: Authority
  readonly verifier: Verifier
  readonly verifiers: readonly Verifier[]
  readonly haproxy: Haproxy
  readonly witness: Witness
  readonly clock: Clock
  shutAuthority(): Promise<void>
  openAuthority(): Promise<void>
  /** Ends HAProxy and starts it again at the same address. */
  restartHaproxy(): Promise<void>
}

/** Starts everything; ready, unless something happens before the start. */
export async function startChain(test: Life, options: ChainOptions = {}): Promise<Chain> {
  const t = endBackwards(test)
  const gate = await makeGate(t)
  const authority = await createAuthority(t, { origin: gate.origin })
  await authority.listen()
  const { port } = authority.entra.server.address() as AddressInfo
  const openAuthority = () => gate.open(port)
  await openAuthority()
  await options.beforeStart?.({ authority, shutAuthority: gate.shut })

  const clock = makeClock(t, options.clock)
  const verifiers = await Promise.all(
    Array.from({ length: options.verifiers ?? 1 }, () =>
      startVerifier(t, gate.origin, clock, options),
    ),
  )
  if (!options.beforeStart) await Promise.all(verifiers.map((one) => untilReady(one.process)))
  const [verifier] = verifiers as [Verifier, ...Verifier[]]

  const witness = await startWitness(t)
  const start = (port: number) =>
    startHaproxy({
      ...options.haproxy,
      port,
      verifier: verifier.process.address,
      application: witness.address,
      configs: [config],
      // The limit of bad tokens of one address would hide what the verifier says of them.
      env: {
        ENTRA_AUTH_BAD_TOKENS_PER_10S: '1000000',
        ...(!options.shippedTimeouts && { ENTRA_AUTH_TIMEOUT_MS: patientTimeoutMs }),
        ...options.haproxy?.env,
      },
    })
  const config = writeConfig(t, verifiers, options)
  const [haproxyPort = 0] = await freePorts(1)
  let haproxy = await start(haproxyPort)
  t.after(() => haproxy.stop())
  return {
    after: t.after,
    authority,
    verifier,
    verifiers,
    witness,
    clock,
    get haproxy() {
      return haproxy
    },
    shutAuthority: gate.shut,
    openAuthority,
    async restartHaproxy() {
      await haproxy.stop()
      haproxy = await start(haproxy.port)
    },
  }
}

/** What was started last ends first: traffic before HAProxy, HAProxy before the verifiers. */
function endBackwards(test: Life): Life {
  const cleanUps: (() => unknown)[] = []
  test.after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })
  return { after: (cleanUp) => void cleanUps.push(cleanUp) }
}

async function startVerifier(
  t: Life,
  authority: string,
  clock: Clock,
  { env: more, stdout, shippedTimeouts }: ChainOptions,
): Promise<Verifier> {
  const folder = makeFolder(t)
  const [port = 0, adminPort = 0] = await freePorts(2)
  const file = join(folder, 'config.yaml')
  const revocationFile = join(folder, 'revocations.json')
  const nowSeconds = Math.floor(Date.now() / 1000)
  const revoked = { kind: 'user', id: `${contoso}/${carol}`, before: nowSeconds + 86_400 }
  const revocations = [{ ...revoked, until: nowSeconds + 172_800 }]
  writeFileSync(revocationFile, JSON.stringify({ revocations }))
  const writeTenants = (tenants: string) =>
    writeFileSync(
      file,
      `
admin: { port: ${adminPort} }
${shippedTimeouts ? '' : withoutShedding}
revocationFile: ${JSON.stringify(revocationFile)}
tenants: { contoso: { id: ${contoso}, authority: ${authority} }${tenants} }
policies:
  orders: { audiences: [${ordersId}], allow: [{ actor: user, scopes: [Orders.Read] }] }
`,
    )
  writeTenants('')
  const env = { ENTRA_AUTH_CONFIG: file, ENTRA_AUTH_ADMIN_PORT: '', ...clock.env, ...more }
  const options = { port, ...(stdout !== undefined && { stdout }) }
  let process = await startService(t, env, options)
  return {
    get process() {
      return process
    },
    adminOrigin: `http://127.0.0.1:${adminPort}`,
    revocationFile,
    addTenant: (name, id, origin) => writeTenants(`, ${name}: { id: ${id}, authority: ${origin} }`),
    async startAnew() {
      await process.exited
      process = await startService(t, env, options)
    },
  }
}

/** Answers late rather than 503 on a busy machine, where HAProxy has the patience to wait. */
const withoutShedding = 'overload: { maxEventLoopLagMs: 0 }'

/** The shipped configuration, with the second server that its comment shows where there are two. */
function writeConfig(t: Life, verifiers: readonly Verifier[], options: ChainOptions): string {
  const [, second] = verifiers
  let text = readFileSync(shippedConfig, 'utf8')
  const edit = (what: string | RegExp, by: string) => {
    const edited = text.replace(what, by)
    if (edited === text) throw new Error(`the shipped configuration has no ${what}: adapt the test`)
    text = edited
  }
  if (second) edit(/# server v2 .*/, `server v2 ${second.process.address}`)
  const { haproxyThreads: threads } = options
  if (threads !== undefined) edit(/^global$/m, `global\n    nbthread ${threads}`)
  if (!options.shippedTimeouts) text = givePatience(text)
  const file = join(makeFolder(t), 'haproxy.cfg')
  writeFileSync(file, text)
  return file
}
