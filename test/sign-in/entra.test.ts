import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import type { TenantConfig } from '../../src/config/config.ts'
import type { Credential } from '../../src/credential/credential.ts'
import { CredentialError } from '../../src/credential/credential-error.ts'
import { createHttp } from '../../src/keys/http.ts'
import { createEntra, EntraRefusal } from '../../src/sign-in/entra.ts'
import { ids } from '../support/ids.ts'
import { loadFile } from '../support/service.ts'

type Life = { after(cleanUp: () => unknown): void }

const exchange = {
  parameters: new URLSearchParams({ code: 'c', state: 's' }),
  state: 's',
  redirectUri: 'https://portal.contoso.example/oauth2/callback',
  codeVerifier: 'v'.repeat(43),
  nonce: 'n',
}

/** An authority whose token endpoint answers as `answer` says. */
async function start(
  t: Life,
  credential: Credential,
  answer: (response: ServerResponse, request: IncomingMessage) => void = (response) =>
    response.end(),
) {
  const server = createServer((request, response) => {
    if (request.method === 'POST') return answer(response, request)
    const base = `${origin}/${ids.contoso}`
    response.setHeader('content-type', 'application/json')
    response.end(
      JSON.stringify({
        issuer: `https://login.microsoftonline.com/${ids.contoso}/v2.0`,
        jwks_uri: `${base}/discovery/v2.0/keys`,
        cloud_instance_name: 'microsoftonline.com',
        authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
        token_endpoint: `${base}/oauth2/v2.0/token`,
      }),
    )
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.after(() => server.close())
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const config = await loadFile({
    tenants: { contoso: { id: ids.contoso, authority: origin } },
    policies: { default: { audiences: [ids.api], allow: [{ actor: 'user', scopes: 'any' }] } },
  })
  const http = createHttp()
  t.after(() => http.close())
  return createEntra(config.tenants[0] as TenantConfig, ids.client, credential, {
    elapsed: () => 0,
    http,
  })
}

const secret: Credential = { proof: async () => ({ client_secret: 'secret' }) } as never

/** The error that a code exchange ends with. */
async function errorOf(redeeming: Promise<string>): Promise<[error: string, text: string]> {
  try {
    await redeeming
  } catch (error) {
    assert.ok(error instanceof EntraRefusal, String(error))
    return [error.error, error.description]
  }
  return assert.fail('it was redeemed')
}

describe('a code exchange', () => {
  it('is one of 64 at a time at most, and the place is free again afterwards', async (t) => {
    let release = () => {}
    const gate = new Promise<void>((done) => {
      release = done
    })
    const credential = {
      async proof() {
        await gate
        throw new CredentialError('no proof')
      },
    } as never
    const entra = await start(t, credential)
    await entra.endpoints(Number.POSITIVE_INFINITY)
    const waiting = Array.from({ length: 64 }, () => errorOf(entra.redeem(exchange)))
    assert.deepEqual(await errorOf(entra.redeem(exchange)), [
      'overloaded',
      'too many code exchanges at a time',
    ])
    release()
    for (const [error] of await Promise.all(waiting)) assert.equal(error, 'credential')
    assert.equal((await errorOf(entra.redeem(exchange)))[0], 'credential')
  })

  it('whose address is not an answer of this authority is refused before Entra is asked', async (t) => {
    const entra = await start(t, secret, () => assert.fail('asked'))
    for (const [name, value] of [
      ['iss', 'https://login.microsoftonline.com/another/v2.0'],
      ['id_token', 'x'],
      ['response', 'x'],
      ['error', 'server_error'],
    ] as const) {
      const parameters = new URLSearchParams(exchange.parameters)
      parameters.set(name, value)
      const [error] = await errorOf(entra.redeem({ ...exchange, parameters }))
      assert.equal(error, 'id_token_refused', name)
    }
  })

  it('that is answered with a challenge is refused for the credential', async (t) => {
    const entra = await start(t, secret, (response) => {
      response.writeHead(401, {
        'content-type': 'application/json',
        'www-authenticate': 'Basic realm="x"',
      })
      response.end('{}')
    })
    assert.deepEqual(await errorOf(entra.redeem(exchange)), ['invalid_client', ''])
  })

  it('that is answered with something else than JSON says nothing of the person', async (t) => {
    for (const type of [
      undefined,
      'text/html',
      'application/json-but-not-quite',
      'x-application/json',
    ]) {
      const entra = await start(t, secret, (response) => {
        if (type !== undefined) response.setHeader('content-type', type)
        response.end('{}')
      })
      const [error, text] = await errorOf(entra.redeem(exchange))
      assert.equal(error, 'entra_unavailable')
      assert.match(text, /the token endpoint answered 200|parse/)
    }
  })

  it('that is refused without a word has the error alone', async (t) => {
    const entra = await start(t, secret, (response) => {
      response.writeHead(400, { 'content-type': 'application/json; charset=utf-8' })
      response.end('{"error":"invalid_grant"}')
    })
    assert.deepEqual(await errorOf(entra.redeem(exchange)), ['invalid_grant', ''])
  })

  it('sends a form and asks for JSON', async (t) => {
    const asked: IncomingMessage['headers'][] = []
    const entra = await start(t, secret, (response, request) => {
      asked.push(request.headers)
      response.writeHead(400, { 'content-type': 'application/json' })
      response.end('{"error":"invalid_grant"}')
    })
    await errorOf(entra.redeem(exchange))
    assert.equal(asked.length, 1)
    assert.equal(asked[0]?.accept, 'application/json')
    assert.match(asked[0]?.['content-type'] ?? '', /^application\/x-www-form-urlencoded/)
  })

  it('that brings no ID token is refused', async (t) => {
    const entra = await start(t, secret, (response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end('{"access_token":"a","token_type":"Bearer","expires_in":3600}')
    })
    assert.equal((await errorOf(entra.redeem(exchange)))[0], 'id_token_refused')
  })

  it('tells when Entra answered by its own clock, where it says so', async (t) => {
    const date = 'Thu, 15 Jan 2026 12:00:00 GMT'
    for (const [said, expected] of [
      [date, [Date.UTC(2026, 0, 15, 12)]],
      ['yesterday', []],
      [undefined, []],
    ] as const) {
      const entra = await start(t, secret, (response) => {
        response.sendDate = false
        if (said !== undefined) response.setHeader('date', said)
        response.writeHead(400, { 'content-type': 'application/json' })
        response.end('{"error":"invalid_grant"}')
      })
      const told: number[] = []
      await errorOf(entra.redeem({ ...exchange, onDate: (ms) => void told.push(ms) }))
      assert.deepEqual(told, expected)
    }
  })

  it('at an authority whose metadata cannot be had says nothing of the person', async (t) => {
    const http = createHttp()
    t.after(() => http.close())
    const tenant = { id: ids.contoso, authority: 'http://127.0.0.1:1' } as TenantConfig
    const entra = createEntra(tenant, ids.client, secret, { elapsed: () => 0, http })
    assert.equal((await errorOf(entra.redeem(exchange)))[0], 'entra_unavailable')
  })

  it('that nobody answers says nothing of the person', async (t) => {
    const entra = await start(t, secret, (response) => void response.destroy())
    assert.equal((await errorOf(entra.redeem(exchange)))[0], 'entra_unavailable')
  })
})
