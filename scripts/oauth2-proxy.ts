/**
 * Drives oauth2-proxy and this project in the same set-up: dev-entra, HAProxy with TLS, a real Chromium.
 * By hand, with `OAUTH2_PROXY=path/to/oauth2-proxy npx node scripts/oauth2-proxy.ts`. The numbers are in
 * docs/sign-in.md.
 */
import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { BrowserContext, Page } from 'playwright-core'
import { buildDevEntra } from '../src/dev-entra/app.ts'
import { findUser } from '../src/dev-entra/personas.ts'
import { createTlsIdentity } from '../src/dev-entra/tls.ts'
import { startApplication } from '../test/browser/application.ts'
import { startChromium } from '../test/browser/chromium.ts'
import { host, startBrowserStack } from '../test/browser/stack.ts'
import { contoso } from '../test/clients/authority.ts'
import { portal } from '../test/dev-entra/browser.ts'
import { makeFolder } from '../test/serve/process.ts'
import { freePorts } from './local-stack/free-port.ts'
import { startHaproxy } from './local-stack/haproxy.ts'

/** One of the two, ready for a browser. */
interface Side {
  readonly name: string
  openBrowser(): Promise<BrowserContext>
  /** Sends to `/dev/…` of dev-entra. */
  tell(path: string, body: object): Promise<void>
  /** What it has logged. */
  readonly log: string[]
  /** Waits until a session needs Entra again: its re-check, or the end of its tokens. */
  untilDue(): Promise<void>
  stop(): Promise<void>
}

const wait = (ms: number) => new Promise((done) => setTimeout(done, ms))

async function startOurs(): Promise<Side> {
  const stack = await startBrowserStack()
  await stack.configure({ recheckMinutes: 0.05 })
  return {
    name: 'haproxy-entra-auth',
    openBrowser: () => stack.openBrowser(),
    tell: stack.tell,
    get log() {
      return stack.service.log
        .filter(({ level }) => Number(level) >= 40)
        .map((line) => JSON.stringify(line))
    },
    untilDue: async () => void (await wait(5_000)),
    stop: stack.stop,
  }
}

async function startPeer(name: string, options: readonly string[]): Promise<Side> {
  const cleanUps: (() => unknown)[] = []
  const t = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  // Its tokens end a minute after the start: dev-entra lives 59 minutes in the past.
  const tokenMs = 60_000
  const entra = buildDevEntra({
    now: () => Date.now() - 3_600_000 + tokenMs,
    random: (bytes) => (bytes === 2 ? Buffer.alloc(2) : randomBytes(bytes)),
  })
  t.after(() => entra.close())
  const authority = await entra.listen({ host: '127.0.0.1', port: 0 })
  const application = await startApplication()
  t.after(() => application.stop())
  const [front = 0, plain = 0, port = 0] = await freePorts(3)
  const log: string[] = []
  const proxy = spawn(
    process.env.OAUTH2_PROXY ?? 'oauth2-proxy',
    [
      '--provider=oidc',
      `--oidc-issuer-url=${authority}/${contoso}/v2.0`,
      `--client-id=${portal}`,
      '--client-secret=portal-secret',
      `--redirect-url=https://${host}/oauth2/callback`,
      `--cookie-secret=${randomBytes(32).toString('base64url')}`,
      '--scope=openid profile email offline_access',
      '--email-domain=*',
      '--oidc-email-claim=preferred_username',
      '--skip-provider-button',
      '--reverse-proxy',
      `--http-address=127.0.0.1:${port}`,
      `--upstream=http://${application.address}/`,
      ...options,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  for (const stream of [proxy.stdout, proxy.stderr]) {
    createInterface({ input: stream }).on('line', (line) => log.push(line))
  }
  t.after(() => proxy.kill())
  const folder = makeFolder(t)
  const identity = await createTlsIdentity(Date.now, randomBytes, [host])
  const pem = join(folder, 'haproxy.pem')
  writeFileSync(pem, identity.cert + identity.key, { mode: 0o600 })
  const config = join(folder, 'haproxy.cfg')
  // Buffers of the default size, 16384 bytes.
  writeFileSync(
    config,
    `global
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend www
    bind 127.0.0.1:${plain}
    bind 127.0.0.1:${front} ssl crt ${pem} alpn h2,http/1.1
    monitor-uri /haproxy-livez
    http-request set-header x-forwarded-proto https
    default_backend oauth2-proxy
backend oauth2-proxy
    server s1 127.0.0.1:${port}
`,
  )
  const haproxy = await startHaproxy({
    verifier: '127.0.0.1:1',
    application: application.address,
    configs: [config],
    port: plain,
  })
  t.after(() => haproxy.stop())
  const at = `127.0.0.1:${front}`
  return {
    name,
    openBrowser: () => startChromium(t, { hosts: { [host]: at } }),
    async tell(path, body) {
      const reply = await entra.inject({ method: 'POST', url: path, payload: body })
      if (reply.statusCode !== 200) throw new Error(reply.body)
    },
    get log() {
      return [
        ...log.filter((line) => /error|fail|unable/i.test(line)),
        ...haproxy.logLines.filter((line) => / (4|5)\d\d \d+ /.test(line)),
      ]
    },
    untilDue: async () => void (await wait(tokenMs + 10_000)),
    async stop() {
      for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
    },
  }
}

const home = `https://${host}`

/** Opens a page and clicks a person where dev-entra asks who it is. */
async function open(page: Page, path: string, persona: string) {
  const response = await page.goto(`${home}${path}`).catch((error: Error) => error.message)
  const account = page.locator(`button[name="account"][value="${persona}"]`)
  if ((await account.count()) > 0) await account.click()
  await page.waitForLoadState()
  return typeof response === 'string' ? response : response?.status()
}

const shown = async (page: Page) =>
  `${page.url().replace(/\?.*/, '')} "${((await page.textContent('body').catch(() => '')) ?? '').replace(/\s+/g, ' ').trim().slice(0, 160)}"`

const pathOf = async (page: Page) =>
  (await page.locator('#path').count()) > 0 ? page.locator('#path').textContent() : undefined

async function tryTabs(side: Side): Promise<object> {
  const browser = await side.openBrowser()
  const tabs = await Promise.all(Array.from({ length: 20 }, () => browser.newPage()))
  await Promise.all(tabs.map((tab, at) => tab.goto(`${home}/tab/${at}?x=1`)))
  await Promise.all(tabs.map((tab) => tab.locator('button[name="account"][value="alice"]').click()))
  await Promise.all(tabs.map((tab) => tab.waitForLoadState('networkidle')))
  const paths = await Promise.all(tabs.map(pathOf))
  const lost = paths.findIndex((path, at) => path !== `/tab/${at}?x=1`)
  const result = {
    arrived: paths.filter((path, at) => path === `/tab/${at}?x=1`).length,
    ...(lost >= 0 && { otherwise: await shown(tabs[lost] as Page), log: side.log.slice(-4) }),
  }
  await browser.close()
  return result
}

async function tryGroups(side: Side): Promise<object> {
  const browser = await side.openBrowser()
  const page = await browser.newPage()
  const statuses: string[] = []
  page.on('response', async (response) => {
    if (!response.url().startsWith(home)) return
    const cookies = (await response.headersArray().catch(() => []))
      .filter(({ name }) => name.toLowerCase() === 'set-cookie')
      .map(({ value }) => value.length)
    statuses.push(
      `${response.status()} ${new URL(response.url()).pathname}${cookies.length > 0 ? ` set-cookie ${cookies.join('+')}` : ''}`,
    )
  })
  await open(page, '/groups', 'groups200')
  await page.waitForLoadState('networkidle')
  const cookies = (await browser.cookies(home)).filter(({ name }) => !/login|csrf/.test(name))
  const result = {
    cookies: cookies.length,
    bytes: cookies.reduce((sum, { name, value }) => sum + name.length + value.length + 1, 0),
    statuses,
    shown: await shown(page),
    log: side.log.slice(-4),
  }
  await browser.close()
  return result
}

async function trySecret(side: Side): Promise<object> {
  const browser = await side.openBrowser()
  const page = await browser.newPage()
  await open(page, '/before', 'alice')
  await page.locator('#path').waitFor()
  await side.tell('/dev/refusal', { subject: 'portal', kind: 'secret-expired' })
  const from = side.log.length
  await open(page, '/at-once', 'alice')
  const atOnce = await shown(page)
  await side.untilDue()
  const status = await open(page, '/later', 'alice')
  const later = { status, shown: await shown(page) }
  const stranger = await (await side.openBrowser()).newPage()
  await open(stranger, '/new', 'bob')
  await stranger.waitForLoadState('networkidle')
  const result = {
    atOnce,
    later,
    newPerson: await shown(stranger),
    log: side.log.slice(from).slice(0, 6),
  }
  await browser.close()
  return result
}

// The ids of a real tenant's groups are random, which makes cookies that were compressed longer.
const groups = findUser('groups200')?.groups as string[]
groups.forEach((_, at) => {
  groups[at] = randomUUID()
})

/** `tryTabs` for instance; absent: all of them. */
const only = process.argv[2] || undefined
for (const start of [
  ...(process.argv[3] === 'peer' ? [] : [startOurs]),
  () => startPeer('oauth2-proxy', ['--cookie-refresh=10s']),
  () =>
    startPeer('oauth2-proxy, --cookie-csrf-per-request', [
      '--cookie-refresh=10s',
      '--cookie-csrf-per-request',
    ]),
]) {
  for (const attempt of [tryTabs, tryGroups, trySecret].filter(
    ({ name }) => only === undefined || name === only,
  )) {
    const side = await start()
    try {
      const result = await attempt(side).catch((error: Error) => ({ failed: error.message }))
      process.stdout.write(`${side.name} ${attempt.name} ${JSON.stringify(result, null, 2)}\n`)
    } finally {
      await side.stop()
    }
  }
}
process.exit(0)
