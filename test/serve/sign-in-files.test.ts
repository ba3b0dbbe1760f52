/** Files that sign-in reads while others are verified. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { contoso, ordersId, startAuthority } from './authority.ts'
import { makeFolder, startService, untilReady, verify } from './process.ts'

test('a file of the credential that never answers holds up nobody, and the log says so', async (t) => {
  const authority = await startAuthority(t)
  const folder = makeFolder(t)
  const [port = 0] = await freePorts(1)
  const origin = `http://127.0.0.1:${port}`
  const [file, secret] = ['config.yaml', 'secret'].map((name) => join(folder, name)) as [
    string,
    string,
  ]
  writeFileSync(
    file,
    `
tenants: { contoso: { id: ${contoso}, authority: ${authority.origin} } }
signIn:
  clientId: ${ordersId}
  credential: { clientSecretFile: ${secret} }
  hosts: ['127.0.0.1:${port}']
  listen: { host: 127.0.0.1, port: ${port} }
  sealingKeys: ${join(folder, 'sealing')}
policies:
  default:
    audiences: [${ordersId}]
    allow: [{ actor: user, session: true }, { actor: user, scopes: any }]
`,
  )
  execFileSync('mkfifo', [secret])
  const service = await startService(t, { ENTRA_AUTH_CONFIG: file })
  await untilReady(service)
  const started = await fetch(`${origin}/oauth2/start?rd=/`, { redirect: 'manual' })
  const location = new URL(started.headers.get('location') ?? '')
  const query = new URLSearchParams({ code: 'x', state: location.searchParams.get('state') ?? '' })
  const cookie = (started.headers.get('set-cookie') ?? '').replace(/;.*/, '')
  const callback = fetch(`${origin}/oauth2/callback?${query}`, {
    headers: { cookie },
    redirect: 'manual',
    signal: AbortSignal.timeout(20_000),
  })
  assert.equal((await callback).status, 503)
  const said = await service.waitForLog(({ msg }) => msg.startsWith('sign-in is out of order'))
  assert.match(String(said.description), /the file of clientSecretFile cannot be read/)
  assert.equal((await verify(service, await authority.token('alice'))).status, 200)
})
