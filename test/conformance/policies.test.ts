import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { assertAllowed, assertChallenged, assertRefused } from '../support/expect.ts'
import { appIdUri, ids, startMs } from '../support/ids.ts'
import { ask, fixtureConfig, loadFile, startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const audiences = [ids.api, appIdUri]
const allow = [{ actor: 'user', scopes: ['Orders.Read'] }]
const dayMs = 24 * 3_600_000
const dateAfter = (days: number) => new Date(startMs + days * dayMs).toISOString()
const policies = {
  default: { audiences, allow },
  described: { audiences, allow, resource: 'https://api.contoso.example/orders' },
  'at-the-root': { audiences, allow, resource: 'https://orders.contoso.example' },
  introduced: { audiences, allow, reportOnlyUntil: dateAfter(1) },
  'introduced-before': { audiences, allow, reportOnlyUntil: dateAfter(-1) },
}
const service = await startService({ config: { policies } })
after(() => service.close())

describe('a rule on an attribute that changes hands', () => {
  for (const claim of ['email', 'emails', 'upn', 'preferred_username', 'unique_name', 'name']) {
    it(`is a configuration error: ${claim}`, async () => {
      for (const policy of [
        { allow: [{ actor: 'user', [claim]: ['adele@contoso.example'] }] },
        { deny: [{ [claim]: ['adele@contoso.example'] }] },
      ]) {
        await assert.rejects(
          loadFile(fixtureConfig('http://127.0.0.1:1', { policy })),
          (error: Error) => {
            assert.ok(error.message.includes(claim), error.message)
            return true
          },
        )
      }
    })
  }
})

describe('a configuration that would admit strangers', () => {
  for (const [what, config, policy] of [
    ['an audience of Microsoft Graph', {}, { audiences: ['https://graph.microsoft.com'] }],
    ['a token exchange audience', {}, { audiences: ['api://AzureADTokenExchange'] }],
    ['an app grant without role and client', {}, { allow: [{ actor: 'app' }] }],
    ['a policy without grants', {}, { allow: [] }],
    ['a tenant named common', { tenants: { contoso: 'common' } }, {}],
    [
      'an authority over http away from loopback',
      { tenants: { contoso: { id: ids.contoso, authority: 'http://login.test' } } },
      {},
    ],
    [
      'an issuer host as authority',
      { tenants: { contoso: { id: ids.contoso, authority: 'https://sts.windows.net' } } },
      {},
    ],
  ] as const) {
    it(`is an error: ${what}`, async () => {
      await assert.rejects(
        loadFile(
          fixtureConfig('http://127.0.0.1:1', { config: { ...config }, policy: { ...policy } }),
        ),
      )
    })
  }
})

describe('the policy of the path', () => {
  it('is "default" where the path has none', async () => {
    const headers = { Authorization: `Bearer ${v2User()}` }
    assertAllowed(await ask(service, '/verify', { headers }))
    assertAllowed(await ask(service, '/verify?x=1', { headers }))
  })
  it('is named in the body of a refusal once it is known', async () => {
    const known = JSON.parse((await verify(service, 'described', {})).body)
    assert.equal(known.policy, 'described')
    const unknown = JSON.parse((await verify(service, 'nowhere', {})).body)
    assert.equal('policy' in unknown, false)
  })
  it('that is unknown is refused before the token is looked at', async () =>
    assertRefused(await verify(service, 'nowhere', {}), 404, undefined, 'unknown_policy'))
})

describe('the metadata of a protected resource', () => {
  it('are named in the challenge, whoever asks under whatever host', async () => {
    const reply = await verify(service, 'described', {
      Host: 'evil.test',
      'X-Forwarded-Host': 'evil.test',
    })
    assertChallenged(reply)
    assert.equal(
      reply.challenge?.resource_metadata,
      'https://api.contoso.example/.well-known/oauth-protected-resource/orders',
    )
  })
  it('are not named where the policy has no resource', async () =>
    assert.equal((await verify(service, 'default', {})).challenge?.resource_metadata, undefined))
  it('are served at the path of the resource', async () => {
    const { body } = await ask(service, '/.well-known/oauth-protected-resource/orders')
    assert.deepEqual(JSON.parse(body), {
      resource: 'https://api.contoso.example/orders',
      // The issuer that the authority's metadata name, since a client compares the two.
      authorization_servers: [
        `https://login.microsoftonline.com/${ids.contoso}/v2.0`,
        `https://login.microsoftonline.com/${ids.fabrikam}/v2.0`,
      ],
      scopes_supported: [`${appIdUri}/Orders.Read`],
      bearer_methods_supported: ['header'],
    })
  })
  it('are served at the root for a resource without a path', async () => {
    const { body } = await ask(service, '/.well-known/oauth-protected-resource')
    assert.equal(JSON.parse(body).resource, 'https://orders.contoso.example')
  })
})

describe('a policy that only reports', () => {
  it('lets a refusal through without identity, and says so', async () => {
    const reply = await verify(service, 'introduced', v2User({ scp: 'Other' }))
    assertAllowed(reply)
    assert.equal(reply.headers['x-entra-auth-report'], 'scope_missing')
    assert.equal(reply.headers['cache-control'], 'private, max-age=0')
    assert.equal(reply.headers['x-auth-request-user'], '')
    assert.equal(reply.headers['x-entra-auth-user'], undefined)
  })
  it('reports nothing where the token is good', async () => {
    const reply = await verify(service, 'introduced', v2User())
    assertAllowed(reply)
    assert.equal(reply.headers['x-entra-auth-report'], undefined)
    assert.equal(reply.headers['x-auth-request-user'], ids.user)
  })
  it('refuses from its date on', async () => {
    assertRefused(
      await verify(service, 'introduced-before', v2User({ scp: 'Other' })),
      403,
      'insufficient_scope',
      'scope_missing',
    )
  })
  it('writes the refusal into the log', async () => {
    const before = service.log.length
    await verify(service, 'introduced', {})
    const [line] = service.log.slice(before).map((text) => JSON.parse(text))
    assert.deepEqual([line.reason, line.policy], ['no_credentials', 'introduced'])
  })
})
