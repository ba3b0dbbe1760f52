// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { configOf } from '../config/fixture.ts'
import { values } from './client.ts'
import { allow, deny } from './fake-verifier.ts'
import { type Stack, startStack } from './stack.ts'

const limit = 5
const metadataPath = '/.well-known/oauth-protected-resource/orders'

/** What `haproxy-config` prints for one policy, with the addresses of this test in it. */
async function printed(): Promise<string> {
  const config = await configOf(`
tenants: { contoso: 11111111-1111-4111-8111-111111111111 }
policies:
  orders: { audiences: [api://orders], allow: [{ actor: user, scopes: any }] }
`)
  const text = printHaproxyConfig({
    config,
    verifier: '127.0.0.1:8080',
    metadataPaths: [metadataPath],
  })
  return text
    .replaceAll('server v1 127.0.0.1:8080', 'server v1 "${ENTRA_AUTH_VERIFIER_SERVER}"')
    .replace(/server app \S+/, 'server app "${ENTRA_AUTH_APP_SERVER}"')
}

describe('the configuration that haproxy-config prints', () => {
  let stack: Stack
  before(async () => {
    const text = await printed()
    stack = await startStack({
      editConfig: () => text,
      env: { ENTRA_AUTH_BAD_TOKENS_PER_10S: String(limit) },
    })
  })
  after(() => stack.stop())
  beforeEach(() => stack.reset())

  it('lets an allowed request through with its identity and no other', async () => {
    const forged = ['X_Auth_Request_User', 'eve'] as const
    const reply = await stack.ask({ headers: [['Authorization', 'Bearer t'], forged] })
    assert.equal(reply.status, 200)
    const [seen] = stack.app.requests
    assert.ok(seen)
    assert.deepEqual(values(seen, 'x-auth-request-user'), ['alice-oid'])
    assert.deepEqual(values(seen, 'x_auth_request_user'), [])
  })

  it('asks the verifier for the metadata', async () => {
    assert.equal((await stack.ask({ path: metadataPath, headers: [] })).status, 200)
    assert.deepEqual(
      stack.verifier.calls.map((call) => call.url),
      [metadataPath],
    )
  })

  it('has the page for Prometheus', async () => {
    const page = await fetch(stack.haproxy.metricsUrl)
    assert.equal(page.status, 200)
    assert.match(await page.text(), /^entra_auth_action_requests_total \d+$/m)
  })

  it('refuses, and keeps a source waiting that goes on with bad tokens', async () => {
    stack.verifier.script = () => deny(401, 'signature_invalid')
    const statuses: number[] = []
    for (let index = 0; index < limit + 2; index++) statuses.push((await stack.ask()).status)
    assert.deepEqual(statuses, [...Array(limit + 1).fill(401), 429])
    stack.verifier.script = () => allow()
    assert.equal((await stack.ask()).status, 429)
    assert.equal(stack.app.requests.length, 0)
  })
})
