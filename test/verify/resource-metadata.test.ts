import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import type { Config } from '../../src/config/config.ts'
import {
  addResourceMetadataRoutes,
  describeResources,
  type IssuerOf,
} from '../../src/verify/resource-metadata.ts'
import { configOf, OTHER, TENANT } from '../config/fixture.ts'

interface Described {
  readonly resource?: string
  readonly audiences?: string
  readonly allow?: string
  readonly tenants?: string
}

/** A configuration with two tenants and a policy for each description. */
function configWith(policies: Record<string, Described>): Promise<Config> {
  const lines = Object.entries(policies).map(([name, described]) => {
    const { resource, audiences = '["api://orders"]', tenants = '[contoso]' } = described
    const { allow = '[{ actor: user, scopes: [Orders.Read] }]' } = described
    const rest = resource === undefined ? '' : `, resource: ${JSON.stringify(resource)}`
    return `  ${name}: { audiences: ${audiences}, tenants: ${tenants}, allow: ${allow}${rest} }`
  })
  const tenants = `tenants: { contoso: ${TENANT}, fabrikam: { id: ${OTHER}, authority: "https://fabrikam.ciamlogin.com" } }`
  return configOf([tenants, 'policies:', ...lines].join('\n'))
}

function serve(t: TestContext, config: Config, issuerOf: IssuerOf = () => undefined) {
  const app = Fastify()
  t.after(() => app.close())
  addResourceMetadataRoutes(app, () => describeResources(config), issuerOf)
  return app
}

async function documentOf(
  policies: Record<string, Described>,
  issuerOf: IssuerOf = () => undefined,
) {
  const [described] = describeResources(await configWith(policies)).values()
  return JSON.parse(described?.document(issuerOf) ?? '')
}

for (const [resource, url] of [
  ['https://a.example', 'https://a.example/.well-known/oauth-protected-resource'],
  ['https://a.example/', 'https://a.example/.well-known/oauth-protected-resource'],
  ['https://a.example/orders', 'https://a.example/.well-known/oauth-protected-resource/orders'],
  ['https://a.example/orders/', 'https://a.example/.well-known/oauth-protected-resource/orders/'],
  ['https://a.example/v1/x', 'https://a.example/.well-known/oauth-protected-resource/v1/x'],
  ['https://a.example/a%2Fb', 'https://a.example/.well-known/oauth-protected-resource/a%2Fb'],
  ['https://a.example:8443/x', 'https://a.example:8443/.well-known/oauth-protected-resource/x'],
] as const) {
  test(`the metadata of ${resource} stand at ${url}`, async (t) => {
    const config = await configWith({ orders: { resource } })
    assert.equal(describeResources(config).get('orders')?.url, url)
    const { pathname, host } = new URL(url)
    const reply = await serve(t, config).inject({ url: pathname, headers: { host } })
    assert.equal(reply.statusCode, 200)
    assert.match(String(reply.headers['content-type']), /^application\/json(;|$)/)
    assert.equal(reply.json().resource, resource)
  })
}

test('a slash more or less at the end is another resource', async (t) => {
  const app = serve(t, await configWith({ orders: { resource: 'https://a.example/orders' } }))
  const base = '/.well-known/oauth-protected-resource'
  for (const path of [`${base}/orders/`, `${base}//orders`, `${base}/Orders`, `${base}/`, base]) {
    assert.equal((await app.inject(path)).statusCode, 404, path)
  }
})

test('a policy without a resource has no metadata', async () => {
  assert.equal(describeResources(await configWith({ orders: {} })).size, 0)
})

test('the document has what a client needs and nothing else', async () => {
  assert.deepEqual(await documentOf({ orders: { resource: 'https://a.example/orders' } }), {
    resource: 'https://a.example/orders',
    authorization_servers: [`https://login.microsoftonline.com/${TENANT}/v2.0`],
    scopes_supported: ['api://orders/Orders.Read'],
    bearer_methods_supported: ['header'],
  })
})

test('an authorization server goes by the issuer that its own metadata name', async () => {
  const issuer = `https://${OTHER}.ciamlogin.com/${OTHER}/v2.0`
  const { authorization_servers } = await documentOf(
    { orders: { resource: 'https://a.example/', tenants: '[contoso, fabrikam]' } },
    (id) => (id === OTHER ? issuer : undefined),
  )
  assert.deepEqual(authorization_servers, [
    `https://login.microsoftonline.com/${TENANT}/v2.0`,
    issuer,
  ])
})

for (const [what, audiences, scope] of [
  [
    'the resource where it is one',
    '["api://orders", "https://a.example/x"]',
    'https://a.example/x',
  ],
  ['an identifier URI where there is one', `["${OTHER}", "api://orders"]`, 'api://orders'],
  ['the client id otherwise', `["${OTHER}"]`, OTHER],
] as const) {
  test(`scopes are qualified with ${what} of the audiences`, async () => {
    const document = await documentOf({ orders: { resource: 'https://a.example/x', audiences } })
    assert.deepEqual(document.scopes_supported, [`${scope}/Orders.Read`])
  })
}

test('scopes that are not named are not listed', async () => {
  const allow = '[{ actor: user, scopes: any }, { actor: app, roles: [Orders.Process] }]'
  const document = await documentOf({ orders: { resource: 'https://a.example/', allow } })
  assert.equal('scopes_supported' in document, false)
})

test('policies of one resource share one document with the scopes and tenants of all', async (t) => {
  const resource = 'https://a.example/orders'
  const config = await configWith({
    read: { resource },
    write: {
      resource,
      tenants: '[fabrikam]',
      allow: '[{ actor: user, scopes: [Orders.Write, Orders.Read] }]',
    },
    other: { resource: 'https://b.example/other', allow: '[{ actor: user, scopes: [Other] }]' },
  })
  const reply = await serve(t, config).inject('/.well-known/oauth-protected-resource/orders')
  const { authorization_servers, scopes_supported } = reply.json()
  assert.deepEqual(scopes_supported, ['api://orders/Orders.Read', 'api://orders/Orders.Write'])
  assert.deepEqual(authorization_servers, [
    `https://login.microsoftonline.com/${TENANT}/v2.0`,
    `https://fabrikam.ciamlogin.com/${OTHER}/v2.0`,
  ])
})

test('resources with one path on different hosts are told apart by the host', async (t) => {
  const config = await configWith({
    first: { resource: 'https://a.example/mcp' },
    second: { resource: 'https://b.example:8443/mcp' },
  })
  const app = serve(t, config)
  const ask = (host: string) =>
    app.inject({ url: '/.well-known/oauth-protected-resource/mcp', headers: { host } })
  for (const [host, resource] of [
    ['a.example', 'https://a.example/mcp'],
    ['A.example', 'https://a.example/mcp'],
    ['b.example:8443', 'https://b.example:8443/mcp'],
  ] as const) {
    assert.equal((await ask(host)).json().resource, resource, host)
  }
  for (const host of ['b.example', 'c.example', '']) {
    assert.equal((await ask(host)).statusCode, 404, host)
  }
})

test('with one resource of a path the host does not matter: HAProxy may rewrite it', async (t) => {
  const app = serve(t, await configWith({ orders: { resource: 'https://a.example/orders' } }))
  const url = '/.well-known/oauth-protected-resource/orders'
  const reply = await app.inject({ url, headers: { host: 'evil.example' } })
  assert.equal(reply.json().resource, 'https://a.example/orders')
})
