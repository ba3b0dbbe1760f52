import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configOf, OTHER, problemsOf, TENANT, yaml } from './fixture.ts'

type Parts = Parameters<typeof yaml>[0]

type Row = readonly [string, Parts | string, string, RegExp]

/** Each row: what is refused, the file, the path of the only problem, what the line says. */
const refused: readonly Row[] = [
  // Shape
  ['an empty file', '', '(file)', /has no value/],
  ['a list as the file', '[]', '(file)', /is a list where a mapping/],
  ['text as the file', 'hello', '(file)', /is text where a mapping/],
  ['a mistyped key', { head: 'listn: { port: 1 }' }, 'listn', /Did you mean "listen"\?/],
  ['a key in snake case', { head: 'key_store: /x' }, 'key_store', /Did you mean "keyStore"\?/],
  ['an unrelated key', { head: 'zebra: 1' }, 'zebra', /Known here: listen, metrics/],
  ['a key without a value', { head: 'listen:' }, 'listen', /has no value/],
  [
    'a port in quotes',
    { head: 'listen: { port: "1" }' },
    'listen.port',
    /text where a whole number/,
  ],
  ['a negative port', { head: 'listen: { port: -1 }' }, 'listen.port', /outside 0 to 65535/],
  ['a fraction', { head: 'clockSkewSeconds: 1.5' }, 'clockSkewSeconds', /a fraction where/],
  ['an empty host', { head: 'listen: { host: "" }' }, 'listen.host', /IP address/],
  ['a list where a word belongs', { head: 'keyStore: [x]' }, 'keyStore', /a list where text/],
  [
    'text where yes or no belongs',
    { policy: 'requireIdtyp: sure' },
    'policies.orders.requireIdtyp',
    /where true or false/,
  ],
  ['an unknown cloud', { head: 'cloud: germany' }, 'cloud', /public, usgov or china/],
  [
    'a password in the address of the store',
    { head: 'store: { url: "rediss://user:secret@store:6379" }' },
    'store.url',
    /holds a user name or a password/,
  ],
  [
    'another protocol for the store',
    { head: 'store: { url: "https://store:6379" }' },
    'store.url',
    /is no address of a Redis or Valkey server/,
  ],
  [
    'several addresses for the store',
    { head: 'store: { url: "rediss://one:6379,two:6379" }' },
    'store.url',
    /names several servers, or a Sentinel: the service connects to one address/,
  ],
  [
    'a Sentinel for the store',
    { head: 'store: { url: "redis+sentinel://sentinel:26379/mymaster" }' },
    'store.url',
    /names several servers, or a Sentinel: the service connects to one address/,
  ],
  [
    'a user of the store without a password',
    { head: 'store: { url: "rediss://store:6379", usernameFile: /u }' },
    'store.passwordFile',
    /is missing although/,
  ],
  ['no policies', `tenants: { a: ${TENANT} }`, 'policies', /is missing/],
  ['an empty section policies', `tenants: { a: ${TENANT} }\npolicies: {}`, 'policies', /is empty/],
  [
    'no tenants',
    'policies: { p: { tenants: [a], audiences: [a], allow: [{ actor: user }] } }',
    'tenants',
    /is missing/,
  ],
  [
    'a policy name with a slash',
    { tail: '  a/b: { audiences: [a], allow: [{ actor: user }] }' },
    'policies["a/b"]',
    /usable name/,
  ],
  // Secrets
  ['a literal client secret', { head: 'clientSecret: abc' }, 'clientSecret', /literal secret/],
  [
    'a literal password in a tenant',
    { tenant: `{ id: ${TENANT}, password: 1 }` },
    'tenants.contoso.password',
    /literal secret/,
  ],
  ['a literal caller key', { head: 'callerKey: abc' }, 'callerKey', /name that in callerKeyFile/],
  [
    'a literal admin key',
    { head: 'admin: { adminKey: abc }' },
    'admin.adminKey',
    /name that in adminKeyFile/,
  ],
  [
    'a file of a secret that nobody needs',
    { head: 'clientSecretFile: /x' },
    'clientSecretFile',
    /not a known key/,
  ],
  [
    'a key file that is missing',
    { head: 'callerKeyFile: /nowhere' },
    'callerKeyFile',
    /"\/nowhere" that cannot be read \(ENOENT\)/,
  ],
  [
    'a key in place of its file, unseen',
    { head: 'callerKeyFile: s3cr3t' },
    'callerKeyFile',
    /names a file that cannot be read/,
  ],
  ['a short key', { head: 'callerKeyFile: /short' }, 'callerKeyFile', /16 to 512/],
  ['a key with a space', { head: 'callerKeyFile: /space' }, 'callerKeyFile', /16 to 512/],
  ['an empty file name', { head: 'callerKeyFile: ""' }, 'callerKeyFile', /is empty/],
  // Listeners
  [
    'two listeners on one address',
    { head: 'metrics: { port: 8080 }' },
    'metrics',
    /same address as listen/,
  ],
  [
    'two listeners on localhost and 127.0.0.1',
    { head: 'metrics: { host: localhost, port: 8080 }' },
    'metrics',
    /same address/,
  ],
  [
    'a listener on all addresses and one of its port',
    { head: 'listen: { host: "::", port: 9091 }' },
    'admin',
    /same address/,
  ],
  [
    'an admin listener away from loopback',
    { head: 'admin: { host: 0.0.0.0 }' },
    'admin.adminKeyFile',
    /not on loopback/,
  ],
  [
    'an admin host that only begins like loopback',
    { head: 'admin: { host: 127.0.0.1.example.com }' },
    'admin.adminKeyFile',
    /not on loopback/,
  ],
  // Tenants
  [
    'a domain as tenant',
    { tenant: 'contoso.com' },
    'tenants.contoso',
    /is not a GUID: "contoso.com"/,
  ],
  ['the placeholder common', { tenant: 'common' }, 'tenants.contoso', /every tenant in the world/],
  [
    'the placeholder Organizations',
    { tenant: '{ id: Organizations }' },
    'tenants.contoso.id',
    /placeholder/,
  ],
  ['the placeholder consumers', { tenant: 'consumers' }, 'tenants.contoso', /placeholder/],
  ['a number as tenant', { tenant: '1' }, 'tenants.contoso', /Write the tenant id/],
  ['a tenant without id', { tenant: '{}' }, 'tenants.contoso.id', /is missing/],
  ['a bad appId', { tenant: `{ id: ${TENANT}, appId: x }` }, 'tenants.contoso.appId', /not a GUID/],
  [
    'one tenant under two names',
    { tenant: `${TENANT}\n  again: ${TENANT}` },
    'tenants.again',
    /same tenant as tenants.contoso/,
  ],
  // Audiences, resource, dates
  ['an empty list of audiences', { audience: '' }, 'policies.orders.audiences', /empty list/],
  [
    'an empty audience',
    { audience: '""' },
    'policies.orders.audiences[0]',
    /client id or an identifier URI/,
  ],
  [
    'the client id of Microsoft Graph',
    { audience: '00000003-0000-0000-C000-000000000000' },
    'policies.orders.audiences[0]',
    /API of Microsoft/,
  ],
  [
    'Microsoft Graph with a slash',
    { audience: 'https://graph.microsoft.com/' },
    'policies.orders.audiences[0]',
    /API of Microsoft/,
  ],
  [
    'the token exchange audience',
    { audience: 'api://AzureADTokenExchange' },
    'policies.orders.audiences[0]',
    /API of Microsoft/,
  ],
  ...[
    'spn:00000003-0000-0000-c000-000000000000',
    'https://management.usgovcloudapi.net/',
    'cfa8b339-82a2-471a-a3c9-0fc0be7a4093',
    'https://servicebus.azure.net',
    'https://analysis.windows.net/powerbi/api',
    '6DAE42F8-4368-4678-94FF-3960E28E3630',
    'https://Contoso.sharepoint.com',
  ].map(
    (audience): Row => [
      `the audience of another API of Microsoft: ${audience}`,
      { audience: `"${audience}"` },
      'policies.orders.audiences[0]',
      /API of Microsoft/,
    ],
  ),
  [
    'a relative resource',
    { policy: 'resource: /orders' },
    'policies.orders.resource',
    /absolute https/,
  ],
  [
    'an http resource',
    { policy: 'resource: http://api.contoso.com/' },
    'policies.orders.resource',
    /away from loopback/,
  ],
  [
    'a resource with a query',
    { policy: 'resource: "https://a.example/?x"' },
    'policies.orders.resource',
    /query or a fragment/,
  ],
  [
    'a resource with a fragment',
    { policy: 'resource: "https://a.example/#x"' },
    'policies.orders.resource',
    /query or a fragment/,
  ],
  [
    'a resource in another spelling than clients use',
    { policy: 'resource: https://API.contoso.com:443/x/../orders' },
    'policies.orders.resource',
    /as clients write it/,
  ],
  [
    'a resource with credentials',
    { policy: 'resource: https://u:p@a.example/' },
    'policies.orders.resource',
    /credentials/,
  ],
  [
    'a date that is a word',
    { policy: 'reportOnlyUntil: soon' },
    'policies.orders.reportOnlyUntil',
    /not a date: "soon"/,
  ],
  [
    'the 30th of February',
    { policy: 'reportOnlyUntil: 2026-02-30' },
    'policies.orders.reportOnlyUntil',
    /not a date/,
  ],
  [
    'a time without its zone',
    { policy: 'reportOnlyUntil: "2026-02-03T04:05"' },
    'policies.orders.reportOnlyUntil',
    /Write a date/,
  ],
  [
    'a cache of more than an hour',
    { policy: 'cacheSeconds: 3601' },
    'policies.orders.cacheSeconds',
    /outside 0 to 3600/,
  ],
  [
    'the name of another tenant',
    { policy: 'tenants: [contosso]' },
    'policies.orders.tenants[0]',
    /Write the name "contoso"/,
  ],
  [
    'the id in place of the name',
    { policy: `tenants: [${TENANT}]` },
    'policies.orders.tenants[0]',
    /Write the name "contoso"/,
  ],
  [
    'an unknown tenant',
    { policy: 'tenants: [fabrikam]' },
    'policies.orders.tenants[0]',
    /Configured: contoso/,
  ],
  // Grants and deny rules
  ['an empty allow', { grant: '' }, 'policies.orders.allow', /empty list/],
  [
    'a grant without actor',
    { grant: '{ scopes: any }' },
    'policies.orders.allow[0].actor',
    /is missing/,
  ],
  [
    'a grant that is a word',
    { grant: 'everyone' },
    'policies.orders.allow[0]',
    /text where a mapping/,
  ],
  [
    'an app grant without roles and clients',
    { grant: `{ actor: app, groups: [${OTHER}] }` },
    'policies.orders.allow[0]',
    /neither roles nor clients/,
  ],
  [
    'an agent grant without conditions',
    { grant: '{ actor: agent }' },
    'policies.orders.allow[0]',
    /none of scopes, roles and clients/,
  ],
  [
    'scopes of an app',
    { grant: '{ actor: app, roles: any, scopes: any }' },
    'policies.orders.allow[0].scopes',
    /has no scopes/,
  ],
  [
    'guests among apps',
    { grant: '{ actor: app, roles: any, guests: false }' },
    'policies.orders.allow[0].guests',
    /has no user/,
  ],
  [
    'an empty list of roles',
    { grant: '{ actor: app, roles: [] }' },
    'policies.orders.allow[0].roles',
    /empty list/,
  ],
  [
    'a word that is not any',
    { grant: '{ actor: app, roles: all }' },
    'policies.orders.allow[0].roles',
    /the word any/,
  ],
  [
    'a role with a space',
    { grant: '{ actor: app, roles: [a b] }' },
    'policies.orders.allow[0].roles[0]',
    /without spaces/,
  ],
  [
    'a scope as it is asked for',
    { grant: '{ actor: user, scopes: [api://orders/Orders.Read] }' },
    'policies.orders.allow[0].scopes[0]',
    /can never match/,
  ],
  [
    'the scope .default',
    { grant: '{ actor: user, scopes: [.default] }' },
    'policies.orders.allow[0].scopes[0]',
    /can never match/,
  ],
  [
    'a group by name',
    { grant: '{ actor: user, groups: [admins] }' },
    'policies.orders.allow[0].groups[0]',
    /object id of the group/,
  ],
  [
    'a client by name',
    { grant: '{ actor: user, clients: [cli] }' },
    'policies.orders.allow[0].clients[0]',
    /client\) id/,
  ],
  [
    'the authentication context c100',
    { grant: '{ actor: user, authContext: c100 }' },
    'policies.orders.allow[0].authContext',
    /c1 to c99/,
  ],
  [
    'the authentication context c0',
    { grant: '{ actor: user, authContext: c0 }' },
    'policies.orders.allow[0].authContext',
    /c1 to c99/,
  ],
  [
    'a deny rule without conditions',
    { policy: 'deny: [{}]' },
    'policies.orders.deny[0]',
    /is empty/,
  ],
  [
    'a deny rule for no guests',
    { policy: 'deny: [{ guests: false }]' },
    'policies.orders.deny[0].guests',
    /Write true/,
  ],
  [
    'a deny rule by address',
    { policy: 'deny: [{ users: [a@b.c] }]' },
    'policies.orders.deny[0].users[0]',
    /object id of the user/,
  ],
  ...['email', 'upn', 'preferred_username', 'name', 'unique_name'].flatMap(
    (claim): [string, Parts, string, RegExp][] => [
      [
        `a grant on ${claim}`,
        { grant: `{ actor: user, ${claim}: x }` },
        `policies.orders.allow[0].${claim}`,
        /can change hands/,
      ],
      [
        `a deny rule on ${claim}`,
        { policy: `deny: [{ ${claim}: x }]` },
        `policies.orders.deny[0].${claim}`,
        /can change hands/,
      ],
    ],
  ),
  // Identity headers
  ['an unknown header set', { head: 'identityHeaders: x-auth' }, 'identityHeaders', /remote-user/],
  ['an empty header map', { head: 'identityHeaders: {}' }, 'identityHeaders', /is empty/],
  [
    'an unknown claim',
    { head: 'identityHeaders: { X-User: s3cr3t }' },
    'identityHeaders.X-User',
    /does not name a claim/,
  ],
  [
    'a header name with a space',
    { head: 'identityHeaders: { X User: oid }' },
    'identityHeaders["X User"]',
    /usable name/,
  ],
  ...['Authorization', 'Host', 'Content_Length', 'connection', 'X-Entra-Auth-User'].map(
    (name): [string, Parts, string, RegExp] => [
      `the header ${name}`,
      { head: `identityHeaders: { ${name}: oid }` },
      `identityHeaders.${name}`,
      /meaning of its own/,
    ],
  ),
  [
    'two headers that CGI cannot tell apart',
    { head: 'identityHeaders: { X-User: oid, x_user: tid }' },
    'identityHeaders.x_user',
    /same header as identityHeaders.X-User/,
  ],
  // YAML
  [
    'a duplicate key in flow style',
    { head: 'listen: { port: 1, port: 2 }' },
    'listen.port',
    /duplicate key, first on line 1/,
  ],
  ['an alias to nothing', { tenant: '*nothing' }, 'tenants.contoso', /alias to nothing/],
  ['a tag', { head: 'keyStore: !vault x' }, '(file)', /Remove the tag/],
  ['a tab as indentation', 'listen:\n\tport: 1', '(file)', /Indent with spaces/],
  ['two documents', 'a: 1\n---\nb: 2', '(file)', /Keep one document/],
  ['a colon in plain text', 'a: b: c', '(file)', /Quote a value/],
  ['an open bracket', 'a: [1', '(file)', /brackets and quotes/],
  ['nesting without end', '['.repeat(50_000), '(file)', /nested too deeply/],
  ['a huge file', '#'.repeat(1_048_577), '(file)', /more than 1048576 characters/],
]

for (const [what, parts, path, line] of refused) {
  test(`${what} is refused`, async () => {
    const text = typeof parts === 'string' ? parts : yaml(parts)
    const files = { '/short': 'abc', '/space': '0123456789 abcdef' }
    const lines = (await problemsOf(text, files)).map(
      (problem) => `${problem.path}: ${problem.message}. ${problem.hint}`,
    )
    const elsewhere = lines.filter((shown) => !shown.startsWith(`${path}: `))
    assert.ok(elsewhere.length === 0 && line.test(lines[0] ?? ''), lines.join('\n'))
  })
}

/** Each row: an authority, what it becomes, its cloud. */
const authorities: readonly [string, string, string | undefined][] = [
  ['https://login.microsoftonline.com/', 'https://login.microsoftonline.com', 'public'],
  ['https://LOGIN.microsoftonline.com', 'https://login.microsoftonline.com', 'public'],
  ['https://login.windows.net', 'https://login.windows.net', 'public'],
  ['https://login.microsoft.com/', 'https://login.microsoft.com', 'public'],
  ['https://login.microsoftonline.us', 'https://login.microsoftonline.us', 'usgov'],
  ['https://login.partner.microsoftonline.cn', 'https://login.partner.microsoftonline.cn', 'china'],
  ['https://login.chinacloudapi.cn', 'https://login.chinacloudapi.cn', 'china'],
  ['https://customers.ciamlogin.com/', 'https://customers.ciamlogin.com', undefined],
  ['https://login.contoso.com//', 'https://login.contoso.com', undefined],
  ['http://127.0.0.1:8443/entra/', 'http://127.0.0.1:8443/entra', undefined],
  ['http://127.9.9.9', 'http://127.9.9.9', undefined],
  ['http://[::1]:1', 'http://[::1]:1', undefined],
  ['http://localhost:1', 'http://localhost:1', undefined],
]

for (const [given, authority, cloud] of authorities) {
  test(`the authority ${given} is accepted${cloud ? ` as ${cloud}` : ''}`, async () => {
    const config = await configOf(yaml({ tenant: `{ id: ${TENANT}, authority: "${given}" }` }))
    assert.deepEqual([config.tenants[0]?.authority, config.tenants[0]?.cloud], [authority, cloud])
  })
}

const refusedAuthorities: readonly [string, RegExp][] = [
  ['', /is empty/],
  ['login.microsoftonline.com', /not an absolute/],
  ['file:///etc/passwd', /not an absolute/],
  ['https://a.example\\\\@b.example', /not an absolute/],
  ['https://', /not an absolute/],
  ['https://user:pw@login.microsoftonline.com', /credentials/],
  ['https://@login.microsoftonline.com', /credentials/],
  ['https://login.microsoftonline.com/?a', /query or a fragment/],
  ['https://login.microsoftonline.com/#', /query or a fragment/],
  ['https://contoso.b2clogin.com/', /B2C/],
  ['https://contoso.b2clogin.com./x', /B2C/],
  ['https://login.microsoftonline.com/tfp/contoso', /B2C/],
  ['http://login.microsoftonline.com', /http: away from loopback/],
  ['http://127.0.0.1.example.com', /http: away from loopback/],
  ['http://[::ffff:127.0.0.1]', /http: away from loopback/],
  ['https://sts.windows.net', /not a known authority of Microsoft/],
  ['https://login.microsoftonline.de', /not a known authority of Microsoft/],
  ['https://login.microsoftonline.com.', /not a known authority of Microsoft/],
  ['https://login.microsoftonline.com:8443', /not a known authority of Microsoft/],
  [`https://login.microsoftonline.com/${TENANT}`, /has a path/],
  [`https://a.ciamlogin.com/${TENANT}/v2.0`, /has a path/],
  ['https://login.contoso.com/x/v2.0', /has a path/],
  ['https://login.contoso.com/.well-known/openid-configuration', /has a path/],
]

for (const [given, message] of refusedAuthorities) {
  test(`the authority ${JSON.stringify(given)} is refused`, async () => {
    const problems = await problemsOf(yaml({ tenant: `{ id: ${TENANT}, authority: "${given}" }` }))
    assert.match(problems.map((problem) => `${problem.path}: ${problem.message}`).join(), message)
  })
}

const accepted: readonly [string, Parts][] = [
  ['the consumer tenant, when it is named', { tenant: '9188040d-6c67-4c5b-b112-36a304b66dad' }],
  ['a report-only date that is over', { policy: 'reportOnlyUntil: 2001-01-01' }],
  ['a resource that is a whole host', { policy: 'resource: https://api.contoso.com' }],
  ['a resource that is a whole host, with a slash', { policy: 'resource: https://a.example/' }],
  ['an http resource on loopback', { policy: 'resource: http://localhost:8080/orders' }],
  ['groups of an app', { grant: `{ actor: app, roles: [R], groups: [${OTHER}] }` }],
  ['a user grant without conditions', { grant: '{ actor: user }' }],
  ['an admin listener on ::1', { head: 'admin: { host: ::1 }' }],
  [
    'listeners that take any free port',
    { head: 'listen: { port: 0 }\nmetrics: { port: 0 }\nadmin: { port: 0 }' },
  ],
  ['one port on two addresses', { head: 'listen: { host: 10.0.0.1, port: 9090 }' }],
  ['the set remote-user', { head: 'identityHeaders: remote-user' }],
  ['tenants named like secrets', { tenant: `${TENANT}\n  monkey: ${OTHER}` }],
  [
    'an alias to a value',
    {
      tail: '  again: { audiences: &a [x], allow: [{ actor: user }] }\n  more: { audiences: *a, allow: [{ actor: user }] }',
    },
  ],
]

for (const [what, parts] of accepted) {
  test(`${what}: accepted`, async () => {
    assert.deepEqual(await problemsOf(yaml(parts)), [])
  })
}

test('a time is read with its zone', async () => {
  const config = await configOf(yaml({ policy: 'reportOnlyUntil: 2026-12-31T18:00:00+02:00' }))
  assert.equal(config.policies[0]?.reportOnlyUntilMs, Date.UTC(2026, 11, 31, 16))
})

test('a date with the YAML tag for dates is read as one without', async () => {
  const config = await configOf(yaml({ policy: 'reportOnlyUntil: !!timestamp 2026-12-31' }))
  assert.equal(config.policies[0]?.reportOnlyUntilMs, Date.UTC(2026, 11, 31))
})

test('a repeated audience, role or tenant counts once', async () => {
  const config = await configOf(
    yaml({
      audience: `${OTHER}, ${OTHER}`,
      grant: '{ actor: app, roles: [R, R] }',
      policy: 'tenants: [contoso, contoso]',
    }),
  )
  const policy = config.policies[0]
  assert.deepEqual(
    [policy?.audiences, policy?.allow, policy?.tenants],
    [[OTHER], [{ actor: 'app', roles: ['R'] }], [TENANT]],
  )
})

test('a custom header map is kept as written, __proto__ included', async () => {
  const config = await configOf(yaml({ head: 'identityHeaders: { X-Oid: oid, __proto__: tid }' }))
  assert.deepEqual(Object.entries(config.identityHeaders), [
    ['X-Oid', 'oid'],
    ['__proto__', 'tid'],
  ])
})

test('an alias inside its own anchor is refused', async () => {
  const problems = await problemsOf('keyStore: &a [*a]')
  assert.match(JSON.stringify(problems), /alias to nothing or to itself/)
})

test('a redefined anchor stands for the value before the alias', async () => {
  const config = await configOf(
    yaml({ audience: '&x one, *x, &x two, *x', policy: 'maxTokenLifetimeMinutes: 5' }),
  )
  assert.deepEqual(config.policies[0]?.audiences, ['one', 'two'])
})

test('aliases that multiply to a billion values are one problem', async () => {
  const lines = ['a0: &a0 [1,1,1,1,1,1,1,1,1,1]']
  for (let i = 1; i < 10; i++) {
    lines.push(`a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join()}]`)
  }
  const problems = await problemsOf(lines.join('\n'))
  assert.deepEqual(
    problems.map(({ message }) => message),
    ['holds too many values or levels'],
  )
})

test('a key that is a list is refused', async () => {
  const problems = await problemsOf('? [a]\n: 1')
  assert.equal(problems[0]?.message, 'has a key that is not a word')
})

test('a syntax error is reported with its line and without the text of the file', async () => {
  const [problem] = await problemsOf('- a\npassword: hunter2 "x')
  assert.deepEqual([problem?.line, /hunter2/.test(JSON.stringify(problem))], [2, false])
})

for (const head of [
  'callerKeyFile: s3cr3t',
  'identityHeaders: { X-Api: s3cr3t }',
  'adminKey: s3cr3t',
]) {
  test(`no problem repeats the value of ${head.split(':')[0]}`, async () => {
    assert.doesNotMatch(JSON.stringify(await problemsOf(yaml({ head }))), /s3cr3t/)
  })
}

for (const [what, policy] of [
  ['a quotation mark in a scope', `allow: [{ actor: user, scopes: ['a"b'] }]`],
  ['a backslash in a scope', `allow: [{ actor: user, scopes: ['a\\b'] }]`],
] as const) {
  test(`${what} is a problem, since the challenge could not carry it`, async () => {
    const text = `tenants: { t: ${TENANT} }\npolicies: { p: { audiences: [api://a], ${policy} } }`
    assert.deepEqual(
      (await problemsOf(text)).map(({ path }) => path),
      ['policies.p.allow[0].scopes[0]'],
    )
  })
}
