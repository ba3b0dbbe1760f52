// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
/**
 * The processes of the demo: dev-entra and the verifier as they are started by hand, HAProxy with
 * the configuration that ships, and a small application in this process.
 */
import { readFileSync, rmSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/config/load.ts'
import { clients, contoso, ordersApi } from '../../src/dev-entra/directory.ts'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { type EchoApp, startEchoApp } from '../local-stack/echo-app.ts'
import { freePorts } from '../local-stack/free-port.ts'
import { type Haproxy, startHaproxy } from '../local-stack/haproxy.ts'
import { callUntil } from './call.ts'
import { type Program, ProgramFailure, startProgram } from './program.ts'

/** The verifier, which the tour stops and starts. */
export interface VerifierControl {
  readonly origin: string
  readonly adminOrigin: string
  /** Ends the process and waits until it is gone. */
  stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>
  /** Stops it from running without ending it, as a machine that hangs. */
  freeze(): void
  /** Revokes through its admin listener, as the command `revocations add` does. */
  revoke(kind: 'user', id: string): Promise<void>
  /** Starts it again and waits until HAProxy gets its answers. */
  start(): Promise<void>
}

/** Everything that runs, reachable on loopback. */
export interface Stack {
  readonly devEntraOrigin: string
  readonly verifier: VerifierControl
  readonly haproxy: Haproxy
  /** A second HAProxy, for people with a browser. */
  readonly portal: Haproxy
  readonly application: EchoApp
  /** The verifier's configuration file. */
  readonly configFile: string
  /** Resolves when a process ended that nobody stopped. */
  readonly died: Promise<ProgramFailure>
}

/** What has to be undone, the newest first. */
export interface Cleanup {
  /** Keeps it for `run`; after that, undoes it at once. */
  add(undo: () => Promise<void> | void): void
  run(): Promise<void>
}

/** Creates an empty list of things to undo. */
export function createCleanup(): Cleanup {
  const undos: (() => Promise<void> | void)[] = []
  let isOver = false
  return {
    add(undo) {
      if (isOver) void undo()
      else undos.push(undo)
    },
    async run() {
      isOver = true
      for (let undo = undos.pop(); undo; undo = undos.pop()) await undo()
    },
  }
}

export interface StackOptions {
  readonly cleanup: Cleanup
  /** Told when a part starts (without a result) and when it runs. */
  readonly progress: (name: string, result: string) => void
  /** Default: the action that ships. */
  readonly lua?: string | undefined
}

/** Starts everything, one after the other; what was started is in `cleanup` also on failure. */
export async function startStack({ cleanup, progress, lua }: StackOptions): Promise<Stack> {
  let reportDeath: (failure: ProgramFailure) => void = () => {}
  const died = new Promise<ProgramFailure>((done) => {
    reportDeath = done
  })
  const run = (name: string, args: readonly string[]): Program => {
    const program = startProgram(name, args)
    cleanup.add(() => program.stop())
    return program
  }
  const watch = (program: Program) =>
    void program.ended.then((failure) => {
      if (!program.isStopping()) reportDeath(failure)
    })

  const folder = await mkdtemp(join(tmpdir(), 'haproxy-entra-auth-demo-'))
  const removeFolder = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', removeFolder)
  cleanup.add(removeFolder)

  const devEntra = run('dev-entra', ['dev-entra', 'serve', '--port', '0'])
  const [, devEntraOrigin = ''] = await devEntra.waitForLine(/listens on (http:\/\/[^;\s]+)/)
  watch(devEntra)
  progress('dev-entra', `${devEntraOrigin}, stands in for Microsoft Entra ID`)

  const application = await startEchoApp()
  cleanup.add(() => application.stop())
  progress('application', `http://${application.address}, sends back what it sees`)

  const configFile = join(folder, 'config.yaml')
  const startVerifier = async (address: string) => {
    const program = run('verifier', ['serve', '--config', configFile])
    await untilReady(program, `http://${address}/readyz`)
    watch(program)
    return program
  }
  const secretFile = join(folder, 'portal-secret')
  await writeFile(secretFile, `${clients.portal.secret}\n`, { mode: 0o600 })
  const { address, admin, first } = await startOnFreePorts(async (ports) => {
    await writeFile(configFile, describeConfig(devEntraOrigin, folder, ports))
    const address = `127.0.0.1:${ports[0]}`
    const admin = `http://127.0.0.1:${ports[2]}`
    return { address, admin, first: await startVerifier(address) }
  })
  progress('verifier', `http://${address}, answers GET /verify/orders`)

  const haproxy = await startHaproxy({
    verifier: address,
    application: application.address,
    ...(lua === undefined ? {} : { lua }),
  })
  let stopping = false
  cleanup.add(() => {
    stopping = true
    return haproxy.stop()
  })
  // Waiting for a line that never comes is how the end of HAProxy shows.
  haproxy
    .waitForLog(() => false)
    .catch(() => {
      const lines = [...haproxy.logLines, ...haproxy.errorLines]
      if (!stopping) reportDeath(new ProgramFailure('HAProxy ended', lines))
    })
  await untilServing(haproxy)
  progress('HAProxy', `${haproxy.origin}, with haproxy-lua/haproxy.cfg`)

  const portalFile = join(folder, 'portal.cfg')
  await writeFile(portalFile, await printPortal(configFile))
  const portal = await startHaproxy({
    verifier: address,
    application: application.address,
    configs: [portalFile],
    ...(lua === undefined ? {} : { lua }),
  })
  cleanup.add(() => portal.stop())
  progress('portal', `${portal.origin}, HAProxy for people with a browser`)

  let current = first
  const verifier: VerifierControl = {
    origin: `http://${address}`,
    adminOrigin: admin,
    async revoke(kind, id) {
      const reply = await fetch(`${admin}/revocations`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ kind, id, reason: 'left the company' }),
      })
      if (reply.status !== 201) throw new Error(`not revoked: ${await reply.text()}`)
    },
    stop: (signal) => current.stop(signal),
    freeze: () => current.signal('SIGSTOP'),
    async start() {
      current = await startVerifier(address)
      await untilServing(haproxy)
    },
  }
  return { devEntraOrigin, verifier, haproxy, portal, application, configFile, died }
}

/** The printed configuration, with the portal at every host and the addresses of the demo. */
async function printPortal(configFile: string): Promise<string> {
  const loaded = await loadConfig({
    file: configFile,
    env: {},
    readFile: (path) => readFileSync(path, 'utf8'),
  })
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems))
  return printHaproxyConfig({ config: loaded.config, verifier: exampleVerifier, metadataPaths: [] })
    .replaceAll(`server v1 ${exampleVerifier}`, 'server v1 "${ENTRA_AUTH_VERIFIER_SERVER}"')
    .replaceAll(/server app \S+/g, 'server app "${ENTRA_AUTH_APP_SERVER}"')
    .replace(/^ *use_backend orders if .*\n/m, '')
    .replace(/use_backend portal if .*/, 'default_backend portal')
}

const exampleVerifier = '127.0.0.1:8080'

/** Another program may take a free port before it is used (exit code 69): then with new ones. */
async function startOnFreePorts<T>(start: (ports: readonly number[]) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(await freePorts(4))
    } catch (failure) {
      const taken = failure instanceof ProgramFailure && failure.exitCode === 69
      if (!taken || attempt === 3) throw failure
    }
  }
}

async function untilReady(program: Program, url: string): Promise<void> {
  const isReady = await callUntil(
    url,
    ({ status }) => status === 200,
    () => !program.isRunning(),
  )
  if (isReady) return
  const silent = program.isRunning()
  await program.stop('SIGKILL')
  const failure = await program.ended
  if (silent) failure.message = `${program.name} did not become ready: ${failure.message}`
  throw failure
}

/**
 * HAProxy's health check has to see the verifier before requests get its answers. A request without a
 * token would not tell: HAProxy answers it by itself.
 */
async function untilServing(haproxy: Haproxy): Promise<void> {
  const serves = await callUntil(
    `${haproxy.origin}/.well-known/oauth-protected-resource/orders`,
    ({ status }) => status !== 503,
    () => !haproxy.isRunning(),
  )
  if (serves) return
  throw new ProgramFailure('HAProxy gets no answer from the verifier', haproxy.logLines)
}

function describeConfig(
  authority: string,
  folder: string,
  [port, metrics, admin, signIn]: readonly number[],
): string {
  return `listen: { host: 127.0.0.1, port: ${port} }
metrics: { host: 127.0.0.1, port: ${metrics} }
admin: { host: 127.0.0.1, port: ${admin} }
revocationFile: ${JSON.stringify(join(folder, 'revocations.json'))}
tenants:
  contoso:
    id: ${contoso.id}
    authority: ${authority} # dev-entra; absent for the real Entra ID
policies:
  orders:
    tenants: [contoso]
    audiences: [${[...ordersApi.identifierUris.slice(0, 1), ordersApi.appId].join(', ')}]
    resource: https://api.contoso.com/orders
    allow:
      - { actor: user, scopes: [Orders.Read], guests: false }
      - { actor: app, roles: [Orders.Process] }
      - { actor: agent, scopes: [Orders.Read] }
  portal:
    allow:
      - { actor: user, session: true, guests: false }
signIn:
  clientId: ${clients.portal.appId}
  tenant: contoso
  credential: { clientSecretFile: ${JSON.stringify(join(folder, 'portal-secret'))} }
  hosts: [127.0.0.1, localhost]
  listen: { host: 127.0.0.1, port: ${signIn} }
  sealingKeys: ${JSON.stringify(join(folder, 'sealing'))}
`
}
