/** Signals that come before the service is ready for them. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { takeFileLock } from '../../src/revocation/file-lock.ts'
import { eventually } from '../support/eventually.ts'
import { environmentFor, startAuthority } from './authority.ts'
import { type Life, makeFolder, startService, untilReady, verify } from './process.ts'

const hangup = 1n

/** Whether the process has a handler for SIGHUP (proc(5), SigCgt). */
function catchesHangup(pid: number): boolean {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const [, mask = '0'] = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status) ?? []
  return (BigInt(`0x${mask}`) & hangup) !== 0n
}

/** The service at the moment when it first handles signals. */
async function startUntilCaught(t: Life, env: Readonly<Record<string, string>> = {}) {
  const authority = await startAuthority(t)
  const service = await startService(t, { ...environmentFor(authority), ...env })
  await eventually(() => catchesHangup(service.pid), Boolean)
  assert.deepEqual(service.log, [])
  return { authority, service }
}

test('SIGHUP during the start is a reload, and the service starts', async (t) => {
  // While the lock is held, the start waits for it.
  const file = join(makeFolder(t), 'revocations.json')
  const lock = await takeFileLock(`${file}.lock`, 0)
  const { authority, service } = await startUntilCaught(t, { ENTRA_AUTH_REVOCATION_FILE: file })
  service.kill('SIGHUP')
  await lock?.release()
  await service.waitForLog(({ msg }) => msg === 'configuration reloaded')
  await untilReady(service)
  assert.equal((await verify(service, await authority.token('alice'))).status, 200)
})

test('SIGTERM during the start ends it, in a container as elsewhere', async (t) => {
  const { service } = await startUntilCaught(t)
  service.kill('SIGTERM')
  assert.deepEqual(await service.exited, { code: 0, signal: null })
})
