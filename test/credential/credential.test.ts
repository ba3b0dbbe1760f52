import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  constants,
  createHash,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
  X509Certificate,
} from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { CredentialConfig } from '../../src/config/config.ts'
import { createCredential } from '../../src/credential/credential.ts'
import { CredentialError } from '../../src/credential/credential-error.ts'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { createHttp } from '../../src/keys/http.ts'
import { startMs, startSeconds } from '../support/ids.ts'
import { webClient } from '../support/sessions.ts'

const tokenEndpoint = 'https://login.microsoftonline.com/tenant/oauth2/v2.0/token'
const identity = await createTlsIdentity(() => startMs, randomBytes)
const certificate = new X509Certificate(identity.cert)
const pss = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
}

const files = new Map<string, string>()
const env: Record<string, string> = {}
const http = createHttp()
let nowMs = startMs
let requests: { url: string; headers: IncomingMessage['headers']; body: string }[] = []
let answer: (path: string, body: string) => { status: number; body: unknown } = () => ({
  status: 500,
  body: {},
})

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString()
    requests.push({ url: request.url ?? '', headers: request.headers, body })
    const { status, body: reply } = answer(request.url ?? '', body)
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(reply))
  })
})
let origin = ''
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
after(async () => {
  await http.close()
  server.closeAllConnections()
  server.close()
})
beforeEach(() => {
  files.clear()
  for (const name of Object.keys(env)) delete env[name]
  nowMs = startMs
  requests = []
})

function credential(
  config: CredentialConfig,
  cloud?: 'usgov' | 'china',
  elapsed: () => number = () => nowMs,
) {
  return createCredential(
    config,
    { clientId: webClient, tenant: cloud ? { cloud } : {} },
    {
      clock: () => nowMs,
      elapsed,
      env,
      http,
      randomId: () => 'an id',
      readFile(path) {
        const text = files.get(path)
        if (text === undefined) throw Object.assign(new Error('no'), { code: 'ENOENT' })
        return text
      },
    },
  )
}

function readAssertion(assertion: string | undefined) {
  const [header = '', payload = '', signature = ''] = (assertion ?? '').split('.')
  const decode = (part: string) => JSON.parse(Buffer.from(part, 'base64url').toString())
  return {
    header: decode(header),
    payload: decode(payload),
    input: Buffer.from(`${header}.${payload}`),
    signature: Buffer.from(signature, 'base64url'),
  }
}

const thumbprint = createHash('sha256').update(certificate.raw).digest('base64url')

describe('a client secret', () => {
  it('is read each time, without the line break', async () => {
    const secret = credential({ kind: 'clientSecretFile', secretFile: '/s' })
    files.set('/s', 'first\n')
    assert.deepEqual(await secret.proof(tokenEndpoint), { client_secret: 'first' })
    files.set('/s', 'second')
    assert.deepEqual(await secret.proof(tokenEndpoint), { client_secret: 'second' })
  })

  it('that cannot be read is an error without a secret in it', async () => {
    const secret = credential({ kind: 'clientSecretFile', secretFile: '/s' })
    await assert.rejects(secret.proof(tokenEndpoint), /clientSecretFile cannot be read \(ENOENT\)/)
    files.set('/s', 'two\nlines of a secret')
    await assert.rejects(secret.proof(tokenEndpoint), (error: Error) => {
      assert.ok(error instanceof CredentialError)
      assert.doesNotMatch(error.message, /lines of a secret/)
      return true
    })
    files.set('/s', '')
    await assert.rejects(secret.proof(tokenEndpoint), CredentialError)
  })
})

describe('a federated token', () => {
  it('is the assertion as it stands in the file, read each time', async () => {
    const federated = credential({ kind: 'federatedTokenFile', tokenFile: '/t' })
    for (const token of ['a.b.c', 'd.e.f']) {
      files.set('/t', `${token}\n`)
      assert.deepEqual(await federated.proof(tokenEndpoint), {
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: token,
      })
    }
  })
})

describe('a certificate', () => {
  const config = { kind: 'certificateFile', certificateFile: '/c', keyFile: '/k' } as const

  it('signs an assertion for the token endpoint, with PS256 and its SHA-256 thumbprint', async () => {
    files.set('/c', identity.cert).set('/k', identity.key)
    const proof = await credential(config).proof(tokenEndpoint)
    const { header, payload, input, signature } = readAssertion(proof.client_assertion)
    assert.deepEqual(header, { alg: 'PS256', typ: 'JWT', 'x5t#S256': thumbprint })
    assert.deepEqual(payload, {
      iss: webClient,
      sub: webClient,
      aud: tokenEndpoint,
      jti: 'an id',
      iat: startSeconds,
      nbf: startSeconds,
      exp: startSeconds + 300,
    })
    assert.ok(verify('sha256', input, { key: certificate.publicKey, ...pss }, signature))
  })

  it('may stand in one file with its key', async () => {
    files.set('/both', identity.cert + identity.key)
    const both = { kind: 'certificateFile', certificateFile: '/both', keyFile: '/both' } as const
    const proof = await credential(both).proof(tokenEndpoint)
    assert.equal(readAssertion(proof.client_assertion).header['x5t#S256'], thumbprint)
  })

  it('says what is wrong with its files', async () => {
    const keyOf = (type: 'rsa' | 'ec') =>
      (type === 'rsa'
        ? generateKeyPairSync('rsa', { modulusLength: 2048 })
        : generateKeyPairSync('ec', { namedCurve: 'P-256' })
      ).privateKey
        .export({ type: 'pkcs8', format: 'pem' })
        .toString()
    for (const [cert, key, message] of [
      ['no', identity.key, /certificateFile holds no certificate/],
      [identity.cert, 'no', /keyFile holds no private key/],
      [identity.cert, keyOf('ec'), /not an RSA key/],
      [identity.cert, keyOf('rsa'), /not the one of the certificate/],
    ] as const) {
      files.set('/c', cert).set('/k', key)
      await assert.rejects(credential(config).proof(tokenEndpoint), message)
    }
  })
})

describe('a managed identity', () => {
  const config = { kind: 'managedIdentity', identity: 'system' } as const

  it('gives a token for the exchange, which is kept until shortly before its end', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    answer = () => ({
      status: 200,
      body: { access_token: 't.o.k', expires_on: String(startSeconds + 3_600) },
    })
    const managed = credential(config)
    assert.equal((await managed.proof(tokenEndpoint)).client_assertion, 't.o.k')
    await managed.proof(tokenEndpoint)
    assert.equal(requests.length, 1)
    const url = new URL(requests[0]?.url ?? '', origin)
    assert.equal(url.pathname, '/metadata/identity/oauth2/token')
    assert.equal(url.searchParams.get('resource'), 'api://AzureADTokenExchange')
    assert.equal(url.searchParams.get('client_id'), null)
    assert.equal(requests[0]?.headers.metadata, 'true')
    nowMs += (3_600 - 300) * 1000
    await managed.proof(tokenEndpoint)
    assert.equal(requests.length, 2)
  })

  it('is asked again when its token is old by a clock that nobody sets', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    answer = () => ({
      status: 200,
      body: { access_token: 't', expires_in: '3600', expires_on: String(startSeconds + 3_600) },
    })
    let elapsedMs = 0
    const managed = credential(config, undefined, () => elapsedMs)
    nowMs -= 8 * 3_600_000
    await managed.proof(tokenEndpoint)
    elapsedMs += (3_600 - 300) * 1000 - 1
    await managed.proof(tokenEndpoint)
    assert.equal(requests.length, 1)
    elapsedMs++
    await managed.proof(tokenEndpoint)
    assert.equal(requests.length, 2)
  })

  it('of the platform is asked at its own endpoint, by client id and in its own cloud', async () => {
    env.IDENTITY_ENDPOINT = `${origin}/msi/token`
    env.IDENTITY_HEADER = 'platform-key'
    answer = () => ({ status: 200, body: { access_token: 't', expires_in: 60 } })
    await credential({ kind: 'managedIdentity', identity: webClient }, 'usgov').proof(tokenEndpoint)
    const url = new URL(requests[0]?.url ?? '', origin)
    assert.equal(url.pathname, '/msi/token')
    assert.equal(url.searchParams.get('resource'), 'api://AzureADTokenExchangeUSGov')
    assert.equal(url.searchParams.get('client_id'), webClient)
    assert.equal(requests[0]?.headers['x-identity-header'], 'platform-key')
  })

  it('that is not there is an error that says so', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    answer = () => ({ status: 400, body: { error: 'invalid_request' } })
    await assert.rejects(credential(config).proof(tokenEndpoint), /gave no token \(400\)/)
    answer = () => ({ status: 200, body: {} })
    await assert.rejects(credential(config).proof(tokenEndpoint), /without a token/)
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = 'http://127.0.0.1:1'
    await assert.rejects(credential(config).proof(tokenEndpoint), /cannot be reached/)
  })

  it('that answers with something else is an error without what it said', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    for (const body of [null, [], 'text', 1, { access_token: 'two\nlines' }]) {
      answer = () => ({ status: 200, body })
      await assert.rejects(credential(config).proof(tokenEndpoint), (error: Error) => {
        assert.ok(error instanceof CredentialError, String(error))
        assert.match(error.message, /without a token/)
        return true
      })
    }
  })

  it('that answers with more than an answer may have is not read to the end', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    const rest = 'a'.repeat(2 * 1024 * 1024)
    answer = () => ({ status: 200, body: { access_token: 't', expires_in: 60, rest } })
    await assert.rejects(credential(config).proof(tokenEndpoint), /without a token/)
  })

  it('is asked past the proxy that Node itself takes from the environment', async (t) => {
    const seen: string[] = []
    const proxy = createServer((request, response) => {
      seen.push(request.url ?? '')
      response.writeHead(200).end('{"access_token":"of-the-proxy","expires_in":60}')
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    t.after(() => proxy.close())
    answer = () => ({ status: 200, body: { access_token: 'of-the-machine', expires_in: 60 } })
    const modules = ['../../src/credential/managed-identity.ts', '../../src/keys/http.ts'].map(
      (path) => JSON.stringify(new URL(path, import.meta.url).href),
    )
    const child = spawn(
      process.execPath,
      [
        '--disable-warning=ExperimentalWarning',
        '--input-type=module',
        '--eval',
        `const { createIdentityTokens } = await import(${modules[0]})
        const { createHttp, defaultLimits } = await import(${modules[1]})
        const http = createHttp(defaultLimits, undefined, process.env)
        const runtime = { clock: Date.now, env: process.env, http }
        console.log(await createIdentityTokens('system', runtime).get('api://x').catch(String))
        await http.close()`,
      ],
      {
        env: {
          PATH: process.env.PATH,
          NODE_USE_ENV_PROXY: '1',
          HTTP_PROXY: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
          AZURE_POD_IDENTITY_AUTHORITY_HOST: origin,
        },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    let printed = ''
    for await (const text of child.stdout.setEncoding('utf8')) printed += text
    assert.deepEqual([printed.trim(), seen], ['of-the-machine', []])
  })

  it('is asked again after a day, however long its token lives by its own word', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    for (const expires_in of ['1e999', 1e15]) {
      requests = []
      answer = () => ({ status: 200, body: { access_token: 't', expires_in } })
      const managed = credential(config)
      await managed.proof(tokenEndpoint)
      nowMs += 86_400_000
      await managed.proof(tokenEndpoint)
      assert.equal(requests.length, 2, String(expires_in))
    }
    requests = []
    answer = () => ({ status: 200, body: { access_token: 't', expires_in: 'soon' } })
    const unknown = credential(config)
    await unknown.proof(tokenEndpoint)
    await unknown.proof(tokenEndpoint)
    assert.equal(requests.length, 2)
  })
})

describe('a key in a vault', () => {
  const config = () => ({ kind: 'keyVaultKey', key: `${origin}/keys/sign-in/v1` }) as const
  const vault = (path: string, body: string) => {
    if (path.startsWith('/metadata/')) {
      return { status: 200, body: { access_token: 'vault-token', expires_in: 3_600 } }
    }
    if (path === '/certificates/sign-in/v1?api-version=7.4') {
      return { status: 200, body: { cer: certificate.raw.toString('base64') } }
    }
    if (path === '/keys/sign-in/v1/sign?api-version=7.4') {
      const { alg, value } = JSON.parse(body)
      assert.equal(alg, 'PS256')
      assert.equal(Buffer.from(value, 'base64url').length, 32)
      return { status: 200, body: { value: signedInputs.get(value) ?? 'c2lnbmF0dXJl' } }
    }
    return { status: 404, body: {} }
  }
  const signedInputs = new Map<string, string>()

  it('signs the assertion there, with the certificate of its name', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    answer = vault
    const proof = await credential(config()).proof(tokenEndpoint)
    const { header, payload, input, signature } = readAssertion(proof.client_assertion)
    assert.equal(header['x5t#S256'], thumbprint)
    assert.equal(payload.aud, tokenEndpoint)
    assert.equal(signature.toString(), 'signature')
    const digest = createHash('sha256').update(input).digest('base64url')
    const asked = requests.find(({ url }) => url.includes('/sign?'))
    assert.equal(JSON.parse(asked?.body ?? '{}').value, digest)
    assert.equal(asked?.headers.authorization, 'Bearer vault-token')
    const tokens = requests.filter(({ url }) => url.startsWith('/metadata/'))
    assert.equal(tokens.length, 1)
    assert.match(tokens[0]?.url ?? '', /resource=https%3A%2F%2Fvault\.azure\.net/)
    signedInputs.set(
      digest,
      sign('sha256', input, { key: identity.key, ...pss }).toString('base64url'),
    )
    const again = readAssertion((await credential(config()).proof(tokenEndpoint)).client_assertion)
    assert.ok(
      verify('sha256', again.input, { key: certificate.publicKey, ...pss }, again.signature),
    )
  })

  it('without a version in its address signs with the version of the certificate', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    const certificateWith = (kid: unknown) => (path: string, body: string) =>
      path.startsWith('/certificates/sign-in?')
        ? { status: 200, body: { cer: certificate.raw.toString('base64'), kid } }
        : vault(path.replace('/keys/sign-in/sign?', '/keys/sign-in/v1/sign?'), body)
    const latest = { ...config(), key: `${origin}/keys/sign-in` }
    for (const [kid, path] of [
      [`${origin}/keys/sign-in/v1`, '/keys/sign-in/v1/sign'],
      [undefined, '/keys/sign-in/sign'],
      [`${origin}/keys/sign-in/v1/../../secrets`, '/keys/sign-in/sign'],
    ] as const) {
      requests.length = 0
      answer = certificateWith(kid)
      await credential(latest).proof(tokenEndpoint)
      const asked = requests.find(({ url }) => url.includes('/sign?'))
      assert.equal(asked?.url, `${path}?api-version=7.4`)
    }
  })

  it('reads its certificate from a file if the vault has none', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    files.set('/c', identity.cert)
    answer = vault
    await credential({ ...config(), certificateFile: '/c' }).proof(tokenEndpoint)
    assert.ok(requests.every(({ url }) => !url.startsWith('/certificates/')))
  })

  it('that refuses is an error that names the permissions', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    answer = (path, body) =>
      path.includes('/sign') ? { status: 403, body: {} } : vault(path, body)
    await assert.rejects(
      credential(config()).proof(tokenEndpoint),
      /answered 403; .*"sign" on keys/,
    )
    answer = (path, body) =>
      path.startsWith('/certificates') ? { status: 200, body: { cer: 'x' } } : vault(path, body)
    await assert.rejects(credential(config()).proof(tokenEndpoint), /no certificate of the name/)
  })

  it('that answers with something else is an error of the credential', async () => {
    env.AZURE_POD_IDENTITY_AUTHORITY_HOST = origin
    for (const [part, message] of [
      ['/sign?', /without a signature/],
      ['/certificates', /no certificate of the name/],
    ] as const) {
      for (const body of [null, 'text', [1], { value: 1 }]) {
        answer = (path, asked) => (path.includes(part) ? { status: 200, body } : vault(path, asked))
        await assert.rejects(credential(config()).proof(tokenEndpoint), (error: Error) => {
          assert.ok(error instanceof CredentialError, String(error))
          assert.match(error.message, message)
          return true
        })
      }
    }
  })
})
