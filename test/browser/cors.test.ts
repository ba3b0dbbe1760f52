// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
/**
 * What a real browser lets pages of other origins do, through the lines of docs/recipes/browsers.md: in the
 * shipped configuration, and above the action of each ingress controller.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { BrowserContext, Page } from 'playwright-core'
import { type EchoApp, startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { shippedConfig, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { controllers } from '../recipes/controllers.ts'
import { type Authority, environmentFor, startAuthority } from '../serve/authority.ts'
import { makeFolder, type ServiceProcess, startService, untilReady } from '../serve/process.ts'
import { startChromium } from './chromium.ts'

const text = readFileSync(resolve(import.meta.dirname, '../../docs/recipes/browsers.md'), 'utf8')
/** Lines for refusals, and for preflights. */
const [refusals = '', preflights = ''] = [
  ...text.matchAll(/^```haproxy frontend\n(.*?)^```$/gms),
].map(([, block = '']) => block)

const routes = [
  { host: 'api.example.com', policy: 'default' },
  { host: 'other.example.com', policy: 'other' },
]

/** Each way to put the lines into HAProxy: files of configuration, with `MAPS/` where files are. */
const ways = [
  {
    name: 'the shipped configuration',
    write: (): ReturnType<(typeof controllers)[number]['write']> => ({
      maps: {},
      configs: [
        readFileSync(shippedConfig, 'utf8')
          .replaceAll(/(lua\.entra-auth(?:-hit)?[ (])orders\b/g, '$1default')
          .replace(/^frontend www$/m, (line) => `${line}\n    mode http\n${refusals}${preflights}`),
      ],
    }),
  },
  ...controllers.map(({ name, write }) => ({
    name,
    write: (application: string) =>
      write(routes, application, `${refusals}${preflights}http-request lua.entra-auth default`),
  })),
]

interface Outcome {
  /** 0 where the browser kept the answer from the page. */
  readonly status: number
  readonly challenge: string | null
}

interface Init {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** Sends a request as a script of the page. */
function send(page: Page, url: string, init: Init): Promise<Outcome> {
  return page.evaluate(
    ([to, what]) =>
      fetch(to, what).then(
        ({ status, headers }) => ({ status, challenge: headers.get('www-authenticate') }),
        () => ({ status: 0, challenge: null }),
      ),
    [url, init] as const,
  )
}

describe('CORS in a browser', () => {
  const cleanUps: (() => unknown)[] = []
  const life = { after: (cleanUp: () => unknown) => void cleanUps.push(cleanUp) }
  let authority: Authority
  let service: ServiceProcess
  let app: EchoApp
  let pem = ''
  let trusted: Page
  let evil: Page

  before(async () => {
    authority = await startAuthority(life)
    service = await startService(life, environmentFor(authority))
    await untilReady(service)
    app = await startEchoApp()
    life.after(() => app.stop())
    const hosts = ['app.example.com', 'evil.example', ...routes.map(({ host }) => host)]
    const { cert, key } = await createTlsIdentity(Date.now, randomBytes, hosts)
    pem = cert + key
    const sites = createServer({ cert, key }, (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
      response.end('<!doctype html><html lang="en"><title>A page</title><body><h1>Hello</h1>')
    })
    await new Promise<void>((done) => sites.listen(0, '127.0.0.1', done))
    life.after(() => {
      sites.closeAllConnections()
      return new Promise((done) => sites.close(done))
    })
    const address = `127.0.0.1:${(sites.address() as AddressInfo).port}`
    const browser: BrowserContext = await startChromium(life, {
      hosts: {
        'app.example.com': address,
        'evil.example': address,
        'api.example.com': '127.0.0.1',
        'other.example.com': '127.0.0.1',
      },
    })
    trusted = await browser.newPage()
    await trusted.goto('https://app.example.com/')
    evil = await browser.newPage()
    await evil.goto('https://evil.example/')
  })
  after(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp()
  })

  for (const { name, write } of ways) {
    it(`lets pages of one origin use one host, and no preflight reaches an application: ${name}`, async (t) => {
      const folder = makeFolder(t)
      writeFileSync(join(folder, 'tls.pem'), pem)
      const { maps, configs } = write(app.address)
      for (const [file, map] of Object.entries(maps)) writeFileSync(join(folder, file), map)
      const [port = 0, unused = 0] = await freePorts(2)
      const tls = `    bind 127.0.0.1:${port} ssl alpn h2,http/1.1 crt ${folder}/tls.pem`
      const haproxy = await startHaproxy({
        verifier: service.address,
        application: app.address,
        configs: configs.map((config, index) => {
          const file = join(folder, `${index}.cfg`)
          const changed = config
            .replaceAll('MAPS/', `${folder}/`)
            .replaceAll('127.0.0.1:14481', service.address)
            .replace(/^ +bind "\$\{ENTRA_AUTH_BIND.*$/m, (line) => `${line}\n${tls}`)
          writeFileSync(file, changed)
          return file
        }),
        env: { TEST_TLS_BIND: `127.0.0.1:${unused}` },
      })
      t.after(() => haproxy.stop())
      const api = `https://api.example.com:${port}/orders`
      const headers = { authorization: `Bearer ${await authority.token('alice')}` }
      app.requests.length = 0

      assert.equal((await send(trusted, api, { headers })).status, 200)
      const json = { ...headers, 'content-type': 'application/json' }
      const put = { method: 'PUT', headers: json, body: '{}' }
      assert.equal((await send(trusted, api, put)).status, 200)
      assert.deepEqual(
        app.requests.map(({ method }) => method),
        ['GET', 'PUT'],
      )

      const refused = await send(trusted, api, {})
      assert.equal(refused.status, 401)
      assert.match(refused.challenge ?? '', /^Bearer realm="entra-id"/)
      const wrong = { authorization: 'Bearer not.a.token' }
      assert.equal((await send(trusted, api, { headers: wrong })).status, 401)

      const more = { ...headers, 'x-auth-request-user': 'admin' }
      for (const [page, url, init] of [
        [evil, api, { headers }],
        [evil, api, {}],
        [evil, api, put],
        [trusted, `https://other.example.com:${port}/orders`, { headers }],
        [trusted, api, { headers: more }],
        [trusted, api, { ...put, method: 'PROPFIND' }],
      ] as const) {
        assert.deepEqual(await send(page, url, init), { status: 0, challenge: null })
      }
      assert.equal(app.requests.length, 2)
    })
  }
})
