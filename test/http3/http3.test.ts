import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { type CacheStack, startCacheStack } from '../e2e/cache-stack.ts'
import { values } from '../e2e/client.ts'
import { allow, deny, issuedAt, revocations } from '../e2e/fake-verifier.ts'
import { eventually } from '../support/eventually.ts'
import { askHttp3, type Http3Request } from './client.ts'

/** The ways to a verdict: the fast lane of 3.4, and the action alone. */
for (const fastLane of ['on', 'off']) {
  describe(`a request over HTTP/3, fast lane ${fastLane}`, () => {
    let stack: CacheStack
    let port = 0
    const folder = mkdtempSync(join(tmpdir(), 'entra-auth-http3-'))
    const ask = (request?: Http3Request) => askHttp3(port, request)

    before(async () => {
      const identity = await createTlsIdentity(Date.now, randomBytes, ['app.example'])
      const pem = join(folder, 'haproxy.pem')
      writeFileSync(pem, identity.cert + identity.key, { mode: 0o600 })
      ;[port = 0] = await freePorts(1)
      stack = await startCacheStack({
        editConfig: (text) =>
          text.replace(
            /^( +)(bind "\$\{ENTRA_AUTH_BIND-[^\n]*)$/m,
            `$1$2\n$1bind quic4@127.0.0.1:${port} ssl crt ${pem} alpn h3`,
          ),
        env: { ENTRA_AUTH_FAST_LANE: fastLane },
      })
    })
    after(async () => {
      await stack.stop()
      rmSync(folder, { recursive: true })
    })
    beforeEach(() => {
      stack.reset()
      stack.verifier.feed = revocations()
    })

    it('reaches the application with its identity, and stands in the log', async () => {
      const reply = await ask()
      assert.equal(reply.status, 200)
      assert.equal(reply.version, '3')
      const [seen] = stack.app.requests
      assert.ok(seen)
      assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      await stack.haproxy.waitForLog(
        (line) => line.includes(' path=/h3 ') && line.includes('user=alice-oid'),
      )
    })

    it('is refused without a token', async () => {
      stack.verifier.script = () => deny(401, 'no_credentials')
      const reply = await ask({ headers: [] })
      assert.equal(reply.status, 401)
      assert.match(reply.head, /^x-entra-auth-reason: no_credentials\r?$/im)
      assert.equal(stack.app.requests.length, 0)
    })

    it('is refused with two Authorization headers, without a call', async () => {
      for (const other of ['t', 'other']) {
        const headers = ['Authorization: Bearer t', `Authorization: Bearer ${other}`]
        assert.equal((await ask({ headers })).status, 400)
      }
      assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
    })

    it('is refused as the verifier says', async () => {
      stack.verifier.script = () => deny(403, 'insufficient_scope')
      assert.equal((await ask({ headers: ['Authorization: Bearer refused'] })).status, 403)
      assert.equal(stack.app.requests.length, 0)
    })

    it('is answered out of the cache until the person is revoked', async () => {
      const headers = ['Authorization: Bearer cached']
      const isHit = ({ head }: { head: string }) => /^x-cache: hit\r?$/im.test(head)
      await eventually(() => ask({ headers }), isHit)
      stack.reset()
      const forged = [...headers, 'X-Auth-Request-User: eve', 'X_Auth_Request_User: eve']
      for (let round = 0; round < 3; round++) {
        const reply = await ask({ headers: forged })
        assert.equal(reply.status, 200)
        assert.ok(isHit(reply), reply.head)
      }
      assert.equal(stack.verifier.calls.length, 0)
      for (const seen of stack.app.requests) {
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
        assert.doesNotMatch(JSON.stringify(seen.headers), /eve/)
      }
      stack.verifier.script = () => deny(401, 'user_revoked')
      stack.verifier.feed = revocations([
        {
          kind: 'user',
          id: 'contoso-tid/alice-oid',
          before: issuedAt + 1,
          until: Math.ceil(Date.now() / 1000) + 3600,
        },
      ])
      await eventually(
        () => ask({ headers }),
        ({ status }) => status === 401,
      )
    })

    for (const spelling of [
      'x-auth-request-user',
      'x_auth_request_user',
      'x.auth.request.user',
      'x-auth-request-groups',
      'x-auth-request-anything-new',
      'x-entra-auth-verdict',
      'x_entra_auth_report',
    ]) {
      it(`brings no identity header of its own: ${spelling}`, async () => {
        stack.verifier.feed = revocations()
        const headers = [`Authorization: Bearer ${spelling}`, `${spelling}: eve`]
        assert.equal((await ask({ headers })).status, 200)
        const [seen] = stack.app.requests
        assert.ok(seen)
        assert.doesNotMatch(JSON.stringify(seen.headers), /eve/)
        assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
      })
    }

    it('opens no tunnel by CONNECT', async () => {
      const { status } = await ask({ method: 'CONNECT' })
      assert.ok(status === 0 || status >= 400, `status ${status}`)
      assert.equal(stack.app.requests.length, 0)
    })

    it('brings its body whole', async () => {
      stack.verifier.script = () => allow()
      const body = 'x'.repeat(300_000)
      const headers = ['Authorization: Bearer body', 'Expect:']
      assert.equal((await ask({ method: 'POST', headers, body })).status, 200)
      assert.equal(stack.app.requests[0]?.body.length, body.length)
    })
  })
}
