import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configVersion } from '../../src/config/version.ts'
import { configOf, OTHER, TENANT, yaml } from './fixture.ts'

/** The section `signIn` with members that take the place of the usual ones. */
function signIn(members: object = {}): { head: string } {
  const section = {
    clientId: TENANT,
    tenant: 'contoso',
    credential: { clientSecretFile: '/k' },
    hosts: ['portal.contoso.example'],
    ...members,
  }
  return { head: `signIn: ${JSON.stringify(section)}` }
}

async function versionOf(parts: Parameters<typeof yaml>[0]) {
  return configVersion(
    await configOf(yaml(parts), { '/k': '0123456789abcdef', '/l': 'fedcba9876543210' }),
  )
}

test('the version is sixteen base64url characters', async () => {
  assert.match(await versionOf({}), /^[\w-]{16}$/)
})

test('the version of a configuration never changes, so replicas of one release agree', async () => {
  assert.equal(await versionOf({}), '4VIMOOHzy-8nMlab')
})

const same: readonly [string, Parameters<typeof yaml>[0], Parameters<typeof yaml>[0]][] = [
  [
    'listen addresses',
    {},
    { head: 'listen: { port: 1 }\nmetrics: { port: 2 }\nadmin: { port: 3 }' },
  ],
  ['the caller key', { head: 'callerKeyFile: /k' }, { head: 'callerKeyFile: /l' }],
  [
    'where sign-in listens, with what and what its pages say',
    signIn(),
    signIn({
      listen: { host: '127.0.0.2', port: 1 },
      credential: { clientSecretFile: '/l' },
      sealingKeys: '/x',
      page: { text: 'Call 1234.' },
    }),
  ],
  ['the key store', {}, { head: 'keyStore: /x' }],
  ['a default that is written out', {}, { policy: 'maxTokenLifetimeMinutes: 1500' }],
  [
    'the order of keys in a grant',
    { grant: '{ actor: app, roles: [A] }' },
    { grant: '{ roles: [A], actor: app }' },
  ],
  [
    'the order of a list of roles',
    { grant: '{ actor: app, roles: [A, B] }' },
    { grant: '{ actor: app, roles: [B, A] }' },
  ],
  [
    'the order of header names',
    { head: 'identityHeaders: { X-A: oid, X-B: tid }' },
    { head: 'identityHeaders: { X-B: tid, X-A: oid }' },
  ],
  [
    'the order of tenants',
    { tenant: `${TENANT}\n  b: ${OTHER}` },
    { tenant: `${OTHER}\n  b: ${TENANT}` },
  ],
]

for (const [what, a, b] of same) {
  test(`${what} does not change the version`, async () => {
    assert.equal(await versionOf(a), await versionOf(b))
  })
}

const different: readonly [string, Parameters<typeof yaml>[0]][] = [
  ['the clock skew', { head: 'clockSkewSeconds: 1' }],
  ['the header set', { head: 'identityHeaders: app-service' }],
  ['an authority', { tenant: `{ id: ${TENANT}, authority: "http://127.0.0.1:1" }` }],
  ['a tenant', { tenant: OTHER }],
  ['an audience', { audience: 'api://other' }],
  ['a scope', { grant: '{ actor: user, scopes: [Orders.Write] }' }],
  ['any in place of a scope', { grant: '{ actor: user, scopes: any }' }],
  ['the cache time', { policy: 'cacheSeconds: 31' }],
  // Without it, the action keeps verdicts for longer.
  ['the cache time of other caches for all', { policy: 'cacheSeconds: 30' }],
  ['a deny rule', { policy: 'deny: [{ guests: true }]' }],
  ['a date', { policy: 'reportOnlyUntil: 2026-01-01' }],
]

for (const [what, parts] of different) {
  test(`${what} changes the version`, async () => {
    assert.notEqual(await versionOf(parts), await versionOf({}))
  })
}

for (const members of [
  { hosts: ['wiki.contoso.example'] },
  { clientId: OTHER },
  { sessionHours: 1 },
  { recheckMinutes: 5 },
]) {
  test(`${Object.keys(members)} of sign-in changes the version`, async () => {
    assert.notEqual(await versionOf(signIn(members)), await versionOf(signIn()))
  })
}

test('a key that this release does not know counts', async () => {
  const config = await configOf(yaml())
  assert.notEqual(configVersion({ ...config, later: 1 } as typeof config), configVersion(config))
})
