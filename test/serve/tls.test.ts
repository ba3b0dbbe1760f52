/** TLS on the verify listener: the service as a process, HAProxy as the client that verifies it. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { connect as connectPlain } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { shippedConfig, startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { createCertificate } from '../../src/dev-entra/certificate.ts'
import { createTlsIdentity, type TlsIdentity } from '../../src/dev-entra/tls.ts'
import { run } from '../drift/run.ts'
import { ask } from '../e2e/client.ts'
import { eventually } from '../support/eventually.ts'
import { type Authority, environmentFor, startAuthority } from './authority.ts'
import { type Life, makeFolder, type ServiceProcess, startService } from './process.ts'

const verifierName = 'verifier.internal'
const makeIdentity = (name = verifierName) => createTlsIdentity(Date.now, randomBytes, [name])
const [first, second, stranger] = await Promise.all([
  makeIdentity(),
  makeIdentity(),
  makeIdentity(),
])

/** Writes beside and renames, as everybody should who renews a file in use. */
function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
}

interface TlsService {
  readonly service: ServiceProcess
  readonly authority: Authority
  readonly metricsPort: number
  readonly certificate: string
  readonly key: string
}

async function startTlsService(t: Life, identity: TlsIdentity): Promise<TlsService> {
  const folder = makeFolder(t)
  const [certificate, key] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
  writeFileSync(certificate, identity.cert)
  writeFileSync(key, identity.key)
  const authority = await startAuthority(t)
  const [metricsPort = 0] = await freePorts(1)
  const service = await startService(t, {
    ENTRA_AUTH_METRICS_PORT: String(metricsPort),
    ...environmentFor(authority),
    ...files(certificate, key),
  })
  await service.waitForLog(({ msg }) => msg === 'authorities tried')
  return { service, authority, metricsPort, certificate, key }
}

const files = (certificate: string, key: string) => ({
  ENTRA_AUTH_TLS_CERTIFICATE_FILE: certificate,
  ENTRA_AUTH_TLS_KEY_FILE: key,
})

/** Status of `/verify` for a client that trusts `ca` alone. */
async function statusOf(service: ServiceProcess, token: string, ca: string): Promise<number> {
  const { port } = new URL(service.origin)
  const call = request({
    port,
    path: '/verify',
    ca,
    servername: verifierName,
    agent: false,
    headers: { authorization: `Bearer ${token}` },
  })
  const answered = once(call, 'response')
  call.end()
  const [response] = await answered
  response.resume()
  return response.statusCode
}

/** The certificate that a new connection is shown. */
async function shownCertificate({ origin }: ServiceProcess): Promise<string> {
  const socket = connect({ port: Number(new URL(origin).port), rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const { raw } = socket.getPeerCertificate()
  socket.destroy()
  return raw.toString('base64')
}

const inAYear = Date.now() / 1000 + 365 * 24 * 3_600

/** What the metrics say of the end of the certificate, in seconds since the epoch. */
async function endOfCertificate({ metricsPort }: TlsService): Promise<number> {
  const body = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
  return Number(/^entra_auth_tls_\w+_seconds (\S+)$/m.exec(body)?.[1])
}

const bodyOf = ({ cert }: TlsIdentity) => cert.replace(/-----[^-]+-----|\n/g, '')

describe('the verify listener with TLS', () => {
  test('answers with the certificate of its files, and tells no key', async (t) => {
    const running = await startTlsService(t, first)
    const { service, authority } = running
    assert.equal(await statusOf(service, await authority.token('alice'), first.cert), 200)
    await assert.rejects(statusOf(service, await authority.token('alice'), second.cert))
    assert.ok(Math.abs((await endOfCertificate(running)) - inAYear) < 600)
    const log = JSON.stringify(service.log)
    assert.match(log, /"tls":true/)
    for (const line of first.key.split('\n').slice(1, -2)) assert.ok(!log.includes(line))
  })

  for (const [version, accepted] of [
    ['TLSv1.3', true],
    ['TLSv1.2', true],
    ['TLSv1.1', false],
  ] as const) {
    test(`${accepted ? 'speaks' : 'does not speak'} ${version}`, async (t) => {
      const { service } = await startTlsService(t, first)
      const socket = connect({
        port: Number(new URL(service.origin).port),
        rejectUnauthorized: false,
        minVersion: version,
        maxVersion: version,
        // Without this the client itself would not offer the old one.
        ciphers: 'DEFAULT@SECLEVEL=0',
      })
      const outcome = await Promise.race([
        new Promise((done) => socket.once('secureConnect', () => done(socket.getProtocol()))),
        new Promise((done) => socket.once('error', () => done('refused'))),
      ])
      socket.destroy()
      assert.equal(outcome, accepted ? version : 'refused')
    })
  }

  test('closes a connection in plain HTTP without a word', async (t) => {
    const { service } = await startTlsService(t, first)
    const socket = connectPlain(Number(new URL(service.origin).port), '127.0.0.1')
    socket.write('GET /verify HTTP/1.1\r\nHost: x\r\n\r\n')
    let received = ''
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1')
    })
    await once(socket, 'close')
    assert.doesNotMatch(received, /HTTP/)
  })

  test('closes kept connections when it stops', async (t) => {
    const { service } = await startTlsService(t, first)
    const agent = new Agent({ keepAlive: true, rejectUnauthorized: false })
    t.after(() => agent.destroy())
    const call = request({ port: new URL(service.origin).port, path: '/livez', agent })
    const answered = once(call, 'response')
    call.end()
    ;(await answered)[0].resume()
    service.kill('SIGTERM')
    assert.deepEqual(await service.exited, { code: 0, signal: null })
  })

  test('keeps its limits: a request head that never ends is cut off', async (t) => {
    const { service } = await startTlsService(t, first)
    const socket: TLSSocket = connect({
      port: Number(new URL(service.origin).port),
      rejectUnauthorized: false,
    })
    await once(socket, 'secureConnect')
    socket.write(`GET /verify HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(40_000)}\r\n\r\n`)
    const [chunk] = await once(socket, 'data')
    socket.destroy()
    assert.match(String(chunk), /^HTTP\/1\.1 400 [\s\S]*malformed_request/)
  })
})

describe('a renewed certificate', () => {
  test('is shown to new connections without a restart, once certificate and key fit', async (t) => {
    const { service, authority, certificate, key } = await startTlsService(t, first)
    replaceFile(certificate, second.cert)
    const refused = await service.waitForLog(({ msg }) => /refused, the old one stays/.test(msg))
    assert.match(JSON.stringify(refused.problems), /listen\.tls\.keyFile|ENTRA_AUTH_TLS_KEY_FILE/)
    assert.equal(await shownCertificate(service), bodyOf(first))
    replaceFile(key, second.key)
    await service.waitForLog(({ msg }) => msg === 'TLS certificate renewed')
    assert.equal(await shownCertificate(service), bodyOf(second))
    assert.equal(await statusOf(service, await authority.token('alice'), second.cert), 200)
  })

  test('counts when Kubernetes swaps the symbolic link of a mounted secret', async (t) => {
    const folder = makeFolder(t)
    const addVersion = (name: string, identity: TlsIdentity) => {
      mkdirSync(join(folder, name))
      writeFileSync(join(folder, name, 'tls.crt'), identity.cert)
      writeFileSync(join(folder, name, 'tls.key'), identity.key)
    }
    addVersion('..1', first)
    symlinkSync('..1', join(folder, '..data'))
    for (const file of ['tls.crt', 'tls.key']) symlinkSync(`..data/${file}`, join(folder, file))
    const service = await startService(t, {
      ...environmentFor(await startAuthority(t)),
      ...files(join(folder, 'tls.crt'), join(folder, 'tls.key')),
    })
    await service.waitForLog(({ msg }) => msg === 'authorities tried')
    addVersion('..2', second)
    symlinkSync('..2', join(folder, '..data_tmp'))
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    await service.waitForLog(({ msg }) => msg === 'TLS certificate renewed')
    assert.equal(await shownCertificate(service), bodyOf(second))
  })
})

describe('bad TLS files stop the start', () => {
  const encrypted = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' },
  }).privateKey
  const weak = generateKeyPairSync('rsa', { modulusLength: 512 })
  const weakDer = createCertificate({
    commonName: verifierName,
    serial: randomBytes(8),
    notBeforeMs: Date.now(),
    notAfterMs: Date.now() + 3_600_000,
    hosts: [verifierName],
    ...weak,
  })
  const weakCert = `-----BEGIN CERTIFICATE-----\n${weakDer.toString('base64')}\n-----END CERTIFICATE-----\n`
  const weakKey = weak.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const cases: readonly [string, string | undefined, string | undefined, RegExp][] = [
    ['a certificate that is missing', undefined, first.key, /CERTIFICATE_FILE: .*\(ENOENT\)/],
    ['a key that is missing', first.cert, undefined, /KEY_FILE: .*\(ENOENT\)/],
    ['a certificate that is none', 'x', first.key, /CERTIFICATE_FILE: .*holds no certificate/],
    ['half a certificate', first.cert.slice(0, 300), first.key, /holds no certificate/],
    ['a key that is none', first.cert, first.cert, /KEY_FILE: .*holds no private key/],
    ['an encrypted key', first.cert, encrypted, /KEY_FILE: names an encrypted private key/],
    ['a key that is too short', weakCert, weakKey, /CERTIFICATE_FILE: cannot be used.*TOO_SMALL/],
    ['the key of another', first.cert, second.key, /KEY_FILE: .*does not belong/],
  ]
  for (const [name, cert, key, expected] of cases) {
    test(name, async (t) => {
      const folder = makeFolder(t)
      const [certificateFile, keyFile] = [join(folder, 'crt'), join(folder, 'key')]
      if (cert !== undefined) writeFileSync(certificateFile, cert)
      if (key !== undefined) writeFileSync(keyFile, key)
      const service = await startService(t, {
        ...environmentFor({ origin: 'http://127.0.0.1:9' }),
        ...files(certificateFile, keyFile),
      })
      assert.equal((await service.exited).code, 78)
      assert.match(service.stderr, expected)
    })
  }
})

describe('HAProxy, with the server line that haproxy-config prints,', () => {
  const configuration = `
listen: { tls: { certificateFile: /run/tls.crt, keyFile: /run/tls.key } }
tenants: { contoso: 11111111-1111-4111-8111-111111111111 }
policies: { default: { audiences: [api://orders], allow: [{ actor: user, scopes: any }] } }
`

  /** HAProxy as it ships, but for that line. */
  async function startTlsHaproxy(t: Life, service: ServiceProcess, ca: string, name: string) {
    const folder = makeFolder(t)
    const caFile = join(folder, 'ca.pem')
    writeFileSync(caFile, ca)
    const printed = await run(
      ['haproxy-config', '--config', 'c.yaml', '--verifier', service.address],
      { 'c.yaml': configuration },
    )
    const line = /^ {4}server v1 .* ssl .*$/m.exec(printed.stdout)?.[0]
    assert.ok(line, printed.stdout)
    const text = readFileSync(shippedConfig, 'utf8')
    const config = join(folder, 'haproxy.cfg')
    const tlsText = text.replace(/^ {4}server v1 "\$\{ENTRA_AUTH_VERIFIER.*$/m, () => line)
    writeFileSync(
      config,
      tlsText.replace(/(^ {4}http-request lua\.entra-auth) orders$/m, '$1 default'),
    )
    const application = await startEchoApp()
    t.after(() => application.stop())
    const haproxy = await startHaproxy({
      verifier: service.address,
      application: application.address,
      configs: [config],
      env: {
        ENTRA_AUTH_CA_FILE: caFile,
        ENTRA_AUTH_VERIFIER_NAME: name,
      },
    })
    t.after(() => haproxy.stop())
    return async (token: string) => {
      const reply = await ask(haproxy.port, { headers: [['Authorization', `Bearer ${token}`]] })
      return reply.status
    }
  }

  test('admits through a verifier that proves its name', async (t) => {
    const { service, authority } = await startTlsService(t, first)
    const statusThrough = await startTlsHaproxy(t, service, first.cert, verifierName)
    assert.equal(await statusThrough(await authority.token('alice')), 200)
    assert.equal(await statusThrough('no.token.atall'), 401)
  })

  test('is shown a renewed certificate, with neither of both restarted', async (t) => {
    const { service, authority, certificate, key } = await startTlsService(t, first)
    const statusThrough = await startTlsHaproxy(t, service, second.cert, verifierName)
    const token = await authority.token('alice')
    assert.equal(await statusThrough(token), 503)
    replaceFile(certificate, second.cert)
    replaceFile(key, second.key)
    await eventually(
      () => statusThrough(token),
      (status) => status === 200,
    )
  })

  test('answers 503 in place of a verifier with a certificate of somebody else', async (t) => {
    const { service, authority } = await startTlsService(t, first)
    const statusThrough = await startTlsHaproxy(t, service, stranger.cert, verifierName)
    assert.equal(await statusThrough(await authority.token('alice')), 503)
  })

  test('answers 503 in place of a verifier with a certificate for another name', async (t) => {
    const { service, authority } = await startTlsService(t, first)
    const statusThrough = await startTlsHaproxy(t, service, first.cert, 'other.internal')
    assert.equal(await statusThrough(await authority.token('alice')), 503)
  })

  test('answers 503 where the verifier speaks plain HTTP', async (t) => {
    const authority = await startAuthority(t)
    const [port = 0] = await freePorts(1)
    const service = await startService(t, environmentFor(authority), { port })
    await eventually(
      () =>
        fetch(`${service.origin}/livez`).then(
          ({ status }) => status,
          () => 0,
        ),
      (status) => status === 200,
    )
    const statusThrough = await startTlsHaproxy(t, service, first.cert, verifierName)
    assert.equal(await statusThrough(await authority.token('alice')), 503)
  })
})
