import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { createKeyFolder, knownToAllMs } from '../../src/session/key-folder.ts'
import { openSession } from '../../src/session/session.ts'
import { startMs } from '../support/ids.ts'
import { cookieOf } from '../support/sessions.ts'

const folder = mkdtempSync(join(tmpdir(), 'sealing-'))
after(() => rmSync(folder, { recursive: true }))

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

  it('does not open what another one sealed under its id', async () => {
    const keys = createKeyFolder(folder, { clock: () => startMs, log: { info() {}, warn() {} } })
    writeFileSync(join(folder, '1'), 'the first key of all, 32 bytes at least')
    await keys.read()
    const value = cookieOf({}, keys)
    const other = cookieOf({}, keys)
    assert.equal(openSession(keys, value.slice(0, 24) + other.slice(24)), undefined)
  })
})
