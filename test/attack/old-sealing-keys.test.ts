import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { createKeyFolder, knownToAllMs } from '../../src/session/key-folder.ts'
import { openSession } from '../../src/session/session.ts'
import { startAuthority } from '../support/authority.ts'
import { startMs } from '../support/ids.ts'
import { ask, type Reply } from '../support/service.ts'
import { cookieOf, withSession } from '../support/sessions.ts'
import { startSignIn } from '../support/sign-in.ts'
import { v2User } from '../support/tokens.ts'

const folder = mkdtempSync(join(tmpdir(), 'sealing-'))
after(() => rmSync(folder, { recursive: true }))

/** The version that a verdict or the feed names, by which HAProxy caches. */
function versionIn({ headers, body }: Reply): string | undefined {
  return headers['x-entra-auth-version'] ?? (JSON.parse(body) as { version?: string }).version
}

describe('an old sealing key', () => {
  it('opens its sessions as long as it is there, and not one moment longer', async () => {
    let nowMs = startMs
    const keys = createKeyFolder(folder, { clock: () => nowMs, log: { info() {}, warn() {} } })
    writeFileSync(join(folder, '1'), 'the first key of all, 32 bytes at least')
    await keys.read()
    const old = cookieOf({}, keys)
    writeFileSync(join(folder, '2'), 'the second key of all, 32 bytes at least')
    await keys.read()
    nowMs += knownToAllMs
    await keys.read()
    const fresh = cookieOf({}, keys)
    assert.notEqual(fresh.slice(0, 8), old.slice(0, 8))
    assert.ok(openSession(keys, old))
    rmSync(join(folder, '1'))
    await keys.read()
    assert.equal(openSession(keys, old), undefined)
    assert.ok(openSession(keys, fresh))
  })

  it('that is removed takes what HAProxy has cached with it, the same at each replica', async (t) => {
    let nowMs = startMs
    const runtime = { clock: () => nowMs, log: { info() {}, warn() {} } }
    const own = mkdtempSync(join(tmpdir(), 'removed-'))
    t.after(() => rmSync(own, { recursive: true }))
    writeFileSync(join(own, '1'), 'a key that somebody stole, 32 bytes at least')
    writeFileSync(join(own, '2'), 'a key that nobody stole, 32 bytes at least')
    const folders = [createKeyFolder(own, runtime), createKeyFolder(own, runtime)]
    const readAll = () => Promise.all(folders.map((keys) => keys.read()))
    await readAll()
    const authority = await startAuthority()
    const replicas = await Promise.all(
      folders.map(async (keys) => {
        const service = await startSignIn({ sealingKeys: keys, authority })
        t.after(() => service.close())
        return service
      }),
    )
    const versionsOf = (path: string, headers = {}) =>
      Promise.all(replicas.map(async (replica) => versionIn(await ask(replica, path, { headers }))))
    const forged = withSession(cookieOf({}, folders[0]))
    const [before] = await versionsOf('/verify/default', forged)
    assert.ok(before)
    assert.deepEqual(await versionsOf('/revocations'), [before, before])
    const metrics = await replicas[0]?.app.metrics.inject('/metrics')
    assert.ok(metrics?.body.includes(`config_version="${before}"`))

    rmSync(join(own, '1'))
    await readAll()
    const [after] = await versionsOf('/revocations')
    assert.ok(after)
    assert.notEqual(after, before)
    assert.deepEqual(await versionsOf('/revocations'), [after, after])
    assert.deepEqual(await versionsOf('/verify/default', forged), [undefined, undefined])
    // Other sessions and tokens go on, and are cached again.
    const good = withSession(cookieOf({}, folders[0]))
    assert.deepEqual(await versionsOf('/verify/default', good), [after, after])
    const token = { Authorization: `Bearer ${v2User()}` }
    assert.deepEqual(await versionsOf('/verify/mixed', token), [after, after])

    // One that starts after the removal never knew the key, and HAProxy may have its verdicts still.
    const restarted = createKeyFolder(own, runtime)
    await restarted.read()
    const service = await startSignIn({ sealingKeys: restarted, authority })
    t.after(() => service.close())
    assert.equal(versionIn(await ask(service, '/revocations')), after)
    nowMs += 3_600_000
    assert.deepEqual(await versionsOf('/revocations'), [after, after])
  })

  it('does not open what another one sealed under its id', async () => {
    const keys = createKeyFolder(folder, { clock: () => startMs, log: { info() {}, warn() {} } })
    writeFileSync(join(folder, '1'), 'the first key of all, 32 bytes at least')
    await keys.read()
    const value = cookieOf({}, keys)
    const other = cookieOf({}, keys)
    assert.equal(openSession(keys, value.slice(0, 24) + other.slice(24)), undefined)
  })
})
