/** What a page of another site, a name of its own for 127.0.0.1, and a text full of markup can do. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { createRevocationStore } from '../../src/revocation/revocation-store.ts'
import { ids } from '../support/ids.ts'
import { callerKey, type Service, startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const browser = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }
const navigation = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }

async function ask(service: Service, url: string, headers: Record<string, string> = {}) {
  return service.app.admin.inject({ url, headers: { host: '127.0.0.1:9091', ...headers } })
}

describe("the operator's page without an admin key", () => {
  let service: Service
  before(async () => {
    service = await startService()
  })
  after(() => service.close())

  it('answers on loopback, with a policy that lets no other script run', async () => {
    const reply = await ask(service, '/')
    assert.equal(reply.statusCode, 200)
    const policy = String(reply.headers['content-security-policy'])
    assert.match(policy, /^default-src 'none'/)
    assert.doesNotMatch(policy, /unsafe|\*|https?:|nonce|sha256/)
    for (const part of ["script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]) {
      assert.ok(policy.includes(part), part)
    }
    assert.equal(reply.headers['x-frame-options'], 'DENY')
    assert.equal(reply.headers['x-content-type-options'], 'nosniff')
    assert.equal(reply.headers['referrer-policy'], 'no-referrer')
    assert.equal(reply.headers['cache-control'], 'no-store')
    assert.equal(reply.headers['set-cookie'], undefined)
    assert.doesNotMatch(reply.body, /<script(?! src="\/page\.js" defer><\/script>)/)
    assert.doesNotMatch(reply.body, / on\w+=| style=|https?:\/\/(?!127\.0\.0\.1)/)
  })

  for (const url of ['/', '/page.js', '/page/explain/default', '/policies', '/revocations']) {
    it(`a name that resolves to 127.0.0.1 is refused: ${url}`, async () => {
      const reply = await ask(service, url, { host: 'evil.example:9091', ...browser })
      assert.equal(reply.statusCode, 403)
      assert.doesNotMatch(reply.body, /contoso|Orders/)
    })

    it(`a request that a page of another site makes is refused: ${url}`, async () => {
      for (const headers of [
        { origin: 'https://evil.example' },
        { origin: 'null' },
        { 'sec-fetch-site': 'cross-site' },
        { 'sec-fetch-site': 'same-site' },
        {
          'sec-fetch-site': 'cross-site',
          'sec-fetch-mode': 'navigate',
          'sec-fetch-dest': 'iframe',
        },
        { 'sec-fetch-site': 'something-new' },
      ]) {
        const reply = await ask(service, url, { ...browser, ...headers } as Record<string, string>)
        assert.equal(reply.statusCode, 403, JSON.stringify(headers))
      }
    })
  }

  it('a link leads to the page and to nothing else', async () => {
    const headers = { 'sec-fetch-site': 'cross-site', ...navigation }
    assert.equal((await ask(service, '/', headers)).statusCode, 200)
    assert.equal((await ask(service, '/revocations', headers)).statusCode, 403)
    assert.equal((await ask(service, '/page/explain/default', headers)).statusCode, 403)
  })

  it('the page of a browser itself, and curl, get answers', async () => {
    for (const headers of [{}, { 'sec-fetch-site': 'same-origin' }, { 'sec-fetch-site': 'none' }]) {
      assert.equal(
        (await ask(service, '/policies', headers as Record<string, string>)).statusCode,
        200,
      )
    }
  })

  it('changes nothing by GET, and rejects POST', async () => {
    const { admin } = service.app
    const host = { host: '127.0.0.1:9091' }
    const post = await admin.inject({ method: 'POST', url: '/', headers: host, payload: 'a=b' })
    assert.equal(post.statusCode, 405)
    for (const query of [
      '?revocations=-1',
      '?revocations=1e9',
      '?find[]=x',
      '?find=%00',
      '?policies=99999',
    ]) {
      assert.equal((await ask(service, `/${query}`)).statusCode, 200, query)
    }
  })

  it('shows markup of requests and of the address as text', async () => {
    const markup = '<img src=x onerror=alert(1)>"\'`</bdi>'
    await verify(service, 'default', { 'X-Forwarded-Host': markup, 'X-Forwarded-Uri': markup })
    const { body } = await ask(service, `/?find=${encodeURIComponent(markup)}`)
    assert.doesNotMatch(body, /<img/)
    assert.match(body, /&#60;img src=x onerror=alert\(1\)&#62;/)
    const token = { 'x-entra-auth-token': `Bearer ${v2User({ scp: markup, aud: markup })}` }
    const explained = await ask(service, '/page/explain/default', token)
    assert.equal(explained.statusCode, 200)
    assert.doesNotMatch(explained.body, /<img/)
  })

  it('shows neither the token nor its signature, in the page or after it', async () => {
    const token = v2User()
    const first = await ask(service, '/page/explain/default', {
      'x-entra-auth-token': `Bearer ${token}`,
    })
    const second = await ask(service, '/')
    for (const part of token.split('.')) {
      assert.ok(!first.body.includes(part) && !second.body.includes(part))
    }
    assert.ok(!service.log.join('').includes(token.split('.')[2] ?? ''))
  })
})

describe("the operator's page with an admin key", () => {
  let service: Service
  before(async () => {
    service = await startService({
      config: { admin: { adminKeyFile: '/run/key' } },
      revocations: createRevocationStore(undefined, Date.now),
    })
  })
  after(() => service.close())

  it('asks a browser for the key with a page that holds nothing else', async () => {
    for (const headers of [{}, { authorization: 'Bearer wrong-key-0123456789' }]) {
      const reply = await ask(service, '/', { ...browser, ...headers } as Record<string, string>)
      assert.equal(reply.statusCode, 403)
      assert.match(String(reply.headers['content-type']), /^text\/html/)
      assert.match(String(reply.headers['content-security-policy']), /default-src 'none'/)
      for (const secret of ['contoso', 'Orders', ids.api, callerKey]) {
        assert.ok(!reply.body.includes(secret))
      }
    }
  })

  it('gives every other call without the key the plain refusal', async () => {
    for (const url of [
      '/policies',
      '/revocations',
      '/explain/default',
      '/page/explain/default',
      '/x',
    ]) {
      const reply = await ask(service, url, browser)
      assert.deepEqual([reply.statusCode, reply.json().reason], [403, 'admin_key_missing'], url)
    }
    assert.equal((await ask(service, '/')).json().reason, 'admin_key_missing')
  })

  it('opens with the key', async () => {
    const key = { authorization: `Bearer ${callerKey}` }
    const reply = await ask(service, '/', { ...browser, ...key })
    assert.equal(reply.statusCode, 200)
    assert.match(reply.body, /users with the scope Orders\.Read/)
    assert.ok(!reply.body.includes(callerKey))
  })
})
