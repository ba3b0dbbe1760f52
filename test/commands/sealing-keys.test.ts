import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { Logger } from 'pino'
import type { CommandIo } from '../../src/commands/io.ts'
import { openSignIn } from '../../src/commands/sign-in.ts'
import { ids } from '../support/ids.ts'
import { loadFile } from '../support/service.ts'
import { signIn } from '../support/sessions.ts'

const folder = mkdtempSync(join(tmpdir(), 'sealing-'))
process.on('exit', () => rmSync(folder, { recursive: true }))

/** What happens at a start with this folder of sealing keys. */
async function startWith(path: string, folderByDefault: string): Promise<string> {
  let said = ''
  const write = (text: string) => {
    said += text
  }
  const log = {
    info() {},
    warn: (_fields: object, message: string) => write(message),
  } as unknown as Logger
  const io = {
    env: {},
    now: Date.now,
    stderr: { write },
    exit(code: number) {
      throw new Error(`exit ${code}: ${said}`)
    },
  } as unknown as CommandIo
  const config = await loadFile({
    tenants: { contoso: ids.contoso },
    signIn: { ...signIn, sealingKeys: path },
    policies: { default: { allow: [{ actor: 'user', session: true }] } },
  })
  try {
    const opened = await openSignIn(config, log, io, folderByDefault)
    opened.stop()
    return said
  } catch (error) {
    return (error as Error).message
  }
}

describe('sealing keys at the start', () => {
  it('are one in memory only where there is no folder to use and the configuration names none', async () => {
    const nowhere = '/proc/nowhere'
    assert.match(await startWith(nowhere, nowhere), /^sealing key in memory/)
    assert.match(await startWith(nowhere, '/elsewhere'), /^exit 78: .*none can be made there/)
  })

  it('that cannot be used stop it, also in the folder by default', async () => {
    writeFileSync(join(folder, 'short.key'), 'short')
    for (const folderByDefault of [folder, '/elsewhere']) {
      const said = await startWith(folder, folderByDefault)
      assert.match(said, /^exit 78: error: signIn\.sealingKeys: short\.key is no sealing key/)
    }
  })

  it('that are a pipe stop it, and nobody waits for what comes out of it', async (t) => {
    const path = mkdtempSync(join(tmpdir(), 'sealing-'))
    t.after(() => rmSync(path, { recursive: true }))
    execFileSync('mkfifo', [join(path, 'one.key')])
    assert.match(
      await startWith(path, '/elsewhere'),
      /^exit 78: .*one\.key cannot be read \(not a file\)/,
    )
  })
})
