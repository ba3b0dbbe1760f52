/** Whoever has no store pays nothing for it. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { contoso, environmentFor, ordersId, startAuthority } from './authority.ts'
import { makeFolder, startService, untilReady, verify } from './process.ts'

/** Says on standard error what is imported of the store, and each connection that is opened. */
const witness = `--import=data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module'
import net from 'node:net'
registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context)
    if (/@redis|src\\/store\\//.test(found.url)) process.stderr.write('loaded ' + found.url + '\\n')
    return found
  },
})
const connect = net.Socket.prototype.connect
net.Socket.prototype.connect = function (...args) {
  const { port = '' } = [args[0]].flat()[0] ?? {}
  process.stderr.write('connected to ' + port + '\\n')
  return connect.apply(this, args)
}
`)}`

test('a service without a store loads no package for it and opens no connection to one', async (t) => {
  const authority = await startAuthority(t)
  const service = await startService(t, { ...environmentFor(authority), NODE_OPTIONS: witness })
  await untilReady(service)
  assert.equal((await verify(service, await authority.token('alice'))).status, 200)
  // All of its connections go to the authority.
  const own = `connected to ${new URL(authority.origin).port}`
  const lines = service.stderr.split('\n').filter((line) => /^(loaded|connected)/.test(line))
  assert.ok(lines.includes(own), service.stderr)
  assert.deepEqual(
    lines.filter((line) => line !== own),
    [],
  )
})

test('a service with a store does both', async (t) => {
  const authority = await startAuthority(t)
  // Nobody answers there, which ends the start.
  const silent = createServer((socket) => socket.destroy())
  await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done))
  t.after(() => silent.close())
  const { port } = silent.address() as { port: number }
  const file = join(makeFolder(t), 'config.yaml')
  writeFileSync(
    file,
    JSON.stringify({
      tenants: { contoso: { id: contoso, authority: authority.origin } },
      policies: { default: { audiences: [ordersId], allow: [{ actor: 'user', scopes: 'any' }] } },
      store: { url: `redis://127.0.0.1:${port}` },
    }),
  )
  const service = await startService(t, { ENTRA_AUTH_CONFIG: file, NODE_OPTIONS: witness })
  await eventually(
    () => service.stderr,
    (text) => text.includes('@redis/client') && text.includes(`connected to ${port}`),
  )
})
