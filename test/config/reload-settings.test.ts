import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { stringify } from 'yaml'
import type { Config } from '../../src/config/config.ts'
import { planReload } from '../../src/config/restart.ts'
import { configFileSchema } from '../../src/config/schema.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { compilePolicy } from '../../src/policy/compile.ts'
import { ids } from '../support/ids.ts'
import { configOf } from './fixture.ts'

const [one, two] = await Promise.all(
  ['a.internal', 'b.internal'].map((name) => createTlsIdentity(Date.now, randomBytes, [name])),
)
assert.ok(one && two)

/** Files that the settings name; those with another path have another content. */
const files = {
  '/tls.crt': one.cert,
  '/tls.key': one.key,
  '/other.crt': two.cert,
  '/other.key': two.key,
  '/caller': 'the-first-caller-key',
  '/other-caller': 'the-other-caller-key',
  '/admin': 'the-first-admin-key',
  '/other-admin': 'the-other-admin-key',
}

const user = { actor: 'user', scopes: ['Orders.Read'] }
const session = { actor: 'user', session: true }

const tree = {
  listen: { port: 1, tls: { certificateFile: '/tls.crt', keyFile: '/tls.key' } },
  metrics: { port: 2 },
  admin: { port: 3, adminKeyFile: '/admin' },
  callerKeyFile: '/caller',
  keyStore: '/keys',
  store: { url: 'rediss://store:6379' },
  tenants: { contoso: { id: ids.contoso }, fabrikam: ids.fabrikam },
  signIn: {
    clientId: ids.client,
    tenant: 'contoso',
    hosts: ['a.example'],
    credential: { clientSecretFile: '/secret' },
  },
  policies: { p: { audiences: [ids.api], allow: [user, session], deny: [{ users: [ids.user] }] } },
}

/** Each setting of the schema with another value; `*` stands for a name, `[]` for the first item. */
const changes: Readonly<Record<string, unknown>> = {
  'listen.host': '::1',
  'listen.port': 11,
  'metrics.host': '::1',
  'metrics.port': 12,
  'admin.host': '127.0.0.2',
  'admin.port': 13,
  'admin.adminKeyFile': '/other-admin',
  callerKeyFile: '/other-caller',
  keyStore: '/other-keys',
  'store.url': 'rediss://other:6379',
  'store.passwordFile': '/password',
  'store.caFile': '/ca',
  'overload.maxEventLoopLagMs': 1,
  'log.refusalsPerSecond': 1,
  'log.format': 'named',
  'log.audit.destination': '/audit',
  cloud: 'usgov',
  'tenants.*.id': ids.stranger,
  'tenants.*.authority': 'https://login.microsoftonline.us',
  'tenants.*.appId': ids.api,
  'signIn.clientId': ids.otherClient,
  'signIn.tenant': 'fabrikam',
  'signIn.hosts': ['b.example'],
  'signIn.credential.clientSecretFile': '/other',
  'signIn.listen.host': '::1',
  'signIn.listen.port': 14,
  'signIn.sealingKeys': '/sealing',
  'signIn.recheckMinutes': 5,
  'signIn.sessionHours': 1,
  'signIn.page.text': 'Call 7.',
  'signIn.page.logoFile': '/logo.svg',
  clockSkewSeconds: 1,
  identityHeaders: 'remote-user',
  'policies.*.tenants': ['fabrikam'],
  'policies.*.audiences': ['api://other'],
  'policies.*.resource': 'https://api.example/p',
  'policies.*.cacheSeconds': 1,
  'policies.*.maxTokenLifetimeMinutes': 1,
  'policies.*.groups': 'all',
  'policies.*.requireIdtyp': true,
  'policies.*.reportOnlyUntil': '2026-12-31',
  'policies.*.crossSiteGuard': false,
  'policies.*.allow.[].actor': 'agent',
  'policies.*.allow.[].scopes': ['Orders.Write'],
  'policies.*.allow.[].roles': ['Admin'],
  'policies.*.allow.[].groups': [ids.group],
  'policies.*.allow.[].clients': [ids.client],
  'policies.*.allow.[].guests': false,
  'policies.*.allow.[].confidential': true,
  'policies.*.allow.[].authContext': 'c1',
  'policies.*.deny.[].actor': 'user',
  'policies.*.deny.[].scopes': ['Orders.Write'],
  'policies.*.deny.[].roles': ['Admin'],
  'policies.*.deny.[].groups': [ids.group],
  'policies.*.deny.[].clients': [ids.client],
  'policies.*.deny.[].users': [ids.app],
  'policies.*.deny.[].guests': true,
}

/** Settings that are changed as a whole, since others go with them; what stands in their place. */
const together: Readonly<Record<string, object>> = {
  'listen.tls.certificateFile': {
    listen: { port: 1, tls: { certificateFile: '/other.crt', keyFile: '/other.key' } },
  },
  'listen.tls.keyFile': {
    listen: { port: 1, tls: { certificateFile: '/other.crt', keyFile: '/other.key' } },
  },
  'store.usernameFile': {
    store: { url: tree.store.url, usernameFile: '/user', passwordFile: '/password' },
  },
  revocationFile: { store: undefined, revocationFile: '/revocations' },
  ...Object.fromEntries(
    Object.entries({
      federatedTokenFile: { federatedTokenFile: '/token' },
      managedIdentity: { managedIdentity: 'system' },
      certificateFile: { certificateFile: '/c', keyFile: '/k' },
      keyFile: { certificateFile: '/c', keyFile: '/k' },
      keyVaultKey: { keyVaultKey: 'https://contoso.vault.azure.net/keys/k' },
    }).map(([name, credential]) => [
      `signIn.credential.${name}`,
      { signIn: { ...tree.signIn, credential } },
    ]),
  ),
  'policies.*.allow.[].session': {
    policies: { p: { audiences: [ids.api], allow: [session, session] } },
  },
}

/** What waits for a restart, and the name that the log gives it; all else counts at once. */
const waits: Readonly<Record<string, readonly string[]>> = {
  'listen.host': ['listen.host'],
  'listen.port': ['listen.port'],
  'metrics.host': ['metrics.host'],
  'metrics.port': ['metrics.port'],
  'admin.host': ['admin.host'],
  'admin.port': ['admin.port'],
  keyStore: ['keyStore'],
  revocationFile: ['revocationFile', 'store'],
  'store.url': ['store'],
  'store.usernameFile': ['store'],
  'store.passwordFile': ['store'],
  'store.caFile': ['store'],
  'log.format': ['log.format'],
  'log.audit.destination': ['log.audit.destination'],
  'signIn.listen.host': ['signIn.listen.host'],
  'signIn.listen.port': ['signIn.listen.port'],
  'signIn.sealingKeys': ['signIn.sealingKeys'],
  'signIn.page.logoFile': ['signIn.page.logoFile'],
}

const load = (text: object): Promise<Config> => configOf(stringify(text), files)
const started = await load(tree)

/** Paths of all settings in a schema. */
function settingsIn(schema: unknown, path: string): string[] {
  const { properties, patternProperties, anyOf, items } = schema as Record<string, unknown>
  const inside = (part: string, inner: unknown) =>
    settingsIn(inner, path === '' ? part : `${path}.${part}`)
  if (properties) return Object.entries(properties).flatMap(([name, inner]) => inside(name, inner))
  const named = Object.values((patternProperties ?? {}) as object)[0] as { enum?: unknown }
  if (named && !named.enum) return inside('*', named)
  const branches = ((anyOf ?? []) as { properties?: unknown }[]).find((one) => one.properties)
  if (branches) return settingsIn(branches, path)
  if ((items as { properties?: unknown })?.properties) return inside('[]', items)
  return [path]
}

/** The tree with another value at a path. */
function withValue(node: unknown, [key = '', ...rest]: readonly string[], value: unknown): unknown {
  if (key === '') return value
  if (key === '[]') {
    const [first, ...others] = node as unknown[]
    return [withValue(first, rest, value), ...others]
  }
  const mapping = (node ?? {}) as Record<string, unknown>
  const name = key === '*' ? (Object.keys(mapping)[0] ?? '') : key
  return { ...mapping, [name]: withValue(mapping[name], rest, value) }
}

describe('a reload takes in, or names as waiting for a restart, the setting', () => {
  const settings = settingsIn(configFileSchema, '')
  it('of each name in the schema', () => {
    assert.deepEqual(
      settings.toSorted(),
      [...Object.keys(changes), ...Object.keys(together)].toSorted(),
    )
  })

  for (const setting of settings) {
    it(setting, async () => {
      const changed = Object.hasOwn(together, setting)
        ? { ...tree, ...together[setting] }
        : withValue(tree, setting.split('.'), changes[setting])
      const next = await load(changed as object)
      assert.notDeepEqual(next, started)
      const plan = planReload(started, next)
      assert.deepEqual(plan.waiting.toSorted(), waits[setting] ?? [])
      assert.deepEqual(plan.config, waits[setting] ? started : next)
      if (setting.startsWith('policies.')) {
        // Not only read but compiled: a key that is dropped on the way lets everybody in.
        assert.notDeepEqual(next.policies.map(compilePolicy), started.policies.map(compilePolicy))
      }
      // Whatever was changed before, the way back is a reload without a rest.
      assert.deepEqual(planReload(started, started).waiting, [])
    })
  }
})

describe('a reload without the section', () => {
  for (const [section, name, more] of [
    ['signIn', 'signIn', { policies: { p: { audiences: [ids.api], allow: [user] } } }],
    ['store', 'store', {}],
    ['keyStore', 'keyStore', {}],
  ] as const) {
    it(`${section} names it once, and what it said stays in force`, async () => {
      const plan = planReload(started, await load({ ...tree, ...more, [section]: undefined }))
      assert.deepEqual(plan.waiting, [name])
      assert.deepEqual(plan.config[section], started[section])
      const reverse = planReload(await load({ ...tree, ...more, [section]: undefined }), started)
      assert.deepEqual(reverse.waiting, [name])
      assert.equal(reverse.config[section], undefined)
    })
  }
})
