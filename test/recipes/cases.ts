/** What every recipe must do, whichever proxy stands in front. */
import assert from 'node:assert/strict'
import type { EchoApp } from '../../scripts/local-stack/echo-app.ts'
import { managedHeaders, spellingsOf } from '../../src/haproxy/strip.ts'
import { ask, values } from '../e2e/client.ts'
import type { Authority } from '../serve/authority.ts'

export interface Front {
  readonly port: number
  readonly app: EchoApp
  readonly authority: Authority
}

const alice = 'a1111111-1111-4111-8111-111111111111'

/** Names as an application behind CGI or WSGI reads them. */
function asVariable(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '_')
}

async function bearerOf({ authority }: Front, persona: string): Promise<[string, string]> {
  return ['Authorization', `Bearer ${await authority.token(persona)}`]
}

export const cases: readonly (readonly [string, (front: Front) => Promise<void>])[] = [
  [
    'lets a user with the scope through, with the verified identity',
    async (front) => {
      const reply = await ask(front.port, { headers: [await bearerOf(front, 'alice')] })
      assert.equal(reply.status, 200)
      const [seen] = front.app.requests
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-auth-request-user'), [alice])
      assert.deepEqual(values(seen, 'x-auth-request-actor'), ['user'])
      assert.deepEqual(values(seen, 'x-auth-request-scopes'), ['Orders.Read'])
    },
  ],
  [
    'lets an app with the role through, whatever the method, and its body arrives',
    async (front) => {
      const headers = [await bearerOf(front, 'robot')]
      const reply = await ask(front.port, { method: 'POST', headers, body: 'an order' })
      assert.equal(reply.status, 200)
      assert.equal(front.app.requests[0]?.method, 'POST')
      assert.equal(front.app.requests[0]?.body, 'an order')
    },
  ],
  [
    'answers HEAD without a body, and its refusal too',
    async (front) => {
      const headers = [await bearerOf(front, 'alice')]
      assert.equal((await ask(front.port, { method: 'HEAD', headers })).status, 200)
      assert.equal((await ask(front.port, { method: 'HEAD', headers: [] })).status, 401)
    },
  ],
  [
    'answers 401 with one challenge where there is no token',
    async (front) => {
      const reply = await ask(front.port, { headers: [] })
      assert.equal(reply.status, 401)
      assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['no_credentials'])
      assert.equal(values(reply, 'www-authenticate').length, 1)
      assert.match(values(reply, 'www-authenticate')[0] ?? '', /^Bearer realm="entra-id"/)
      assert.equal(JSON.parse(reply.body).reason, 'no_credentials')
      assert.deepEqual(front.app.requests, [])
    },
  ],
  [
    'answers 401 to a token for another API, and 403 where the scope or role is missing',
    async (front) => {
      const other = await front.authority.token('alice', { audience: 'api://billing' })
      const foreign = await ask(front.port, { headers: [['Authorization', `Bearer ${other}`]] })
      assert.equal(foreign.status, 401)
      assert.match(values(foreign, 'www-authenticate')[0] ?? '', /error="invalid_token"/)
      for (const persona of ['bob', 'idle']) {
        const reply = await ask(front.port, { headers: [await bearerOf(front, persona)] })
        assert.equal(reply.status, 403)
        assert.match(values(reply, 'www-authenticate')[0] ?? '', /error="insufficient_scope"/)
      }
      assert.deepEqual(front.app.requests, [])
    },
  ],
  [
    'answers 400 to two Authorization headers, whichever comes first',
    async (front) => {
      const good = await bearerOf(front, 'alice')
      const bad: [string, string] = ['Authorization', 'Bearer something.else.entirely']
      for (const headers of [
        [good, bad],
        [bad, good],
      ]) {
        const reply = await ask(front.port, { headers })
        assert.equal(reply.status, 400)
      }
      assert.deepEqual(front.app.requests, [])
    },
  ],
  [
    'lets nothing through that a client forged, in any spelling',
    async (front) => {
      const names = managedHeaders('x-auth-request')
      const forged = names
        .flatMap(spellingsOf)
        // Each by itself must be in the way, so none is there twice.
        .map((name): [string, string] => [name, 'forged'])
      const auth = await bearerOf(front, 'alice')
      for (let start = 0; start < forged.length; start += 40) {
        front.app.requests.length = 0
        const headers = [auth, ...forged.slice(start, start + 40)]
        assert.equal((await ask(front.port, { headers })).status, 200)
        const [seen] = front.app.requests
        assert.ok(seen)
        assert.deepEqual(
          seen.headers.filter(([, value]) => value === 'forged'),
          [],
        )
        const managed = new Set(names.map(asVariable))
        const users = seen.headers.filter(([name]) => managed.has(asVariable(name)))
        assert.equal(new Set(users.map(([name]) => name.toLowerCase())).size, users.length)
        assert.deepEqual(values(seen, 'x-auth-request-user'), [alice])
      }
    },
  ],
  [
    'lets nobody have an identity header dropped by naming it in Connection',
    async (front) => {
      const headers: [string, string][] = [
        await bearerOf(front, 'alice'),
        ['Connection', 'close, X-Auth-Request-User'],
      ]
      assert.equal((await ask(front.port, { headers })).status, 200)
      const [seen] = front.app.requests
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-auth-request-user'), [alice])
      assert.doesNotMatch(values(seen, 'connection').join(), /x-auth/i)
    },
  ],
  [
    'verifies a token of nearly 16 KiB',
    async (front) => {
      const claims = { padding: 'x'.repeat(11_000) }
      const token = await front.authority.token('alice', { claims })
      assert.ok(token.length > 15_000 && token.length < 16_384, String(token.length))
      const reply = await ask(front.port, { headers: [['Authorization', `Bearer ${token}`]] })
      assert.equal(reply.status, 200)
    },
  ],
]
