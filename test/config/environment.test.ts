import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { checkSettings } from '../../src/check/settings.ts'
import {
  isFromEnvironment,
  namedByVariables,
  settingName,
  unknownVariables,
  wordForVariables,
} from '../../src/config/environment.ts'
import { loadConfig } from '../../src/config/load.ts'
import { loadText, OTHER, reader, TENANT, yaml } from './fixture.ts'

const both = { ENTRA_AUTH_TENANT_ID: TENANT, ENTRA_AUTH_AUDIENCE: 'api://orders' }

function loadEnv(env: Record<string, string | undefined>) {
  return loadConfig({ env, readFile: reader({ '/etc/c.yaml': yaml() }) })
}

async function configFrom(env: Record<string, string | undefined>) {
  const result = await loadEnv(env)
  return result.ok ? result.config : assert.fail(JSON.stringify(result.problems))
}

async function pathsFrom(env: Record<string, string | undefined>) {
  const result = await loadEnv(env)
  return result.ok ? [] : result.problems.map(({ path }) => path)
}

test('tenant and audience make one policy for users with a scope and apps with a role', async () => {
  assert.deepEqual((await configFrom(both)).policies, [
    {
      name: 'default',
      tenants: [TENANT],
      audiences: ['api://orders'],
      cacheSeconds: 30,
      maxTokenLifetimeMinutes: 1500,
      groups: 'named',
      requireIdtyp: false,
      allow: [
        { actor: 'user', scopes: 'any' },
        { actor: 'app', roles: 'any' },
      ],
      deny: [],
    },
  ])
})

test('the audiences are separated by commas', async () => {
  const config = await configFrom({ ...both, ENTRA_AUTH_AUDIENCE: `api://orders, ${OTHER}` })
  assert.deepEqual(config.policies[0]?.audiences, ['api://orders', OTHER])
})

test('a cloud gives its authority', async () => {
  const config = await configFrom({ ...both, ENTRA_AUTH_CLOUD: 'usgov' })
  assert.equal(config.tenants[0]?.authority, 'https://login.microsoftonline.us')
})

test('an authority is taken instead of the cloud', async () => {
  const config = await configFrom({ ...both, ENTRA_AUTH_AUTHORITY: 'http://127.0.0.1:1/' })
  assert.deepEqual(config.tenants, [
    { name: 'default', id: TENANT, authority: 'http://127.0.0.1:1' },
  ])
})

test('host and port set the verify listener', async () => {
  const config = await configFrom({ ...both, ENTRA_AUTH_HOST: '0.0.0.0', ENTRA_AUTH_PORT: '81' })
  assert.deepEqual(config.listen, { host: '0.0.0.0', port: 81 })
})

test('the port that Kubernetes sets for a Service named entra-auth is ignored', async () => {
  const config = await configFrom({ ...both, ENTRA_AUTH_PORT: 'tcp://10.0.0.1:8080' })
  assert.equal(config.listen.port, 8080)
})

test('an empty variable counts as absent', async () => {
  const config = await configFrom({ ...both, ENTRA_AUTH_CLOUD: '', ENTRA_AUTH_CONFIG: ' ' })
  assert.equal(config.tenants[0]?.cloud, 'public')
})

test('an empty environment is one problem that names both ways', async () => {
  const result = await loadEnv({})
  assert.match(
    !result.ok && result.problems.length === 1 ? (result.problems[0]?.hint ?? '') : '',
    /ENTRA_AUTH_TENANT_ID and ENTRA_AUTH_AUDIENCE.*--config FILE or ENTRA_AUTH_CONFIG/,
  )
})

test('a missing audience is named by its variable, with what to set', async () => {
  const result = await loadEnv({ ENTRA_AUTH_TENANT_ID: TENANT })
  assert.deepEqual(!result.ok && result.problems, [
    {
      path: 'ENTRA_AUTH_AUDIENCE',
      message: 'is missing',
      hint: 'Set it to the client id or identifier URIs of your API, separated by commas.',
    },
  ])
})

test('every bad variable is reported by its name', async () => {
  const paths = await pathsFrom({
    ENTRA_AUTH_TENANT_ID: 'common',
    ENTRA_AUTH_AUDIENCE: 'https://graph.microsoft.com',
    ENTRA_AUTH_AUTHORITY: 'http://login.example',
    ENTRA_AUTH_HOST: '[::1]',
    ENTRA_AUTH_PORT: '99999',
  })
  assert.deepEqual(paths.sort(), [
    'ENTRA_AUTH_AUDIENCE',
    'ENTRA_AUTH_AUTHORITY',
    'ENTRA_AUTH_HOST',
    'ENTRA_AUTH_PORT',
    'ENTRA_AUTH_TENANT_ID',
  ])
})

test('a port that is a word is refused', async () => {
  assert.deepEqual(await pathsFrom({ ...both, ENTRA_AUTH_PORT: 'http' }), ['ENTRA_AUTH_PORT'])
})

test('an unknown cloud is refused', async () => {
  assert.deepEqual(await pathsFrom({ ...both, ENTRA_AUTH_CLOUD: 'x' }), ['ENTRA_AUTH_CLOUD'])
})

test('cloud and authority together are refused', async () => {
  const env = { ...both, ENTRA_AUTH_CLOUD: 'public', ENTRA_AUTH_AUTHORITY: 'https://a.example' }
  assert.deepEqual(await pathsFrom(env), ['ENTRA_AUTH_AUTHORITY'])
})

test('ENTRA_AUTH_CONFIG names the file where --config does not', async () => {
  const result = await loadEnv({ ENTRA_AUTH_CONFIG: '/etc/c.yaml' })
  assert.deepEqual(result.files, ['/etc/c.yaml'])
})

test('an unreadable file from ENTRA_AUTH_CONFIG is reported under that name', async () => {
  assert.deepEqual(await pathsFrom({ ENTRA_AUTH_CONFIG: '/nowhere' }), ['ENTRA_AUTH_CONFIG'])
})

test('a file together with tenant variables is refused, each variable by name', async () => {
  const paths = await pathsFrom({ ...both, ENTRA_AUTH_CONFIG: '/etc/c.yaml' })
  assert.deepEqual(paths, ['ENTRA_AUTH_TENANT_ID', 'ENTRA_AUTH_AUDIENCE'])
})

test('a file without a listener takes host and port from the environment', async () => {
  const result = await loadText(
    yaml({ head: 'listen: { host: 10.0.0.1 }' }),
    {},
    { ENTRA_AUTH_PORT: '81' },
  )
  assert.deepEqual(result.ok && result.config.listen, { host: '10.0.0.1', port: 81 })
})

test('a port both in the file and in the environment is refused', async () => {
  const result = await loadText(
    yaml({ head: 'listen: { port: 80 }' }),
    {},
    { ENTRA_AUTH_PORT: '81' },
  )
  assert.deepEqual(!result.ok && result.problems.map(({ path }) => path), ['ENTRA_AUTH_PORT'])
})

test('a bad port beside a file is reported under the name of its variable', async () => {
  const result = await loadText(yaml(), {}, { ENTRA_AUTH_PORT: '99999' })
  assert.deepEqual(!result.ok && result.problems.map(({ path }) => path), ['ENTRA_AUTH_PORT'])
})

test('a listener of the wrong type stays a problem of the file', async () => {
  const result = await loadText(yaml({ head: 'listen: 8080' }), {}, { ENTRA_AUTH_PORT: '81' })
  assert.deepEqual(!result.ok && result.problems.map(({ path }) => path), ['listen'])
})

test('listen.host of a file wins over ENTRA_AUTH_HOST, which the image sets for everybody', async () => {
  const file = yaml({ head: 'listen: { host: 127.0.0.1, port: 14481 }' })
  const result = await loadText(file, {}, { ENTRA_AUTH_HOST: '0.0.0.0' })
  assert.ok(result.ok, JSON.stringify(result))
  assert.deepEqual(result.config.listen, { host: '127.0.0.1', port: 14481 })
})

test('ENTRA_AUTH_HOST counts beside a file that names only a port', async () => {
  const result = await loadText(
    yaml({ head: 'listen: { port: 14481 }' }),
    {},
    { ENTRA_AUTH_HOST: '0.0.0.0' },
  )
  assert.ok(result.ok, JSON.stringify(result))
  assert.deepEqual(result.config.listen, { host: '0.0.0.0', port: 14481 })
})

test('each variable of the action and of the shipped HAProxy configuration is known', () => {
  const texts = ['entra-auth.lua', 'haproxy.cfg'].map((name) =>
    readFileSync(new URL(`../../haproxy-lua/${name}`, import.meta.url), 'utf8'),
  )
  const names = texts.flatMap((text) => text.match(/\bENTRA_AUTH_[A-Z0-9_]*[A-Z0-9]\b/g) ?? [])
  assert.ok(names.length > 10)
  const env = Object.fromEntries(names.map((name) => [name, 'x']))
  assert.deepEqual(unknownVariables(env), [])
})

test('advice to somebody without a file names variables, and no key of a file', async () => {
  const signIn = { ENTRA_AUTH_CLIENT_ID: OTHER, ENTRA_AUTH_HOSTS: 'portal.example' }
  const port = { ENTRA_AUTH_PORT: '8443' }
  const wrong: readonly (readonly [Record<string, string>, RegExp])[] = [
    [
      { ...both, ...port, ENTRA_AUTH_METRICS_PORT: '8443' },
      /^ENTRA_AUTH_METRICS_PORT: wants the same address as ENTRA_AUTH_PORT: /,
    ],
    [
      { ...both, ...port, ENTRA_AUTH_ADMIN_PORT: '8443' },
      /^ENTRA_AUTH_ADMIN_PORT: wants the same address as ENTRA_AUTH_PORT: /,
    ],
    [
      { ...both, ...signIn },
      /^AZURE_FEDERATED_TOKEN_FILE: is missing. Set it, or AZURE_CLIENT_CERTIFICATE_PATH\./,
    ],
    [
      { ...both, ...signIn, AZURE_CLIENT_SECRET: 'x' },
      /^AZURE_FEDERATED_TOKEN_FILE: is missing, and AZURE_CLIENT_SECRET is a literal secret.*init writes/,
    ],
    [
      {
        ...both,
        ...signIn,
        AZURE_FEDERATED_TOKEN_FILE: '/t',
        ...port,
        ENTRA_AUTH_SIGN_IN_PORT: '8443',
      },
      /^ENTRA_AUTH_SIGN_IN_PORT: wants the same address as ENTRA_AUTH_PORT: /,
    ],
    [{ ...both, ENTRA_AUTH_TLS_CERTIFICATE_FILE: '/etc/c.yaml' }, /^ENTRA_AUTH_TLS_/],
    [
      { ...both, ENTRA_AUTH_TENANT_ID: 'x', ENTRA_AUTH_AUTHORITY: 'y', ENTRA_AUTH_CLOUD: 'z' },
      /^ENTRA_AUTH_AUTHORITY: /,
    ],
    [{ ...both, ENTRA_AUTH_HOST: '[::1]' }, /^ENTRA_AUTH_HOST: /],
    [{ ENTRA_AUTH_AUDIENCE: 'x y' }, /^ENTRA_AUTH_TENANT_ID: is missing/m],
  ]
  for (const [env, expected] of wrong) {
    const result = await loadEnv(env)
    assert.ok(!result.ok, JSON.stringify(env))
    const lines = result.problems.map(({ path, message, hint }) => `${path}: ${message}. ${hint}`)
    assert.ok(
      lines.some((line) => expected.test(line)),
      lines.join('\n'),
    )
    for (const line of lines) {
      assert.match(line, /^(ENTRA_AUTH|AZURE)_/)
      assert.doesNotMatch(
        line,
        /\b(signIn|listen|tenants|policies|metrics|admin)\b[.[]|clientSecretFile|"tenants"/,
      )
    }
  }
})

test('what check finds is told to somebody without a file by variables', async () => {
  const config = await configFrom({ ...both, ENTRA_AUTH_HOST: '10.0.0.1' })
  const found = checkSettings(config, 0).map(namedByVariables)
  assert.deepEqual(
    found.map(({ path }) => path),
    ['ENTRA_AUTH_HOST', 'callerKeyFile'],
  )
  assert.match(
    found[0]?.hint ?? '',
    /unset ENTRA_AUTH_HOST, or set ENTRA_AUTH_TLS_CERTIFICATE_FILE and/,
  )
  assert.match(found[1]?.hint ?? '', /^No variable sets it: haproxy-entra-auth init writes/)
  assert.equal(settingName(['admin', 'port'], true), 'ENTRA_AUTH_ADMIN_PORT')
  assert.equal(settingName(['admin', 'port'], false), 'admin.port')
  assert.equal(isFromEnvironment({ ENTRA_AUTH_CONFIG: 'x' }, undefined), false)
  assert.equal(isFromEnvironment(both, undefined), true)
})

test('advice of explain for somebody without a file names variables', () => {
  for (const [text, expected] of [
    [
      'Then add api://x to "audiences" of the policy default, if it is this API.',
      'Then add api://x to ENTRA_AUTH_AUDIENCE, if it is this API.',
    ],
    [
      'asks the verifier over plain HTTP, although listen.tls is set: each request gets 503',
      'asks the verifier over plain HTTP, although ENTRA_AUTH_TLS_CERTIFICATE_FILE is set: each request gets 503',
    ],
    [
      'Do not cache here, or take tokens only in the policy of this backend.',
      'Do not cache here, or take tokens only: unset ENTRA_AUTH_CLIENT_ID and ENTRA_AUTH_HOSTS.',
    ],
    [
      'Check "cloud" or "authority" of the tenant: a national cloud',
      'Check ENTRA_AUTH_CLOUD or ENTRA_AUTH_AUTHORITY: a national cloud',
    ],
    [
      'The id of the tenant default in "tenants" is the client id',
      'The id of the tenant default in ENTRA_AUTH_TENANT_ID is the client id',
    ],
    [
      'Or add the tenant T to "tenants", if you trust whoever runs it.',
      'Or, if you trust whoever runs the tenant T: haproxy-entra-auth init writes a configuration file from the variables, which may name several tenants.',
    ],
  ] as const) {
    assert.equal(wordForVariables(text), expected)
  }
})
