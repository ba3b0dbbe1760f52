import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { AuthError, ConfidentialClientApplication } from '@azure/msal-node'
import { makeFolder, startService, untilReady, verify } from '../serve/process.ts'
import { contoso, ordersId, startTlsAuthority, type TlsAuthority } from './authority.ts'

const robot = { clientId: '55555555-5555-4555-8555-555555555555', clientSecret: 'robot-secret' }
const robotObjectId = 'b1111111-1111-4111-8111-111111111111'

/** MSAL, configured as for any authority that Microsoft does not know. */
function createMsal(authority: TlsAuthority, auth: object = {}): ConfidentialClientApplication {
  return new ConfidentialClientApplication({
    auth: {
      ...robot,
      authority: `${authority.origin}/${contoso}`,
      knownAuthorities: [new URL(authority.origin).host],
      ...auth,
    },
  })
}

async function acquire(msal: ConfidentialClientApplication, scope: string): Promise<string> {
  const result = await msal.acquireTokenByClientCredential({ scopes: [scope] })
  return result?.accessToken ?? ''
}

function startForOrders(t: TestContext, authority: TlsAuthority) {
  return startService(t, {
    ...authority.env,
    ENTRA_AUTH_TENANT_ID: contoso,
    ENTRA_AUTH_AUDIENCE: `${ordersId},api://orders`,
    ENTRA_AUTH_AUTHORITY: authority.origin,
  })
}

test('a token that MSAL gets by client credentials is accepted as an app', async (t) => {
  const authority = await startTlsAuthority(t)
  const service = await startForOrders(t, authority)
  const token = await acquire(createMsal(authority), 'api://orders/.default')
  await untilReady(service)
  const { status, headers } = await verify(service, token)
  assert.equal(status, 200)
  assert.equal(headers.get('x-auth-request-actor'), 'app')
  assert.equal(headers.get('x-auth-request-user'), robotObjectId)
  assert.equal(headers.get('x-auth-request-client'), robot.clientId)
  assert.equal(headers.get('x-auth-request-roles'), 'Orders.Process')
})

test('MSAL reads the metadata itself, and caches the token', async (t) => {
  const authority = await startTlsAuthority(t)
  const msal = createMsal(authority)
  const first = await acquire(msal, 'api://orders/.default')
  assert.equal(await acquire(msal, 'api://orders/.default'), first)
  const { metadata, token } = await authority.counts()
  assert.deepEqual({ metadata, token }, { metadata: 1, token: 1 })
})

test('MSAL takes what dev-entra says of its instance for that of a cloud', async (t) => {
  const authority = await startTlsAuthority(t)
  const endpoint = `${authority.origin}/${contoso}/oauth2/v2.0/authorize`
  const reply = await fetch(
    `${authority.origin}/common/discovery/instance?api-version=1.1&authorization_endpoint=${endpoint}`,
  )
  const msal = createMsal(authority, {
    knownAuthorities: [],
    cloudDiscoveryMetadata: await reply.text(),
  })
  assert.notEqual(await acquire(msal, 'api://orders/.default'), '')
})

test('a wrong secret is an error of MSAL with the code of Entra', async (t) => {
  const authority = await startTlsAuthority(t)
  const msal = createMsal(authority, { clientSecret: 'wrong' })
  await assert.rejects(acquire(msal, 'api://orders/.default'), (error) => {
    assert.ok(error instanceof AuthError)
    assert.equal(error.errorCode, 'invalid_client')
    assert.match(error.errorMessage, /AADSTS7000215/)
    return true
  })
})

test('an API that does not exist is an error of MSAL with the code of Entra', async (t) => {
  const authority = await startTlsAuthority(t)
  await assert.rejects(
    acquire(createMsal(authority), 'api://nothing/.default'),
    (error) => error instanceof AuthError && /AADSTS500011/.test(error.errorMessage),
  )
})

test('a v1.0 token that MSAL gets is accepted by the policy of its API alone', async (t) => {
  const authority = await startTlsAuthority(t)
  const file = join(makeFolder(t), 'config.yaml')
  writeFileSync(
    file,
    `
tenants: { contoso: { id: ${contoso}, authority: ${authority.origin} } }
policies:
  billing: { audiences: ["api://billing"], allow: [{ actor: app, roles: [Orders.Process] }] }
  orders: { audiences: [${ordersId}], allow: [{ actor: app, roles: [Orders.Process] }] }
`,
  )
  const service = await startService(t, { ...authority.env, ENTRA_AUTH_CONFIG: file })
  const token = await acquire(createMsal(authority), 'api://billing/.default')
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
  assert.equal(claims.ver, '1.0')
  await untilReady(service)
  const { status, headers } = await verify(service, token, 'billing')
  assert.equal(status, 200)
  assert.equal(headers.get('x-auth-request-client'), robot.clientId)
  assert.equal((await verify(service, token, 'orders')).reason, 'audience_mismatch')
})

test('without the certificate of a private CA the service is not ready and says why', async (t) => {
  const authority = await startTlsAuthority(t)
  const service = await startService(t, {
    ENTRA_AUTH_TENANT_ID: contoso,
    ENTRA_AUTH_AUDIENCE: ordersId,
    ENTRA_AUTH_AUTHORITY: authority.origin,
  })
  const line = await service.waitForLog(({ msg }) => msg === 'keys not read')
  assert.match(String(line.error), /self-signed certificate/)
  assert.equal((await fetch(`${service.origin}/readyz`)).status, 503)
})
