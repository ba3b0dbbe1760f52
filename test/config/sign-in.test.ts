import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { stringify } from 'yaml'
import { loadConfig } from '../../src/config/load.ts'
import { ids } from '../support/ids.ts'

const section = {
  clientId: '33333333-3333-4333-8333-333333333333',
  credential: { clientSecretFile: '/secret' },
  hosts: ['Portal.Contoso.com'],
}
const session = { actor: 'user', session: true }

async function load(file: object, env: Record<string, string> = {}) {
  return loadConfig({ file: 'c.yaml', env, readFile: () => stringify(file) })
}

function fileWith(signIn: unknown, policy: object = { allow: [session] }) {
  return {
    tenants: { contoso: ids.contoso },
    ...(signIn ? { signIn } : {}),
    policies: { p: policy },
  }
}

async function problemsOf(file: object, env = {}): Promise<string[]> {
  const loaded = await load(file, env)
  return loaded.ok ? [] : loaded.problems.map(({ path, message }) => `${path} ${message}`)
}

describe('the section signIn', () => {
  it('has defaults for all but the registration, its credential and the hosts', async () => {
    const loaded = await load(fileWith(section))
    assert.ok(loaded.ok)
    assert.deepEqual(loaded.config.signIn, {
      clientId: section.clientId,
      tenantId: ids.contoso,
      credential: { kind: 'clientSecretFile', secretFile: '/secret' },
      hosts: ['portal.contoso.com'],
      listen: { host: '127.0.0.1', port: 8081 },
      sealingKeys: '/var/lib/haproxy-entra-auth/sealing',
      recheckMinutes: 60,
      sessionHours: 8,
      page: {},
    })
  })

  it('takes each kind of credential, and exactly one', async () => {
    const credentialOf = async (credential: object) => {
      const loaded = await load(fileWith({ ...section, credential }))
      return loaded.ok
        ? loaded.config.signIn?.credential
        : loaded.problems.map(({ message }) => message)
    }
    assert.deepEqual(await credentialOf({ federatedTokenFile: '/t' }), {
      kind: 'federatedTokenFile',
      tokenFile: '/t',
    })
    assert.deepEqual(await credentialOf({ managedIdentity: 'system' }), {
      kind: 'managedIdentity',
      identity: 'system',
    })
    assert.deepEqual(await credentialOf({ certificateFile: '/c', keyFile: '/k' }), {
      kind: 'certificateFile',
      certificateFile: '/c',
      keyFile: '/k',
    })
    const key = 'https://contoso.vault.azure.net/keys/sign-in/0123abcd'
    assert.deepEqual(await credentialOf({ keyVaultKey: key, certificateFile: '/c' }), {
      kind: 'keyVaultKey',
      key,
      certificateFile: '/c',
    })
    for (const [credential, message] of [
      [{}, 'names no credential'],
      [
        { clientSecretFile: '/s', managedIdentity: 'system' },
        'names two: managedIdentity and clientSecretFile',
      ],
      [{ certificateFile: '/c' }, 'is missing'],
      [{ managedIdentity: 'me' }, 'is no managed identity: "me"'],
      [{ keyVaultKey: 'http://vault.example/keys/x' }, 'is no key of a vault'],
      [{ keyVaultKey: 'https://vault.example/secrets/x' }, 'is no key of a vault'],
      [
        { keyVaultKey: 'https://vault.example/keys/x', certificateFile: '/c' },
        'names no version of the key, and certificateFile is the certificate of one version',
      ],
      [
        { clientSecret: 'hunter2' },
        'is a literal secret, which a configuration file must not hold',
      ],
    ] as const) {
      const problems = await credentialOf(credential)
      assert.ok(Array.isArray(problems) && problems.includes(message), JSON.stringify(problems))
    }
  })

  it('takes its credential from the variables of Azure, but no literal secret', async () => {
    const { credential: _, ...rest } = section
    const loaded = await load(fileWith(rest), { AZURE_FEDERATED_TOKEN_FILE: '/var/token' })
    assert.ok(loaded.ok)
    assert.deepEqual(loaded.config.signIn?.credential, {
      kind: 'federatedTokenFile',
      tokenFile: '/var/token',
    })
    const certificate = await load(fileWith(rest), { AZURE_CLIENT_CERTIFICATE_PATH: '/both.pem' })
    assert.ok(certificate.ok)
    assert.equal(certificate.config.signIn?.credential.kind, 'certificateFile')
    const [problem] = await problemsOf(fileWith(rest), { AZURE_CLIENT_SECRET: 'hunter2' })
    assert.match(problem ?? '', /AZURE_CLIENT_SECRET is a literal secret/)
    assert.doesNotMatch(problem ?? '', /hunter2/)
    assert.deepEqual(await problemsOf(fileWith(rest)), ['signIn.credential is missing'])
  })

  it('names hosts and a tenant that there are', async () => {
    for (const host of [
      'https://portal.contoso.com',
      'portal.contoso.com/',
      '*.contoso.com',
      'a:99999',
      'a:0',
      'a:0443',
      'a b',
      'portal.contoso.com.',
      '.contoso.com',
      'portal..com',
      '[::1]',
    ]) {
      const [problem] = await problemsOf(fileWith({ ...section, hosts: [host] }))
      assert.match(problem ?? '', /^signIn\.hosts\[0\] is not a host name/, host)
    }
    const [unknown] = await problemsOf(fileWith({ ...section, tenant: 'contosso' }))
    assert.match(unknown ?? '', /^signIn\.tenant is not a configured tenant/)
    const two = { ...fileWith(section), tenants: { contoso: ids.contoso, fabrikam: ids.fabrikam } }
    assert.deepEqual(await problemsOf(two), [
      'signIn.tenant is missing although there are several tenants',
    ])
  })

  it('has a sentence for each mistake, at the setting that it is in', async () => {
    const { clientId: _, ...noClient } = section
    const { hosts: __, ...noHosts } = section
    for (const [name, signIn, path] of mistakes(noClient, noHosts)) {
      const loaded = await load(fileWith(signIn))
      const found = loaded.ok ? [] : loaded.problems
      const problem = found.find((one) => one.path === path)
      assert.ok(problem, `${name}: ${JSON.stringify(found)}`)
      assert.match(problem.message, /^[a-z].{5,}/, name)
      assert.match(problem.hint, /^[A-Z].{10,}[.?]$/, name)
    }
  })

  it('has a listener of its own', async () => {
    const [problem] = await problemsOf(fileWith({ ...section, listen: { port: 8080 } }))
    assert.equal(problem, 'signIn.listen wants the same address as listen: port 8080')
  })
})

/** Mistakes in each setting, and the path that the sentence must name. */
function mistakes(
  noClient: object,
  noHosts: object,
): [name: string, signIn: object, path: string][] {
  const vary = (more: object) => ({ ...section, ...more })
  return [
    ['no client', noClient, 'signIn.clientId'],
    ['a client that is a name', vary({ clientId: 'portal' }), 'signIn.clientId'],
    ['a client that is a number', vary({ clientId: 7 }), 'signIn.clientId'],
    ['another tenant', vary({ tenant: 'contosso' }), 'signIn.tenant'],
    ['a list of tenants', vary({ tenant: ['contoso'] }), 'signIn.tenant'],
    ['no hosts', noHosts, 'signIn.hosts'],
    ['an empty list of hosts', vary({ hosts: [] }), 'signIn.hosts'],
    ['a host that is no list', vary({ hosts: 'portal.contoso.com' }), 'signIn.hosts'],
    ['an address', vary({ hosts: ['https://a.example'] }), 'signIn.hosts[0]'],
    ['a second host with a path', vary({ hosts: ['a.example', 'b.example/x'] }), 'signIn.hosts[1]'],
    ['a star', vary({ hosts: ['*.example'] }), 'signIn.hosts[0]'],
    ['a port out of range', vary({ listen: { port: 70_000 } }), 'signIn.listen.port'],
    ['a port that is text', vary({ listen: { port: 'http' } }), 'signIn.listen.port'],
    ['a listener that is a number', vary({ listen: 8081 }), 'signIn.listen'],
    ['a port in use', vary({ listen: { port: 8080 } }), 'signIn.listen'],
    ['an unknown key of the listener', vary({ listen: { prot: 1 } }), 'signIn.listen.prot'],
    ['an empty folder', vary({ sealingKeys: '' }), 'signIn.sealingKeys'],
    ['a list of folders', vary({ sealingKeys: ['/a'] }), 'signIn.sealingKeys'],
    ['no minutes', vary({ recheckMinutes: 0 }), 'signIn.recheckMinutes'],
    ['too many minutes', vary({ recheckMinutes: 10_081 }), 'signIn.recheckMinutes'],
    ['minutes as text', vary({ recheckMinutes: '1h' }), 'signIn.recheckMinutes'],
    ['no hours', vary({ sessionHours: 0 }), 'signIn.sessionHours'],
    ['too many hours', vary({ sessionHours: 169 }), 'signIn.sessionHours'],
    ['an empty text', vary({ page: { text: '' } }), 'signIn.page.text'],
    ['a long text', vary({ page: { text: 'a'.repeat(501) } }), 'signIn.page.text'],
    ['a page that is a text', vary({ page: 'Call 12' }), 'signIn.page'],
    ['an empty path of a logo', vary({ page: { logoFile: '' } }), 'signIn.page.logoFile'],
    ['an unknown key of the page', vary({ page: { logo: '/a' } }), 'signIn.page.logo'],
    ['an unknown key', vary({ recheckMinuts: 5 }), 'signIn.recheckMinuts'],
    ['no credential in the section', vary({ credential: {} }), 'signIn.credential'],
    ['a credential that is a text', vary({ credential: '/secret' }), 'signIn.credential'],
    [
      'a literal secret',
      vary({ credential: { clientSecret: 'x' } }),
      'signIn.credential.clientSecret',
    ],
    [
      'two credentials',
      vary({ credential: { clientSecretFile: '/a', federatedTokenFile: '/b' } }),
      'signIn.credential',
    ],
    [
      'a certificate without a key',
      vary({ credential: { certificateFile: '/a' } }),
      'signIn.credential.keyFile',
    ],
    [
      'an identity that is a name',
      vary({ credential: { managedIdentity: 'me' } }),
      'signIn.credential.managedIdentity',
    ],
    [
      'a key without TLS',
      vary({ credential: { keyVaultKey: 'http://vault.example/keys/a' } }),
      'signIn.credential.keyVaultKey',
    ],
  ]
}

describe('a grant with session', () => {
  it('cannot stand beside scopes, clients or confidential, and is for users', async () => {
    for (const more of [{ scopes: ['A'] }, { clients: [ids.client] }, { confidential: true }]) {
      const [problem] = await problemsOf(fileWith(section, { allow: [{ ...session, ...more }] }))
      const [key] = Object.keys(more)
      assert.equal(
        problem,
        `policies.p.allow[0].${key} cannot stand beside session: it is a condition on tokens`,
      )
    }
    const problems = await problemsOf(
      fileWith(section, { allow: [{ actor: 'app', session: true, roles: ['R'] }] }),
    )
    assert.match(problems[0] ?? '', /session cannot hold for an app/)
  })

  it('needs the section signIn', async () => {
    const [problem] = await problemsOf(fileWith(undefined))
    assert.match(problem ?? '', /admits sessions although nobody can sign in/)
  })

  it('needs no audiences, unless the policy takes tokens as well', async () => {
    assert.deepEqual(await problemsOf(fileWith(section)), [])
    const both = { allow: [session, { actor: 'user', scopes: ['A'] }] }
    assert.deepEqual(await problemsOf(fileWith(section, both)), ['policies.p.audiences is missing'])
  })
})

describe('the environment alone', () => {
  const env = {
    ENTRA_AUTH_TENANT_ID: ids.contoso,
    ENTRA_AUTH_CLIENT_ID: section.clientId,
    ENTRA_AUTH_HOSTS: 'portal.contoso.com, wiki.contoso.com',
    AZURE_FEDERATED_TOKEN_FILE: '/token',
  }
  const loadFrom = (variables: Record<string, string>) =>
    loadConfig({ env: variables, readFile: () => assert.fail('no file') })

  it('sets up a sign-in that admits whoever may sign in', async () => {
    const loaded = await loadFrom(env)
    assert.ok(loaded.ok, JSON.stringify(loaded))
    assert.deepEqual(loaded.config.signIn?.hosts, ['portal.contoso.com', 'wiki.contoso.com'])
    assert.deepEqual(loaded.config.policies[0]?.allow, [{ actor: 'user', session: true }])
  })

  it('takes tokens too where an audience is set', async () => {
    const loaded = await loadFrom({ ...env, ENTRA_AUTH_AUDIENCE: ids.api })
    assert.ok(loaded.ok)
    assert.equal(loaded.config.policies[0]?.allow.length, 3)
  })

  it('says which variable is missing', async () => {
    const { ENTRA_AUTH_HOSTS: _, ...rest } = env
    const loaded = await loadFrom(rest)
    assert.ok(!loaded.ok)
    assert.deepEqual(
      loaded.problems.map(({ path, message }) => [path, message]),
      [['ENTRA_AUTH_HOSTS', 'is missing']],
    )
  })
})

describe('a host name with letters beyond ASCII', () => {
  it('is written as browsers send it', async () => {
    const loaded = await load(fileWith({ ...section, hosts: ['münchen.example'] }))
    assert.equal(loaded.ok, false)
    assert.match(JSON.stringify(loaded), /xn--mnchen-3ya\.example/)
  })
})
