import { Agent, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { stringify } from 'yaml'
import { type App, buildApp } from '../../src/app.ts'
import type { Config } from '../../src/config/config.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createHttp, type Http, type HttpLimits } from '../../src/keys/http.ts'
import {
  createRevocationStore,
  type RevocationStore,
} from '../../src/revocation/revocation-store.ts'
import type { SignInPart } from '../../src/sign-in/part.ts'
import type { AuditSink } from '../../src/verify/audit-log.ts'
import { type FakeAuthority, startAuthority } from './authority.ts'
import { appIdUri, ids } from './ids.ts'
import { createManualTime, type ManualTime } from './time.ts'

/** A configuration file as an object. */
export type ConfigFile = Readonly<Record<string, unknown>>

/** The service on a loopback port, with an authority behind it and its time in the test's hand. */
export interface Service {
  readonly app: App
  readonly authority: FakeAuthority
  readonly time: ManualTime
  readonly port: number
  /** Each line of the log, as text. */
  readonly log: string[]
  reload(file: ConfigFile): Promise<void>
  close(): Promise<void>
}

export interface ServiceOptions {
  /** Default: none, and none can be made. */
  readonly revocations?: RevocationStore
  readonly authority?: FakeAuthority
  /** Members of the configuration file; those of the fixture stand where this has none. */
  readonly config?: ConfigFile
  /** Members of the policy `default`. */
  readonly policy?: ConfigFile
  readonly limits?: Partial<HttpLimits>
  readonly audit?: AuditSink | undefined
  /** Where a test of sessions or of sign-in has them. */
  readonly signIn?: SignInPart
  readonly http?: Http
  /** Where a test turns it apart from the clock. */
  readonly monotonic?: () => number
  /** Leaves the keys unread. */
  readonly unstarted?: boolean
}

/** Reply of the service to one request. */
export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
  readonly reason: string | undefined
  /** Parameters of `WWW-Authenticate: Bearer`; undefined without that header. */
  readonly challenge: Readonly<Record<string, string>> | undefined
}

/** Grants of the policy `default`, one for each kind of caller. */
export const grants = {
  user: { actor: 'user', scopes: ['Orders.Read'] },
  app: { actor: 'app', roles: ['Orders.Process'] },
  agent: { actor: 'agent', scopes: ['Orders.Read'] },
} as const

/** Starts the service for the fixture's API. */
export async function startService(options: ServiceOptions = {}): Promise<Service> {
  const authority = options.authority ?? (await startAuthority())
  const time = createManualTime()
  const log: string[] = []
  const http = options.http ?? createHttp({ ...testLimits, ...options.limits })
  const app = buildApp(await loadFile(fixtureConfig(authority.url, options)), {
    clock: () => time.nowMs,
    random: () => 0.5,
    http,
    revocations: options.revocations ?? createRevocationStore(undefined, () => time.nowMs),
    schedule: time.schedule,
    ...(options.monotonic && { monotonic: options.monotonic }),
    audit: options.audit,
    signIn: options.signIn,
    log: pino({ level: 'trace' }, { write: (line: string) => void log.push(line) }),
  })
  if (!options.unstarted) await app.start()
  await app.verify.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.verify.server.address() as AddressInfo
  return {
    app,
    authority,
    time,
    port,
    log,
    reload: async (file) => (await app.reload(await loadFile(file))).tried,
    async close() {
      agent.destroy()
      await app.close()
      await authority.close()
    },
  }
}

/** The fixture's configuration file, for services and for reloads. */
export function fixtureConfig(
  authorityUrl: string,
  { config = {}, policy = {} }: Pick<ServiceOptions, 'config' | 'policy'> = {},
): ConfigFile {
  return {
    tenants: {
      contoso: { id: ids.contoso, authority: authorityUrl },
      fabrikam: { id: ids.fabrikam, authority: authorityUrl },
    },
    policies: {
      default: {
        tenants: ['contoso'],
        audiences: [ids.api, appIdUri],
        allow: [grants.user, grants.app],
        ...policy,
      },
    },
    // What a test does in this process must not be taken for overload.
    overload: { maxEventLoopLagMs: 0 },
    log: { refusalsPerSecond: 10_000 },
    ...config,
  }
}

/** Asks for the verdict of a policy on a token, or on whatever headers are given. */
export function verify(
  service: Pick<Service, 'port'>,
  policy: string,
  credentials: string | Readonly<Record<string, string | string[]>>,
): Promise<Reply> {
  const headers =
    typeof credentials === 'string' ? { Authorization: `Bearer ${credentials}` } : credentials
  return ask(service, `/verify/${policy}`, { headers })
}

export interface AskOptions {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 })

/** One HTTP request to the service; the path goes out as it stands. */
export function ask(
  { port }: Pick<Service, 'port'>,
  path: string,
  { method = 'GET', headers = {}, body }: AskOptions = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: '127.0.0.1', port, path, method, headers, agent },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const single = Object.entries(response.headers).map(([name, value]) => [
            name,
            String(value),
          ])
          const named = Object.fromEntries(single) as Record<string, string>
          resolve({
            status: response.statusCode ?? 0,
            headers: named,
            body: Buffer.concat(chunks).toString('utf8'),
            reason: named['x-entra-auth-reason'],
            challenge: parseChallenge(named['www-authenticate']),
          })
        })
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}

/** Loads a configuration file that must be right. */
export async function loadFile(file: ConfigFile): Promise<Config> {
  const loaded = await loadConfig({
    file: 'config.yaml',
    env: {},
    readFile: (path) =>
      path === 'config.yaml' ? stringify(file, { aliasDuplicateObjects: false }) : callerKey,
  })
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems, null, 2))
  return loaded.config
}

/** Content of each key file that a configuration names. */
export const callerKey = 'fixture-caller-key-0123456789'

// Long, so that a busy machine misses none; a test that waits for a deadline gives its own.
const testLimits: HttpLimits = {
  connectTimeoutMs: 10_000,
  deadlineMs: 20_000,
  maxReplyBytes: 1024 * 1024,
}

// The authority is on loopback; a proxy of the machine has no part in it.
for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy']) {
  delete process.env[name]
}

/** Reads the parameters of one Bearer challenge (RFC 9110 section 11.2). */
function parseChallenge(header: string | undefined): Record<string, string> | undefined {
  if (header === undefined) return undefined
  const whole = /^Bearer ((?:[a-z_]+="[^"\\]*"(?:, |$))+)$/.exec(header)
  if (!whole) throw new Error(`not one Bearer challenge: ${header}`)
  const parameters = [...(whole[1] ?? '').matchAll(/([a-z_]+)="([^"\\]*)"/g)]
  return Object.fromEntries(parameters.map(([, name, value]) => [name, value]))
}
