import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { contoso, createAuthority, environmentFor, startAuthority } from './authority.ts'
import { makeFolder, startService, untilReady, verify } from './process.ts'

test('the service is ready once it has keys, and admits a token', async (t) => {
  const authority = await startAuthority(t)
  const service = await startService(t, environmentFor(authority))
  await untilReady(service)
  const { status, headers } = await verify(service, await authority.token('alice'))
  assert.equal(status, 200)
  assert.equal(headers.get('x-auth-request-actor'), 'user')
  assert.equal(service.stderr, '')
})

test('nothing in the log holds a token', async (t) => {
  const authority = await startAuthority(t)
  const service = await startService(t, environmentFor(authority))
  await untilReady(service)
  const token = await authority.token('alice')
  const forged = `${token.slice(0, -20)}${'A'.repeat(20)}`
  assert.equal((await verify(service, token)).status, 200)
  assert.equal((await verify(service, forged)).status, 401)
  await service.waitForLog(({ reason }) => reason === 'signature_invalid')
  const log = JSON.stringify(service.log)
  for (const part of token.split('.')) assert.equal(log.includes(part), false)
})

test('a cold start while the authority is down answers 503, and 200 by itself once it is back', async (t) => {
  const authority = await createAuthority(t)
  const service = await startService(t, environmentFor(authority))
  const token = await authority.token('alice')
  await service.waitForLog(({ msg }) => msg === 'authorities tried')
  const during = await verify(service, token)
  assert.equal(during.status, 503)
  assert.equal(during.reason, 'keys_unavailable')
  assert.match(during.headers.get('retry-after') ?? '', /^\d+$/)
  assert.equal((await fetch(`${service.origin}/readyz`)).status, 503)
  assert.equal((await fetch(`${service.origin}/livez`)).status, 200)
  await authority.listen()
  await untilReady(service)
  assert.equal((await verify(service, token)).status, 200)
})

test('one authority that is down does not hold back the tokens of another', async (t) => {
  const [up, down] = [await startAuthority(t), await createAuthority(t)]
  const file = join(makeFolder(t), 'config.yaml')
  writeFileSync(
    file,
    `
tenants:
  contoso: { id: ${contoso}, authority: ${up.origin} }
  fabrikam: { id: 22222222-2222-4222-8222-222222222222, authority: ${down.origin} }
policies:
  orders: { audiences: [33333333-3333-4333-8333-333333333333], allow: [{ actor: user, scopes: any }] }
`,
  )
  const service = await startService(t, {}, { args: ['--config', file] })
  await untilReady(service)
  assert.equal((await verify(service, await up.token('alice'), 'orders')).status, 200)
  assert.equal((await verify(service, await down.token('mallory'), 'orders')).status, 503)
})

test('a port in use is one line that says what to do, and exit code 69', async (t) => {
  const authority = await startAuthority(t)
  const { port } = new URL(authority.origin)
  const service = await startService(t, environmentFor(authority), { port: Number(port) })
  assert.equal((await service.exited).code, 69)
  assert.equal(
    service.stderr,
    `error: cannot listen on 127.0.0.1:${port}: the port is in use; stop the other program or set ENTRA_AUTH_PORT\n`,
  )
})

test('no configuration at all is a report that names the variables, and exit code 78', async (t) => {
  const service = await startService(t, {})
  assert.equal((await service.exited).code, 78)
  assert.match(service.stderr, /^Configuration: 1 problem in the environment\n/)
  assert.match(service.stderr, /ENTRA_AUTH_TENANT_ID and ENTRA_AUTH_AUDIENCE/)
  assert.deepEqual(service.log, [])
})

test('a bad file is reported whole, and nothing starts', async (t) => {
  const file = join(makeFolder(t), 'config.yaml')
  writeFileSync(file, 'tenants: { contoso: common }\npolicies: { orders: { audiences: [a] } }\n')
  const service = await startService(t, { ENTRA_AUTH_CONFIG: file })
  assert.equal((await service.exited).code, 78)
  const lines = service.stderr.trimEnd().split('\n')
  assert.equal(lines[0], `Configuration: 2 problems in ${file}`)
  assert.match(lines[1] ?? '', /^ {2}tenants\.contoso \(line 1\): /)
  assert.match(lines[2] ?? '', /^ {2}policies\.orders\.allow/)
  assert.equal(lines.length, 3)
})

test('a slow authority does not hold the port closed', async (t) => {
  const authority = await startAuthority(t)
  for (const target of ['metadata', 'keys']) {
    await authority.call('/dev/fault', { kind: 'hang', target })
  }
  const service = await startService(t, environmentFor(authority))
  await service.waitForLog(({ msg }) => msg === 'listening')
  await eventually(
    async () => (await fetch(`${service.origin}/readyz`)).status,
    (status) => status === 503,
  )
})
