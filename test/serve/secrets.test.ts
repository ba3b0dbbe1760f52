import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { eventually } from '../support/eventually.ts'
import { contoso, fabrikam, ordersId } from './authority.ts'
import { type Life, makeFolder, type ServiceProcess, startService } from './process.ts'

/** Each secret that is planted has this in it, in whatever form it goes out. */
const planted = /s3cr3t|czNjcjN0|M3I3cjN0|zM2NyM3/

async function listen(t: Life, answer: RequestListener): Promise<string> {
  const server = createServer(answer)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** All that anybody can read of a service: log, standard error, health and metrics. */
async function everythingSaid(service: ServiceProcess, metricsPort: number): Promise<string> {
  const pages = await Promise.all(
    [`${service.origin}/readyz`, `http://127.0.0.1:${metricsPort}/metrics`].map(async (url) =>
      (await fetch(url)).text(),
    ),
  )
  return [JSON.stringify(service.log), service.stderr, ...pages].join('\n')
}

const documents: Readonly<Record<string, (origin: string, tenant: string) => unknown>> = {
  'a key address with a password': (origin, tenant) => ({
    issuer: `${origin}/${tenant}/v2.0`,
    jwks_uri: 'http://user:s3cr3t@127.0.0.1:1/keys',
  }),
  'an issuer with a password': () => ({
    issuer: 'https://user:s3cr3t@evil.example/',
    jwks_uri: 'x',
  }),
  'text with a token in it': () => 'not JSON, Bearer s3cr3t-s3cr3t-s3cr3t',
}

for (const [what, document] of Object.entries(documents)) {
  test(`no secret is repeated of an authority that answers with ${what}`, async (t) => {
    const authority: string = await listen(t, (request, reply) => {
      const tenant = request.url?.split('/')[1] ?? ''
      const body = document(authority, tenant)
      reply.end(typeof body === 'string' ? body : JSON.stringify(body))
    })
    const [metricsPort = 0] = await freePorts(1)
    const service = await startService(t, {
      ENTRA_AUTH_TENANT_ID: contoso,
      ENTRA_AUTH_AUDIENCE: ordersId,
      ENTRA_AUTH_AUTHORITY: authority,
      ENTRA_AUTH_METRICS_PORT: String(metricsPort),
    })
    await service.waitForLog(({ msg }) => msg === 'keys not read')
    assert.doesNotMatch(await everythingSaid(service, metricsPort), planted)
  })
}

test('no error repeats a secret of the configuration or the environment', async (t) => {
  // A proxy, a collector and an authority that throw back what they were sent.
  const echo = await listen(t, (request, reply) => {
    reply.writeHead(500, 'Error', { 'x-sent': JSON.stringify(request.headers) })
    reply.end(JSON.stringify(request.headers))
  })
  const folder = makeFolder(t)
  const write = (name: string, text: string) => {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }
  const [metricsPort = 0, adminPort = 0] = await freePorts(2)
  const callerKey = write('caller', 's3cr3t-caller-key\ns3cr3t-next-caller-key\n')
  const adminKey = write('admin', 's3cr3t-admin-key-0\n')
  const yaml = (more = '') => `
metrics: { port: ${metricsPort} }
admin: { port: ${adminPort}, adminKeyFile: ${callerKey.replace('caller', 'admin')} }
callerKeyFile: ${callerKey}
tenants:
  contoso: { id: ${contoso}, authority: ${echo} }
  fabrikam: ${fabrikam}
policies:
  orders: { audiences: [${ordersId}], allow: [{ actor: user, scopes: [Orders.Read] }] }
${more}`
  const file = write('config.yaml', yaml())
  const service = await startService(t, {
    ENTRA_AUTH_CONFIG: file,
    ENTRA_AUTH_ADMIN_PORT: '',
    ENTRA_AUTH_METRICS_PORT: '',
    HTTP_PROXY: echo.replace('//', '//user:s3cr3t%2Fproxy@'),
    HTTPS_PROXY: echo.replace('http://', 'user:s3cr3t-proxy@'),
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${echo}/v1/traces?key=s3cr3t-query`,
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20s3cr3t-collector,x-key=s3cr3t-header',
    OTEL_BSP_SCHEDULE_DELAY: '50',
  })
  const lines = (wanted: string) => service.log.filter(({ msg }) => msg === wanted).length
  await eventually(
    () => lines('keys not read'),
    (count) => count >= 3,
  )

  const ask = (path: string, headers: Record<string, string>) =>
    fetch(`${service.origin}${path}`, {
      headers: { 'x-entra-auth-key': 's3cr3t-caller-key', ...headers },
    })
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  await ask('/verify/orders', { traceparent, authorization: 'Bearer s3cr3t.s3cr3t.s3cr3t' })
  await ask('/verify/orders', { authorization: 'Basic czNjcjN0OnMzY3IzdA==' })
  await ask('/verify/orders', {
    'x-request-id': 'Bearer s3cr3t-s3cr3t-s3cr3t',
    cookie: 's3cr3t=s3cr3t',
  })
  await ask('/verify/orders', { 'x-entra-auth-key': 's3cr3t-but-wrong' })
  const revoke = {
    method: 'POST',
    body: '{"s3cr3t',
    headers: { authorization: 'Bearer s3cr3t-wrong-key' },
  }
  await fetch(`http://127.0.0.1:${adminPort}/revocations`, revoke)
  await service.waitForLog(({ msg }) => msg === 'spans not taken')

  const refused = 'new configuration refused, the old one stays'
  const broken = [
    'callerKey: s3cr3t-s3cr3t-s3cr3t',
    'x: "s3cr3t\n  y: [s3cr3t',
    'store: { url: "rediss://user:s3cr3t@127.0.0.1:1" }',
    'listen: { tls: { certificateFile: s3cr3t, keyFile: s3cr3t } }',
    'callerKeyFile: s3cr3t-s3cr3t-s3cr3t',
  ]
  for (const [index, text] of broken.entries()) {
    const changed = text.startsWith('callerKeyFile')
      ? yaml().replace(/callerKeyFile.*/, text)
      : yaml(text)
    write('config.yaml', changed)
    service.kill('SIGHUP')
    await eventually(
      () => lines(refused),
      (count) => count > index,
    )
  }
  write('caller', 's3cr3t with spaces\n')
  write('config.yaml', yaml())
  service.kill('SIGHUP')
  await eventually(
    () => lines(refused),
    (count) => count > broken.length,
  )
  write('caller', 's3cr3t-third-caller-key\n')
  service.kill('SIGHUP')
  await service.waitForLog(({ msg }) => msg === 'configuration reloaded')
  assert.equal(adminKey, join(folder, 'admin'))
  assert.doesNotMatch(await everythingSaid(service, metricsPort), planted)
})
