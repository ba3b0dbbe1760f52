// biome-ignore-all lint/suspicious/noTemplateCurlyInString: HAProxy writes variables like this
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { shippedConfig } from '../../scripts/local-stack/haproxy.ts'
import type { IdentityHeaderSet } from '../../src/config/config.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { configOf } from '../config/fixture.ts'
import { fixture, haproxyFindings, shown } from '../drift/fixture.ts'
import { run } from '../drift/run.ts'
import { checkWithHaproxy } from './haproxy-check.ts'

const TENANT = '11111111-1111-4111-8111-111111111111'

interface Parts {
  readonly head?: string
  readonly policies?: Readonly<Record<string, string>>
}

/** A configuration with these policies, each with more members. */
function yaml({ head = '', policies = { orders: '' } }: Parts): string {
  const entries = Object.entries(policies).map(
    ([name, more]) =>
      `  ${name}: { audiences: [api://orders], allow: [{ actor: user, scopes: any }]${more && `, ${more}`} }`,
  )
  return `${head}\ntenants: { contoso: ${TENANT} }\npolicies:\n${entries.join('\n')}\n`
}

const tls = await createTlsIdentity(Date.now, randomBytes)
const tlsListener =
  'listen: { port: 8443, tls: { certificateFile: /run/tls.crt, keyFile: /run/tls.key } }'

async function print(parts: Parts, ...args: string[]) {
  const file = yaml(parts)
  const outcome = await run(['haproxy-config', '--config', 'c.yaml', ...args], { 'c.yaml': file })
  const files = { '/run/key': 'k'.repeat(20), '/run/tls.crt': tls.cert, '/run/tls.key': tls.key }
  return { ...outcome, config: await configOf(file, files) }
}

const signIn = `signIn:
  { clientId: ${TENANT}, tenant: contoso, hosts: [app.example], sealingKeys: /keys,
    credential: { federatedTokenFile: /token } }`
const resource = (path: string) => `resource: "https://api.contoso.com${path}"`

/** The lines of a configuration without comments, each behind the name of its section. */
function linesOf(text: string): string[] {
  let section = ''
  return text.split('\n').flatMap((line) => {
    const words = line.trim().replace(/\s+/g, ' ')
    if (words === '' || words.startsWith('#')) return []
    if (/^\S/.test(line)) section = words
    return [`${section}: ${words}`]
  })
}

const shapes: readonly [name: string, parts: Parts, args: string[]][] = [
  ['one policy', {}, []],
  ['two policies', { policies: { orders: '', stock: '' } }, []],
  ['the environment alone has a policy of this name', { policies: { default: '' } }, []],
  ['a resource', { policies: { orders: resource('/orders') } }, []],
  [
    'two policies for one resource',
    { policies: { read: resource('/orders'), write: resource('/orders') } },
    [],
  ],
  ['a resource at the root', { policies: { orders: resource('/') } }, []],
  [
    'a resource with characters that mean something to HAProxy',
    { policies: { orders: resource("/a'b;$x!(c)*%20|~") } },
    [],
  ],
  ['remote-user', { head: 'identityHeaders: remote-user' }, []],
  ['app-service', { head: 'identityHeaders: app-service' }, []],
  [
    'headers of its own',
    { head: "identityHeaders: { X-User: oid, \"X_It's.$Odd|Name\": tid, 'Plain': name }" },
    [],
  ],
  ['a caller key', { head: 'callerKeyFile: /run/key' }, []],
  ['TLS', { head: tlsListener }, []],
  ['TLS on another host', { head: tlsListener }, ['--verifier', '10.0.0.9:8443']],
  ['TLS, with a resource', { head: tlsListener, policies: { orders: resource('/orders') } }, []],
  ['any address', { head: 'listen: { host: 0.0.0.0, port: 8081 }' }, []],
  ['any address of IPv6', { head: 'listen: { host: "::", port: 8081 }' }, []],
  [
    'policies with the names of its own sections',
    {
      policies: {
        'entra-verifier': resource('/a'),
        'entra-metadata': resource('/b'),
        'entra-metrics': '',
        www: '',
      },
    },
    [],
  ],
  ['names with every character', { policies: { 'a.b-c_d9': '', _x: '' } }, []],
]

describe('haproxy-entra-auth haproxy-config', () => {
  for (const [name, parts, args] of shapes) {
    it(`prints what HAProxy accepts: ${name}`, async () => {
      const { stdout, stderr, code } = await print(parts, ...args)
      assert.deepEqual([stderr, code], ['', 0])
      assert.equal((await checkWithHaproxy(stdout, tls.cert)).problem, '')
    })

    it(`prints what drift agrees with: ${name}`, async () => {
      const { stdout, config } = await print(parts, ...args)
      assert.deepEqual(haproxyFindings(stdout, config), [])
    })
  }

  it('leads a host to each backend where there are several', async () => {
    const { stdout, config } = await print({ policies: { orders: '', stock: '' } })
    const routes = [...stdout.matchAll(/^ {4}use_backend (\S+) if (.*)$/gm)]
    assert.deepEqual(
      routes.map(([, backend, condition]) => [backend, condition]),
      ['orders', 'stock'].map((name) => [
        name,
        `{ req.hdr(host),host_only -m str -i ${name}.example.com }`,
      ]),
    )
    const without = stdout.replace(/^ {4}use_backend stock .*\n/m, '')
    const unreached = haproxyFindings(without, config).find(
      ({ code }) => code === 'backend-unreached',
    )
    assert.equal(unreached && shown(unreached, without), 'backend-unreached at backend stock')
  })

  it('prints every line of the configuration that ships, in the same sections', async () => {
    const { stdout } = await print({ head: signIn, policies: { orders: resource('/orders') } })
    const printed = linesOf(stdout)
    const missing = linesOf(readFileSync(shippedConfig, 'utf8')).filter(
      (line) => !printed.includes(line),
    )
    // What stands in a variable there, and as its value here; and what switches sign-in on.
    const isSwitch = (line: string) =>
      /: \.(if defined\(ENTRA_AUTH_SIGN_IN_SERVER\)|endif)$/.test(line)
    assert.deepEqual(
      missing.filter((line) => !isSwitch(line)),
      [
        'listen entra-verifier: server v1 "${ENTRA_AUTH_VERIFIER_SERVER-127.0.0.1:8080}"',
        'frontend www: use_backend entra-metadata if { path "${ENTRA_AUTH_METADATA_PATH-/.well-known/oauth-protected-resource/orders}" }',
        'backend orders: server app "${ENTRA_AUTH_APP_SERVER-127.0.0.1:3000}"',
        'backend entra-sign-in: server s1 "${ENTRA_AUTH_SIGN_IN_SERVER-unset}"',
        'backend entra-metadata: server v1 "${ENTRA_AUTH_VERIFIER_SERVER-127.0.0.1:8080}" track entra-verifier/v1',
      ],
    )
  })

  it('sends the action to the configured listen address', async () => {
    const server = async (head: string, ...args: string[]) =>
      /^ {4}server v1 (\S+)/m.exec((await print({ head }, ...args)).stdout)?.[1]
    assert.equal(await server(''), '127.0.0.1:8080')
    assert.equal(await server('listen: { port: 8081 }'), '127.0.0.1:8081')
    assert.equal(await server('listen: { host: 0.0.0.0 }'), '127.0.0.1:8080')
    assert.equal(await server('listen: { host: "::1", port: 81 }'), '[::1]:81')
    assert.equal(await server('', '--verifier', '10.0.0.9:8443'), '10.0.0.9:8443')
  })

  it('says that a verifier on another host needs TLS, and drift says it too', async () => {
    const { stdout, config } = await print({}, '--verifier', '10.0.0.9:8443')
    assert.match(stdout, /CHANGE: on another host only with TLS/)
    assert.deepEqual(
      haproxyFindings(stdout, config).map(({ code }) => code),
      ['verifier-plaintext'],
    )
    assert.doesNotMatch((await print({})).stdout, /another host/)
  })

  it('asks a verifier with TLS for a certificate of its name, which the address may tell', async () => {
    const server = async (...args: string[]) =>
      /^ {4}server v1 .*$/m.exec((await print({ head: tlsListener }, ...args)).stdout)?.[0].trim()
    const words = `ssl verify required ca-file "\${ENTRA_AUTH_CA_FILE-/etc/haproxy/verifier-ca.pem}"`
    const name = (fallback: string) => `verifyhost "\${ENTRA_AUTH_VERIFIER_NAME-${fallback}}"`
    assert.equal(await server(), `server v1 127.0.0.1:8443 ${words} ${name('verifier.internal')}`)
    assert.equal(
      await server('--verifier', 'entra.example.com:443'),
      `server v1 entra.example.com:443 ${words} ${name('entra.example.com')}`,
    )
  })

  it('never prints a key', async () => {
    const { stdout } = await print({ head: 'callerKeyFile: /run/key' })
    assert.match(stdout, /ENTRA_AUTH_CALLER_KEY/)
    assert.doesNotMatch(stdout, /kkkk|not-looked-at/)
  })

  it('has a backend with the two lines for each policy', async () => {
    const { stdout } = await print({ policies: { orders: '', 'entra-verifier': '' } })
    assert.match(
      stdout,
      /^backend orders\n {4}mode http\n {4}log global\n(.*#.*\n)*.*unset-var\(txn\.entra\.ok\)\n(.*#.*\n)* {4}\.if !version_atleast\(3\.4\).*\n {4}http-request lua\.entra-auth orders\n {4}\.else\n( {4}http-request (?!deny).*\n)+ {4}\.endif\n(.*#.*\n)*.*sc-inc-gpc0\(0\) .*\n(.*#.*\n)*.*deny deny_status 503 unless \{ var\(txn\.entra\.ok\) -m bool \}$/m,
    )
    assert.match(
      stdout,
      /^backend entra-verifier-app\n {4}mode http\n(?:.*\n){5} {4}http-request lua\.entra-auth entra-verifier$/m,
    )
  })

  it('routes each metadata path once, and has no backend for them without a resource', async () => {
    const two = await print({ policies: { read: resource('/orders'), write: resource('/orders') } })
    assert.equal(two.stdout.match(/use_backend entra-metadata/g)?.length, 1)
    assert.doesNotMatch((await print({})).stdout, /backend entra-metadata/)
  })

  for (const address of [
    '10.0.0.9',
    ':8080',
    '10.0.0.9:0',
    '10.0.0.9:99999',
    'a b:1',
    'x:1\n',
    '::1:80',
  ]) {
    it(`refuses the verifier ${JSON.stringify(address)}`, async () => {
      const { stderr, stdout, code } = await print({}, '--verifier', address)
      assert.deepEqual([stdout, code], ['', 64])
      assert.match(stderr, /^error: --verifier must be HOST:PORT/)
    })
  }

  it('asks for the address where the port is any', async () => {
    const { stderr, code } = await print({ head: 'listen: { port: 0 }' })
    assert.equal(code, 64)
    assert.match(stderr, /give --verifier HOST:PORT/)
  })
})

describe('the HAProxy configuration that ships', () => {
  it('has nothing for drift to find', async () => {
    const config = await configOf(yaml({ policies: { orders: resource('/orders') } }))
    assert.deepEqual(haproxyFindings(readFileSync(shippedConfig, 'utf8'), config), [])
  })

  const sets: readonly IdentityHeaderSet[] = ['remote-user', 'app-service', { 'X-User': 'oid' }]
  for (const identityHeaders of sets) {
    it(`does not strip ${JSON.stringify(identityHeaders)}, and drift says so`, async () => {
      const config = await configOf(yaml({ policies: { orders: resource('/orders') } }))
      const findings = haproxyFindings(readFileSync(shippedConfig, 'utf8'), {
        ...config,
        identityHeaders,
      })
      assert.deepEqual(
        findings.map(({ code }) => code),
        ['strip-missing'],
      )
    })
  }
})

describe('the fixture of drift', () => {
  it('is accepted by HAProxy', async () => {
    assert.equal((await checkWithHaproxy(fixture('clean.cfg'))).problem, '')
  })
})
