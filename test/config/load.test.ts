import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadConfig } from '../../src/config/load.ts'
import { formatProblems } from '../../src/config/problems.ts'
import { fc } from '../support/property.ts'
import { configOf, loadText, OTHER, problemsOf, TENANT, yaml } from './fixture.ts'

const SAMPLE = `
listen: { host: 127.0.0.1, port: 8080 }
metrics: { host: 127.0.0.1, port: 9090 }
admin: { host: 10.0.0.1, port: 9091, adminKeyFile: /admin-key }
callerKeyFile: /run/secrets/caller-key
keyStore: /var/lib/haproxy-entra-auth/keys
cloud: public
tenants:
  contoso: 11111111-1111-4111-8111-11111111111A
  customers: { id: 22222222-2222-4222-8222-222222222222, authority: https://customers.ciamlogin.com/ }
  mapped: { id: 77777777-7777-4777-8777-777777777777, appId: 88888888-8888-4888-8888-888888888888 }
clockSkewSeconds: 200
identityHeaders: x-auth-request
policies:
  orders:
    tenants: [contoso]
    audiences: [api://orders, 33333333-3333-4333-8333-33333333333B]
    resource: https://api.contoso.com/orders
    cacheSeconds: 20
    maxTokenLifetimeMinutes: 90
    groups: all
    requireIdtyp: true
    reportOnlyUntil: 2026-12-31
    allow:
      - { actor: user, scopes: [Orders.Read] }
      - { actor: user, roles: [Orders.Admin], guests: false, confidential: true, authContext: c1 }
      - { actor: user, groups: [44444444-4444-4444-8444-44444444444C] }
      - { actor: app, roles: any, clients: [55555555-5555-4555-8555-555555555555] }
      - { actor: agent, scopes: any }
    deny:
      - { groups: [66666666-6666-4666-8666-666666666666], guests: true }
      - { actor: app, scopes: [S], roles: [R], clients: [66666666-6666-4666-8666-666666666666] }
      - { users: [66666666-6666-4666-8666-66666666666D] }
`

test('a file with every key loads with ids in lower case, names resolved and files read', async () => {
  const config = await configOf(SAMPLE, {
    '/run/secrets/caller-key': ' caller-key-0123456789\n',
    '/admin-key': 'admin-key-0123456789\r\n',
  })
  assert.deepEqual(config, {
    listen: { host: '127.0.0.1', port: 8080 },
    metrics: { host: '127.0.0.1', port: 9090 },
    admin: { host: '10.0.0.1', port: 9091, key: 'admin-key-0123456789' },
    callerKey: 'caller-key-0123456789',
    keyStore: '/var/lib/haproxy-entra-auth/keys',
    overload: { maxEventLoopLagMs: 250 },
    log: { refusalsPerSecond: 10 },
    clockSkewSeconds: 200,
    identityHeaders: 'x-auth-request',
    tenants: [
      {
        name: 'contoso',
        id: '11111111-1111-4111-8111-11111111111a',
        authority: 'https://login.microsoftonline.com',
        cloud: 'public',
      },
      { name: 'customers', id: OTHER, authority: 'https://customers.ciamlogin.com' },
      {
        name: 'mapped',
        id: '77777777-7777-4777-8777-777777777777',
        authority: 'https://login.microsoftonline.com',
        cloud: 'public',
        appId: '88888888-8888-4888-8888-888888888888',
      },
    ],
    policies: [
      {
        name: 'orders',
        tenants: ['11111111-1111-4111-8111-11111111111a'],
        audiences: ['api://orders', '33333333-3333-4333-8333-33333333333b'],
        resource: 'https://api.contoso.com/orders',
        cacheSeconds: 20,
        maxTokenLifetimeMinutes: 90,
        groups: 'all',
        requireIdtyp: true,
        reportOnlyUntilMs: Date.UTC(2026, 11, 31),
        allow: [
          { actor: 'user', scopes: ['Orders.Read'] },
          {
            actor: 'user',
            roles: ['Orders.Admin'],
            guests: false,
            confidential: true,
            authContext: 'c1',
          },
          { actor: 'user', groups: ['44444444-4444-4444-8444-44444444444c'] },
          { actor: 'app', roles: 'any', clients: ['55555555-5555-4555-8555-555555555555'] },
          { actor: 'agent', scopes: 'any' },
        ],
        deny: [
          { groups: ['66666666-6666-4666-8666-666666666666'], guests: true },
          {
            actor: 'app',
            scopes: ['S'],
            roles: ['R'],
            clients: ['66666666-6666-4666-8666-666666666666'],
          },
          { users: ['66666666-6666-4666-8666-66666666666d'] },
        ],
      },
    ],
  })
})

test('a small file gets the documented defaults', async () => {
  assert.deepEqual(await configOf(yaml()), {
    listen: { host: '127.0.0.1', port: 8080 },
    metrics: { host: '127.0.0.1', port: 9090 },
    admin: { host: '127.0.0.1', port: 9091 },
    overload: { maxEventLoopLagMs: 250 },
    log: { refusalsPerSecond: 10 },
    clockSkewSeconds: 300,
    identityHeaders: 'x-auth-request',
    tenants: [
      {
        name: 'contoso',
        id: TENANT,
        authority: 'https://login.microsoftonline.com',
        cloud: 'public',
      },
    ],
    policies: [
      {
        name: 'orders',
        tenants: [TENANT],
        audiences: ['api://orders'],
        cacheSeconds: 30,
        maxTokenLifetimeMinutes: 1500,
        groups: 'named',
        requireIdtyp: false,
        allow: [{ actor: 'user', scopes: ['Orders.Read'] }],
        deny: [],
      },
    ],
  })
})

test('the files that were read are listed, for whoever watches them', async () => {
  const result = await loadText(yaml({ head: 'callerKeyFile: /k' }), { '/k': '0123456789abcdef' })
  assert.deepEqual(result.files, ['/config.yaml', '/k'])
})

test('a reader that answers with a promise is awaited', async () => {
  const result = await loadConfig({ file: '/c', env: {}, readFile: async () => yaml() })
  assert.equal(result.ok, true)
})

const TEN_KINDS = `listen: { host: 127.0.0.1, port: 70000 }
admin: { host: 0.0.0.0 }
clientSecret: hunter2
tenants:
  contoso: contoso.onmicrosoft.com
  old: { id: 99999999-9999-4999-8999-999999999999, authority: https://x.b2clogin.com/ }
policies:
  orders:
    audiences: [api://orders]
    audiences: [api://other]
    tenant: [contoso]
    allow: []
  billing:
    audiences: [api://billing]
    allow:
      - { actor: app }
      - { actor: user, email: alice@contoso.com }
`

test('ten kinds of mistakes are reported at once, each with its path and line', async () => {
  const found = (await problemsOf(TEN_KINDS)).map(({ path, line }) => `${line} ${path}`)
  assert.deepEqual(found, [
    '1 listen.port',
    '2 admin.adminKeyFile',
    '3 clientSecret',
    '5 tenants.contoso',
    '6 tenants.old.authority',
    '10 policies.orders.audiences',
    '11 policies.orders.tenant',
    '12 policies.orders.allow',
    '16 policies.billing.allow[0]',
    '17 policies.billing.allow[1].email',
  ])
})

test('the report of ten mistakes is one line that counts them and ten lines', async () => {
  const report = formatProblems(await problemsOf(TEN_KINDS), '/config.yaml').split('\n')
  assert.deepEqual([report.length, report[0]], [11, 'Configuration: 10 problems in /config.yaml'])
})

test('no report repeats a secret', async () => {
  assert.doesNotMatch(formatProblems(await problemsOf(TEN_KINDS)), /hunter2/)
})

for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '1.0', 'true']) {
  test(`a policy and a tenant named ${name} are ordinary`, async () => {
    const config = await configOf(`
tenants: { ${name}: ${TENANT} }
policies:
  ${name}: { tenants: [${JSON.stringify(name)}], audiences: [a], allow: [{ actor: app, roles: any }] }
`)
    assert.deepEqual(
      [config.tenants[0]?.name, config.policies[0]?.name, config.policies[0]?.tenants],
      [name, name, [TENANT]],
    )
  })
}

test('a key __proto__ where it is not a name is an unknown key', async () => {
  const problems = await problemsOf(yaml({ head: '__proto__: { cloud: usgov }' }))
  assert.deepEqual(
    problems.map(({ path, message }) => [path, message]),
    [['__proto__', 'is not a known key']],
  )
})

test('loading leaves the prototype of objects alone', async () => {
  await loadText(
    yaml({ head: '__proto__: { polluted: 1 }\nconstructor: { prototype: { polluted: 1 } }' }),
  )
  assert.equal(Reflect.get({}, 'polluted'), undefined)
})

test('a name is not found through the prototype', async () => {
  const problems = await problemsOf(yaml({ policy: 'tenants: [constructor]' }))
  assert.deepEqual(
    problems.map(({ path }) => path),
    ['policies.orders.tenants[0]'],
  )
})

test('a file that cannot be read is one problem', async () => {
  const result = await loadConfig({
    file: '/missing',
    env: {},
    readFile: () => {
      throw Object.assign(new Error(), { code: 'EACCES' })
    },
  })
  assert.deepEqual(!result.ok && result.problems, [
    {
      path: '--config',
      message: 'names a file that cannot be read (EACCES)',
      hint: 'Check its path and permissions.',
    },
  ])
})

test('a reader that throws no error object is a problem like any other', async () => {
  const result = await loadConfig({
    file: '/missing',
    env: {},
    readFile: () => Promise.reject('broken'),
  })
  assert.match(JSON.stringify(result), /cannot be read \(unreadable\)/)
})

test('a tenant without an authority takes that of the cloud', async () => {
  const config = await configOf(yaml({ head: 'cloud: china' }))
  assert.deepEqual(
    [config.tenants[0]?.authority, config.tenants[0]?.cloud],
    ['https://login.partner.microsoftonline.cn', 'china'],
  )
})

test('loading never throws and always answers, whatever the text', async () => {
  const word = fc.constantFrom(
    ...'tenants policies allow deny actor user app any a : - [ ] { } , & * ! | > " \' # ? << __proto__ constructor'.split(
      ' ',
    ),
    '\n',
    '  ',
    ': ',
    '&a ',
    '*a',
    TENANT,
  )
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.array(word, { maxLength: 60 }).map((words) => words.join('')),
    fc.json(),
  )
  await fc.assert(
    fc.asyncProperty(text, async (anything) => {
      const result = await loadText(anything)
      if (result.ok) return
      assert.equal(
        formatProblems(result.problems, 'f').split(/[\n\r\u2028\u2029]/).length,
        result.problems.length + 1,
      )
      assert.notEqual(result.problems.length, 0)
    }),
    { numRuns: 1000 },
  )
})

test('no change of one value of a good file makes loading throw', async () => {
  const good = {
    tenants: { contoso: { id: TENANT, authority: 'https://a.ciamlogin.com' } },
    listen: { host: '127.0.0.1', port: 1 },
    admin: { adminKeyFile: '/k' },
    identityHeaders: { 'X-User': 'oid' },
    policies: {
      p: {
        audiences: ['a'],
        resource: 'https://a/',
        reportOnlyUntil: '2026-01-01',
        allow: [{ actor: 'user', scopes: ['s'], groups: [TENANT] }],
        deny: [{ users: [TENANT] }],
      },
    },
  }
  const leaves: (string | number)[][] = []
  const collect = (value: unknown, path: (string | number)[]) => {
    leaves.push(path)
    if (typeof value !== 'object' || value === null) return
    for (const [key, member] of Object.entries(value)) collect(member, [...path, key])
  }
  collect(good, [])
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...leaves), fc.jsonValue(), async (path, value) => {
      const replace = (node: unknown, rest: (string | number)[]): unknown => {
        const [key, ...more] = rest
        if (key === undefined) return value
        const copy = Array.isArray(node) ? [...node] : { ...(node as object) }
        Reflect.set(copy, key, replace(Reflect.get(node as object, key), more))
        return copy
      }
      const result = await loadText(JSON.stringify(replace(good, path)))
      assert.equal(typeof result.ok, 'boolean')
    }),
    { numRuns: 1000 },
  )
})
