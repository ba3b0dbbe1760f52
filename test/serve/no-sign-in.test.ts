/** Whoever only verifies tokens pays nothing for sign-in. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { environmentFor, startAuthority } from './authority.ts'
import { startService, untilReady, verify } from './process.ts'

/** Says on standard error what is imported for sign-in, and each port that is listened at. */
const witness = `--import=data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module'
import net from 'node:net'
registerHooks({
  resolve(specifier, context, next) {
    const found = next(specifier, context)
    if (/oauth4webapi|@fastify.cookie|src.sign-in./.test(found.url)) {
      process.stderr.write('loaded ' + found.url + '\\n')
    }
    return found
  },
})
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (...args) {
  process.stderr.write('listens at ' + JSON.stringify(args[0].port ?? args[0]) + '\\n')
  return listen.apply(this, args)
}
`)}`

const witnessed = (stderr: string) =>
  stderr.split('\n').filter((line) => /^(loaded|listens)/.test(line))

test('a service without signIn loads nothing for it, listens nowhere for it and has no route of it', async (t) => {
  const authority = await startAuthority(t)
  const service = await startService(t, { ...environmentFor(authority), NODE_OPTIONS: witness })
  await untilReady(service)
  const { port } = new URL(service.origin)
  // Ports 0 are those of the metrics and of the administrator.
  assert.deepEqual(witnessed(service.stderr).sort(), [
    'listens at 0',
    'listens at 0',
    `listens at ${port}`,
  ])
  for (const path of ['start', 'callback', 'sign_out', 'userinfo', 'auth']) {
    const reply = await fetch(`${service.origin}/oauth2/${path}`)
    assert.equal(reply.status, 404)
    assert.equal(reply.headers.get('set-cookie'), null)
  }
  const allowed = await verify(service, await authority.token('alice'))
  assert.equal(allowed.status, 200)
  assert.equal(allowed.headers.get('set-cookie'), null)
})
