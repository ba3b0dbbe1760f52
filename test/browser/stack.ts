/** dev-entra, the service with sign-in, HAProxy with TLS, an application, and browsers. */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { BrowserContext, Page } from 'playwright-core'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { type Haproxy, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { buildDevEntra } from '../../src/dev-entra/app.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { contoso } from '../clients/authority.ts'
import { portal } from '../dev-entra/browser.ts'
import {
  type Life,
  makeFolder,
  type ServiceProcess,
  startService,
  untilReady,
} from '../serve/process.ts'
import { type Application, startApplication } from './application.ts'
import { type ChromiumOptions, startChromium } from './chromium.ts'

export const host = 'portal.contoso.test'
export const otherHost = 'wiki.contoso.test'
/** Where people open the application. */
export const home = `https://${host}`

export interface StackOptions {
  readonly recheckMinutes?: number
  readonly sessionHours?: number
}

export interface Stack {
  readonly entra: FastifyInstance
  /** Origin of dev-entra. */
  readonly authority: string
  readonly service: ServiceProcess
  readonly haproxy: Haproxy
  readonly application: Application
  /** Starts a browser for the hosts of the stack; it ends with the stack. */
  openBrowser(options?: ChromiumOptions): Promise<BrowserContext>
  /** Sends to `/dev/…` of dev-entra. */
  tell(path: string, body: object): Promise<void>
  stop(): Promise<void>
}

const policies = ['portal', 'staff', 'members', 'strong']

/** Starts all of it on free ports of loopback. */
export async function startBrowserStack(options: StackOptions = {}): Promise<Stack> {
  const cleanUps: (() => unknown)[] = []
  const t: Life = { after: (cleanUp) => void cleanUps.push(cleanUp) }
  const stop = async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  }
  try {
    const entra = buildDevEntra({ now: Date.now })
    t.after(() => entra.close())
    const authority = await entra.listen({ host: '127.0.0.1', port: 0 })
    const folder = makeFolder(t)
    const [front = 0, plain = 0, signInPort = 0] = await freePorts(3)
    writeFileSync(join(folder, 'config.yaml'), formatConfig(authority, signInPort, folder, options))
    writeFileSync(join(folder, 'secret'), 'portal-secret\n', { mode: 0o600 })
    const service = await startService(t, { ENTRA_AUTH_CONFIG: join(folder, 'config.yaml') })
    await untilReady(service)
    const application = await startApplication(service.origin, (path) => {
      const [, name = ''] = /^\/([a-z]+)/.exec(path) ?? []
      return policies.includes(name) ? name : 'portal'
    })
    t.after(() => application.stop())
    const identity = await createTlsIdentity(Date.now, randomBytes, [host, otherHost])
    const pem = join(folder, 'haproxy.pem')
    writeFileSync(pem, identity.cert + identity.key, { mode: 0o600 })
    const haproxyConfig = join(folder, 'haproxy.cfg')
    writeFileSync(haproxyConfig, formatHaproxy(front, pem, signInPort, application.address))
    const haproxy = await startHaproxy({
      verifier: service.address,
      application: application.address,
      configs: [haproxyConfig],
      // It has to answer in plain HTTP, which is how its start is waited for.
      port: plain,
    })
    t.after(() => haproxy.stop())
    const hosts = { [host]: `127.0.0.1:${front}`, [otherHost]: `127.0.0.1:${front}` }
    return {
      entra,
      authority,
      service,
      haproxy,
      application,
      openBrowser: (chromium = {}) => startChromium(t, { hosts, ...chromium }),
      async tell(path, body) {
        const reply = await entra.inject({ method: 'POST', url: path, payload: body })
        if (reply.statusCode !== 200) throw new Error(reply.body)
      },
      stop,
    }
  } catch (failure) {
    await stop()
    throw failure
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

function formatConfig(
  authority: string,
  port: number,
  folder: string,
  { recheckMinutes = 60, sessionHours = 8 }: StackOptions,
): string {
  return `
tenants: { contoso: { id: ${contoso}, authority: ${authority} } }
revocationFile: ${join(folder, 'revocations.json')}
signIn:
  clientId: ${portal}
  tenant: contoso
  credential: { clientSecretFile: ${join(folder, 'secret')} }
  hosts: [${host}, ${otherHost}]
  listen: { host: 127.0.0.1, port: ${port} }
  sealingKeys: ${join(folder, 'sealing')}
  recheckMinutes: ${recheckMinutes}
  sessionHours: ${sessionHours}
policies:
  portal: { allow: [{ actor: user, session: true }] }
  staff: { allow: [{ actor: user, session: true, groups: [44444444-4444-4444-8444-444444444444] }] }
  members: { allow: [{ actor: user, session: true, guests: false }] }
  strong: { allow: [{ actor: user, session: true, authContext: c1 }] }
`
}

function formatHaproxy(port: number, pem: string, signInPort: number, application: string): string {
  return `
global
    log stdout format raw local0 info
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend web
    bind "\${ENTRA_AUTH_BIND}"
    bind 127.0.0.1:${port} ssl crt ${pem} alpn h2,http/1.1
    http-request return status 200 if { path /haproxy-livez }
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    use_backend sign_in if { path /oauth2 } or { path_beg /oauth2/ }
    default_backend application
backend sign_in
    server listener 127.0.0.1:${signInPort}
backend application
    server application ${application}
`
}
