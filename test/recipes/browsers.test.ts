/** The blocks of docs/recipes/browsers.md, in the shipped configuration. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { it } from 'node:test'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { shippedConfig, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { environmentFor, startAuthority } from '../serve/authority.ts'
import { type Life, makeFolder, startService, untilReady } from '../serve/process.ts'

const page = readFileSync(resolve(import.meta.dirname, '../../docs/recipes/browsers.md'), 'utf8')
const blocks = [...page.matchAll(/^```haproxy frontend\n(.*?)^```$/gms)].map(
  ([, block = '']) => block,
)
assert.equal(blocks.length, 2)

async function startFront(t: Life) {
  const authority = await startAuthority(t)
  const service = await startService(t, environmentFor(authority))
  await untilReady(service)
  const shipped = readFileSync(shippedConfig, 'utf8')
  const config = shipped
    .replace(/(^ {4}http-request lua\.entra-auth) orders$/m, '$1 default')
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
  return { origin: haproxy.origin, authority }
}

it('a page of a trusted origin reads a refusal, and takes a token in the query of one path', async (t) => {
  const { origin, authority } = await startFront(t)
  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const reply = await fetch(`${origin}${path}`, { headers })
    return { reply, text: await reply.text() }
  }
  const trusted = (await ask('/orders', { origin: 'https://app.example.com' })).reply
  assert.equal(trusted.status, 401)
  assert.equal(trusted.headers.get('access-control-allow-origin'), 'https://app.example.com')
  assert.equal(trusted.headers.get('access-control-expose-headers'), 'WWW-Authenticate')
  const other = (await ask('/orders', { origin: 'https://evil.example' })).reply
  assert.equal(other.headers.get('access-control-allow-origin'), null)

  const token = await authority.token('alice')
  const live = await ask(`/live?a=1&access_token=${token}&access_token=x&b=2`)
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
  assert.equal((await ask(`/orders?access_token=${token}`)).reply.status, 401)
  assert.equal((await ask('/live?access_token=a.b.c')).reply.status, 401)
})
