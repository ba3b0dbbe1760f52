/** Signals that come before the service is ready for them. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { environmentFor, startAuthority } from './authority.ts'
import { type Life, startService, untilReady, verify } from './process.ts'

const hangup = 1n

/** Whether the process has a handler for SIGHUP (proc(5), SigCgt). */
function catchesHangup(pid: number): boolean {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const [, mask = '0'] = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status) ?? []
  return (BigInt(`0x${mask}`) & hangup) !== 0n
}

/** The service at the moment when it first handles signals. */
async function startUntilCaught(t: Life) {
  const authority = await startAuthority(t)
  const service = await startService(t, environmentFor(authority))
  await eventually(() => catchesHangup(service.pid), Boolean)
  assert.deepEqual(service.log, [])
  return { authority, service }
}

test('SIGHUP during the start is a reload, and the service starts', async (t) => {
  const { authority, service } = await startUntilCaught(t)
  service.kill('SIGHUP')
  await service.waitForLog(({ msg }) => msg === 'configuration reloaded')
  await untilReady(service)
  assert.equal((await verify(service, await authority.token('alice'))).status, 200)
})

test('SIGTERM during the start ends it, in a container as elsewhere', async (t) => {
  const { service } = await startUntilCaught(t)
  service.kill('SIGTERM')
  assert.deepEqual(await service.exited, { code: 0, signal: null })
})
