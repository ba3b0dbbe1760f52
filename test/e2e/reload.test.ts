/** A real reload: SIGUSR2 to the master, which starts HAProxy anew in its own environment. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { startEchoApp } from '../../scripts/local-stack/echo-app.ts'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import { startHaproxy } from '../../scripts/local-stack/haproxy.ts'
import { eventually } from '../support/eventually.ts'
import { untilMasterAnswers } from '../support/haproxy-master.ts'
import { ask, values } from './client.ts'
import { startFakeVerifier } from './fake-verifier.ts'

it('a changed setting counts from the next reload on', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'entra-auth-reload-'))
  t.after(() => rm(folder, { recursive: true }))
  const verifier = await startFakeVerifier()
  t.after(() => verifier.stop())
  const app = await startEchoApp()
  t.after(() => app.stop())
  const file = join(folder, 'settings.cfg')
  const setTo = (lines: string) => writeFile(file, `global\n${lines}`)
  await setTo('    setenv ENTRA_AUTH_MAX_TOKEN_BYTES 4096\n')
  const [master = 0] = await freePorts(1)
  const haproxy = await startHaproxy({
    verifier: verifier.address,
    application: app.address,
    args: ['-W', '-S', `127.0.0.1:${master}`, '-f', file],
  })
  t.after(() => haproxy.stop())

  const token = 't'.repeat(2048)
  const reasonNow = async () => {
    const reply = await ask(haproxy.port, { headers: [['Authorization', `Bearer ${token}`]] })
    return values(reply, 'x-entra-auth-reason')[0] ?? String(reply.status)
  }
  assert.equal(await reasonNow(), '200')

  await setTo('    setenv ENTRA_AUTH_MAX_TOKEN_BYTES 1024\n')
  // A signal before that would be lost.
  await untilMasterAnswers(master)
  process.kill(haproxy.pid, 'SIGUSR2')
  await eventually(reasonNow, (reason) => reason === 'token_too_long')
})
