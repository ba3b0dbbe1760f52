// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
/**
 * All of it as an operator puts it together: dev-entra, the service as a process, two HAProxies with
 * TLS, the action and the lines that `haproxy-config` prints, an application, and browsers.
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { BrowserContext, Page } from 'playwright-core'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { contoso } from '../clients/authority.ts'
import { configOf } from '../config/fixture.ts'
import { portal } from '../dev-entra/browser.ts'
import {
  type Life,
  makeFolder,
  type ServiceProcess,
  startService,
  untilReady,
} from '../serve/process.ts'
import { eventually } from '../support/eventually.ts'
import { type Application, startApplication } from './application.ts'
import { type ChromiumOptions, startChromium } from './chromium.ts'
import { foreignHost, siblingHost, startOtherSites } from './other-site.ts'

export const host = 'portal.contoso.test'
export const otherHost = 'wiki.contoso.test'
/** A host that people sign in at, and whose redirect URI nobody registered. */
export const unregisteredHost = 'new.contoso.test'
/** Where people open the application. */
export const home = `https://${host}`

export interface Hours {
  /** Default: 60. */
  readonly recheckMinutes?: number
  /** Default: 8. */
  readonly sessionHours?: number
}

export interface Stack {
  readonly entra: FastifyInstance
  /** Origin of dev-entra. */
  readonly authority: string
  readonly service: ServiceProcess
  /** Browsers use the first one. Both answer in plain HTTP at their `port` too. */
  readonly haproxies: readonly [Haproxy, Haproxy]
  readonly application: Application
  /** Starts a browser for the hosts of the stack; it ends with the stack. */
  openBrowser(options?: ChromiumOptions): Promise<BrowserContext>
  /** Sends to `/dev/…` of dev-entra. */
  tell(path: string, body: object): Promise<void>
  /** Adds a revocation at the admin listener. */
  revoke(revocation: object): Promise<void>
  /** Value of one line of the service's metrics. */
  metric(line: string): Promise<number>
  /** Puts other hours in force by a reload, for all sessions; `{}` brings the usual ones back. */
  configure(hours: Hours): Promise<void>
  stop(): Promise<void>
}

/** Policies besides `portal`, each for the paths below its name. */
const policies = ['staff', 'members', 'strong']

/** Starts all of it on free ports of loopback. */
export async function startBrowserStack(): Promise<Stack> {
  const cleanUps: (() => unknown)[] = []
  const t: Life = { after: (cleanUp) => void cleanUps.push(cleanUp) }
  const stop = async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
  }
  try {
    return { ...(await start(t)), stop }
  } catch (failure) {
    await stop()
    throw failure
  }
}

async function start(t: Life): Promise<Omit<Stack, 'stop'>> {
  const entra = buildDevEntra({ now: Date.now })
  t.after(() => entra.close())
  const authority = await entra.listen({ host: '127.0.0.1', port: 0 })
  const folder = makeFolder(t)
  const [front = 0, plain = 0, secondPlain = 0, signIn = 0, admin = 0, metrics = 0] =
    await freePorts(6)
  const configFile = join(folder, 'config.yaml')
  const configText = (hours: Hours) =>
    formatConfig(authority, folder, { signIn, admin, metrics }, hours)
  writeFileSync(configFile, configText({}))
  writeFileSync(join(folder, 'secret'), 'portal-secret\n', { mode: 0o600 })
  const service = await startService(t, {
    ENTRA_AUTH_CONFIG: configFile,
    ENTRA_AUTH_ADMIN_PORT: '',
    ENTRA_AUTH_METRICS_PORT: '',
  })
  await untilReady(service)
  const application = await startApplication()
  t.after(() => application.stop())
  const identity = await createTlsIdentity(Date.now, randomBytes, [host, otherHost])
  const pem = join(folder, 'haproxy.pem')
  writeFileSync(pem, identity.cert + identity.key, { mode: 0o600 })
  const printed = printHaproxyConfig({
    config: await configOf(configText({}), { [join(folder, 'secret')]: 'portal-secret' }),
    verifier: '127.0.0.1:8080',
    metadataPaths: [],
  })
  async function startProxy(port: number, tlsPort?: number): Promise<Haproxy> {
    const file = join(folder, `haproxy-${port}.cfg`)
    writeFileSync(file, adapt(printed, pem, tlsPort))
    const haproxy = await startHaproxy({
      verifier: service.address,
      application: application.address,
      configs: [file],
      port,
    })
    t.after(() => haproxy.stop())
    return haproxy
  }
  const haproxies = [await startProxy(plain, front), await startProxy(secondPlain)] as const
  const others = await startOtherSites(t)
  const own = `127.0.0.1:${front}`
  const hosts = {
    ...{ [host]: own, [otherHost]: own, [unregisteredHost]: own },
    ...{ [siblingHost]: others, [foreignHost]: others },
  }
  return {
    entra,
    authority,
    service,
    haproxies,
    application,
    openBrowser: (chromium = {}) => startChromium(t, { hosts, ...chromium }),
    async tell(path, body) {
      const reply = await entra.inject({ method: 'POST', url: path, payload: body })
      if (reply.statusCode !== 200) throw new Error(reply.body)
    },
    async revoke(revocation) {
      const reply = await fetch(`http://127.0.0.1:${admin}/revocations`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(revocation),
      })
      if (reply.status !== 201) throw new Error(await reply.text())
    },
    async metric(line) {
      const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text()
      const found = text.split('\n').find((one) => one.startsWith(`${line} `))
      return Number(found?.split(' ')[1] ?? 0)
    },
    async configure(hours) {
      const from = service.log.length
      writeFileSync(configFile, configText(hours))
      service.kill('SIGHUP')
      await service.waitForLog(({ msg }) => msg === 'configuration reloaded', from)
    },
  }
}

/** Opens a page of the application, and clicks a person where dev-entra asks who it is. */
export async function signIn(browser: BrowserContext, persona: string, path = '/'): Promise<Page> {
  const page = await browser.newPage()
  await page.goto(`${home}${path}`)
  await choose(page, persona)
  return page
}

/** Waits until the application shows a page; fails with what is shown in its place. */
export async function arrive(page: Page): Promise<void> {
  try {
    await page.locator('#user').waitFor()
  } catch {
    const text = await page.locator('body').textContent()
    throw new Error(`not at the application but at ${page.url()}:\n${text}`)
  }
}

/** Clicks a person in the account picker. */
export async function choose(page: Page, persona: string): Promise<void> {
  await page.locator(`button[name="account"][value="${persona}"]`).click()
}

/** Opens a page until an address comes of it; returns that address. */
export function openUntil(page: Page, path: string, isRight: (url: string) => boolean) {
  return eventually(async () => {
    await page.goto(`${home}${path}`)
    return page.url()
  }, isRight)
}

interface Ports {
  readonly signIn: number
  readonly admin: number
  readonly metrics: number
}

function formatConfig(
  authority: string,
  folder: string,
  ports: Ports,
  { recheckMinutes = 60, sessionHours = 8 }: Hours,
): string {
  return `
tenants: { contoso: { id: ${contoso}, authority: ${authority} } }
admin: { port: ${ports.admin} }
metrics: { port: ${ports.metrics} }
revocationFile: ${JSON.stringify(join(folder, 'revocations.json'))}
signIn:
  clientId: ${portal}
  tenant: contoso
  credential: { clientSecretFile: ${JSON.stringify(join(folder, 'secret'))} }
  hosts: [${host}, ${otherHost}, ${unregisteredHost}]
  listen: { host: 127.0.0.1, port: ${ports.signIn} }
  sealingKeys: ${JSON.stringify(join(folder, 'sealing'))}
  recheckMinutes: ${recheckMinutes}
  sessionHours: ${sessionHours}
policies:
  portal: { allow: [{ actor: user, session: true }] }
  staff: { allow: [{ actor: user, session: true, groups: [44444444-4444-4444-8444-444444444444] }] }
  members: { allow: [{ actor: user, session: true, guests: false }] }
  strong: { allow: [{ actor: user, session: true, authContext: c1 }] }
`
}

/** The printed configuration with what an operator changes in it: certificate, application, paths. */
function adapt(printed: string, pem: string, tlsPort: number | undefined): string {
  const tls = `bind 127.0.0.1:${tlsPort} ssl crt ${pem} alpn h2,http/1.1`
  return printed
    .replaceAll('server v1 127.0.0.1:8080', 'server v1 "${ENTRA_AUTH_VERIFIER_SERVER}"')
    .replaceAll(/server app \S+/g, 'server app "${ENTRA_AUTH_APP_SERVER}"')
    .replace(/# CHANGE: bind :443 .*/, tlsPort === undefined ? '' : tls)
    .replace(
      '# http-request deny deny_status 400 unless',
      'http-request deny deny_status 400 unless',
    )
    .replace(/^ *use_backend (portal|staff|members|strong) if .*\n/gm, '')
    .replace(
      /^ *use_backend entra-sign-in .*$/m,
      (line) =>
        `${line}\n${policies.map((name) => `    use_backend ${name} if { path_beg /${name} }\n`).join('')}    default_backend portal`,
    )
}
