/** The blocks of docs/recipes/browsers.md, in the shipped configuration. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { it } from 'node:test'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { shippedConfig, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { ask, values } from '../e2e/client.ts'
import { environmentFor, startAuthority } from '../serve/authority.ts'
import { type Life, makeFolder, startService, untilReady } from '../serve/process.ts'

const page = readFileSync(resolve(import.meta.dirname, '../../docs/recipes/browsers.md'), 'utf8')
const blocks = [...page.matchAll(/^```haproxy frontend\n(.*?)^```$/gms)].map(
  ([, block = '']) => block,
)
assert.equal(blocks.length, 3)

async function startFront(t: Life) {
  const authority = await startAuthority(t)
  const service = await startService(t, environmentFor(authority))
  await untilReady(service)
  const shipped = readFileSync(shippedConfig, 'utf8')
  const config = shipped
    .replaceAll(/(lua\.entra-auth(?:-hit)?[ (])orders\b/g, '$1default')
    .replace(/^frontend www$/m, (line) => `${line}\n    mode http\n${blocks.join('')}`)
  const file = join(makeFolder(t), 'haproxy.cfg')
  writeFileSync(file, config)
  const application = await startEchoApp()
  t.after(() => application.stop())
  const haproxy = await startHaproxy({
    verifier: service.address,
    application: application.address,
    configs: [file],
  })
  t.after(() => haproxy.stop())
  return { origin: haproxy.origin, port: haproxy.port, application, authority, haproxy }
}

it('a page of a trusted origin reads a refusal, and takes a token in the query of one path', async (t) => {
  const { origin, authority, haproxy } = await startFront(t)
  const get = async (path: string, headers: Record<string, string> = {}) => {
    const reply = await fetch(`${origin}${path}`, { headers })
    return { reply, text: await reply.text() }
  }
  const trusted = (await get('/orders', { origin: 'https://app.example.com' })).reply
  assert.equal(trusted.status, 401)
  assert.equal(trusted.headers.get('access-control-allow-origin'), 'https://app.example.com')
  assert.equal(trusted.headers.get('access-control-expose-headers'), 'WWW-Authenticate')
  const other = (await get('/orders', { origin: 'https://evil.example' })).reply
  assert.equal(other.headers.get('access-control-allow-origin'), null)

  const token = await authority.token('alice')
  const live = await get(`/live?a=1&access_token=${token}&access_token=x&b=2`)
  assert.equal(live.reply.status, 200)
  const { pathname, searchParams } = new URL(JSON.parse(live.text).url, origin)
  assert.equal(pathname, '/live')
  assert.deepEqual(
    [...searchParams],
    [
      ['a', '1'],
      ['b', '2'],
    ],
  )
  const logged = await haproxy.waitForLog((line) => / path=\/live /.test(line))
  assert.ok(!logged.includes(token.slice(-40)), logged)
  assert.equal((await get(`/orders?access_token=${token}`)).reply.status, 401)
  assert.equal((await get('/live?access_token=a.b.c')).reply.status, 401)
})

it('HAProxy answers the preflight of a trusted origin for one host, and no preflight reaches an application', async (t) => {
  const { port, application } = await startFront(t)
  const preflight = (host: string, origin: string, method = 'OPTIONS') =>
    ask(port, {
      host,
      method,
      headers: [
        ['Origin', origin],
        ['Access-Control-Request-Method', 'PUT'],
        ['Access-Control-Request-Headers', 'authorization'],
        ['X-Auth-Request-User', 'admin'],
      ],
    })
  const trusted = 'https://app.example.com'
  for (const host of ['api.example.com', 'API.example.com:8443']) {
    const reply = await preflight(host, trusted)
    assert.equal(reply.status, 200)
    assert.deepEqual(values(reply, 'access-control-allow-origin'), [trusted])
    assert.match(values(reply, 'access-control-allow-methods').join(), /\bPUT\b/)
    assert.match(values(reply, 'access-control-allow-headers').join(), /\bAuthorization\b/)
    assert.deepEqual(values(reply, 'vary'), ['Origin'])
    assert.deepEqual(values(reply, 'access-control-max-age'), ['600'])
  }
  for (const [host, origin, method] of [
    ['api.example.com', 'https://evil.example', 'OPTIONS'],
    ['api.example.com', 'https://app.example.com.evil.example', 'OPTIONS'],
    ['api.example.com', 'null', 'OPTIONS'],
    ['other.example.com', trusted, 'OPTIONS'],
    ['api.example.com.evil.example', trusted, 'OPTIONS'],
    ['api.example.com', trusted, 'PUT'],
  ] as const) {
    const reply = await preflight(host, origin, method)
    assert.equal(reply.status, 401, `${method} ${host} ${origin}`)
    assert.deepEqual(values(reply, 'access-control-allow-methods'), [])
  }
  assert.deepEqual(application.requests, [])
})
