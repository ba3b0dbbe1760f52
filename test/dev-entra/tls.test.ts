import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { runDevEntra } from './command-line.ts'
import { contoso, nowMs, startDevEntra } from './support.ts'

const random = (bytes: number) => Buffer.alloc(bytes, 7)

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'dev-entra-tls-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Status of a GET whose only trusted certificate is `ca`. */
function statusOf(url: string, ca: string): Promise<number | undefined> {
  return new Promise((done, fail) => {
    request(url, { ca, agent: false }, (reply) => done(reply.resume().statusCode))
      .on('error', fail)
      .end()
  })
}

test('the certificate names this machine and each host that was asked for', async () => {
  const { cert } = await createTlsIdentity(() => nowMs, random, [
    'entra.test',
    '10.1.2.3',
    '2001:db8::8:0',
  ])
  const certificate = new X509Certificate(cert)
  assert.equal(certificate.checkHost('localhost'), 'localhost')
  assert.equal(certificate.checkHost('entra.test'), 'entra.test')
  assert.equal(certificate.checkHost('other.test'), undefined)
  for (const address of ['127.0.0.1', '::1', '10.1.2.3', '2001:db8::8:0']) {
    assert.equal(certificate.checkIP(address), address)
  }
  assert.equal(certificate.checkIP('127.0.0.2'), undefined)
})

test('the certificate is valid now, with room for a clock that is behind', async () => {
  const { cert } = await createTlsIdentity(() => nowMs, random)
  const { validFrom, validTo } = new X509Certificate(cert)
  assert.equal(Date.parse(validFrom), nowMs - 5 * 60_000)
  assert.equal(Date.parse(validTo), nowMs + 365 * 24 * 3_600_000)
})

test('issuer and addresses of dev-entra over TLS begin with https', async (t) => {
  const app = startDevEntra(t, { tls: await createTlsIdentity(Date.now, random) })
  const address = await app.listen({ host: '127.0.0.1', port: 0 })
  const metadata = (await app.inject(`/${contoso}/v2.0/.well-known/openid-configuration`)).json()
  assert.match(address, /^https:/)
  assert.equal(metadata.issuer, `${address}/${contoso}/v2.0`)
  assert.equal(metadata.jwks_uri, `${address}/${contoso}/discovery/v2.0/keys`)
})

test('serve --tls writes the certificate with which clients trust it', async (t) => {
  const file = join(makeFolder(t), 'dev-entra.pem')
  const { stdout, running } = await runDevEntra(['serve', '--port', '0', '--tls', file], {
    now: Date.now,
  })
  t.after(() => running?.close())
  assert.ok(stdout.includes(`trust     NODE_EXTRA_CA_CERTS=${file}\n`), stdout)
  const pem = readFileSync(file, 'utf8')
  assert.doesNotMatch(pem, /PRIVATE/)
  assert.equal(await statusOf(`${running?.origin}/dev/personas`, pem), 200)
})

test('serve --tls covers the host of --origin', async (t) => {
  const file = join(makeFolder(t), 'dev-entra.pem')
  const { running } = await runDevEntra(
    ['serve', '--port', '0', '--tls', file, '--origin', 'https://entra.test:8400'],
    { now: Date.now },
  )
  t.after(() => running?.close())
  assert.equal(new X509Certificate(readFileSync(file)).checkHost('entra.test'), 'entra.test')
})

test('serve --tls with a file that cannot be written is one line, and nothing listens', async () => {
  const { exitCode, stderr, running } = await runDevEntra([
    ...['serve', '--port', '0', '--tls', '/nowhere/at/all.pem'],
  ])
  assert.equal(exitCode, 1)
  assert.match(stderr, /^error: cannot write the certificate: .*\/nowhere\/at\/all\.pem.*\n$/)
  assert.equal(running, undefined)
})

test('token says what to trust when the certificate is not trusted', async (t) => {
  const app = startDevEntra(t, { tls: await createTlsIdentity(Date.now, random) })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const { exitCode, stderr } = await runDevEntra(['token', 'alice', '--url', url])
  assert.equal(exitCode, 69)
  assert.match(stderr, /^error: the certificate of https:.* is not trusted; .*--tls.*\n$/)
})
