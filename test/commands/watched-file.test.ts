import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { readWatched } from '../../src/commands/watched-file.ts'
import { createConfigReloader, type RecordedLoad } from '../../src/config/reload.ts'

async function makeFile(t: TestContext, text: string) {
  const folder = await mkdtemp(join(tmpdir(), 'entra-auth-watched-'))
  t.after(() => rm(folder, { recursive: true }))
  const file = join(folder, 'config.yaml')
  await writeFile(file, text)
  return { folder, file }
}

describe('a watched file', () => {
  it('gives the text that it has now, also in UTF-16 and behind a link', async (t) => {
    const { folder, file } = await makeFile(t, 'first')
    const link = join(folder, 'link')
    await symlink(file, link)
    assert.equal(await readWatched(link, undefined), 'first')
    await writeFile(file, Buffer.from('\ufeffsecond', 'utf16le'))
    assert.equal(await readWatched(link, 'first'), 'second')
  })

  it('gives nothing where it is gone or a folder has taken its place', async (t) => {
    const { folder, file } = await makeFile(t, 'first')
    assert.equal(await readWatched(folder, 'first'), undefined)
    await rm(file)
    assert.equal(await readWatched(file, 'first'), undefined)
  })

  it('is not waited for where it is a pipe that nobody writes to', async (t) => {
    const { folder, file } = await makeFile(t, 'first')
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    assert.equal(await readWatched(pipe, 'first'), 'first')
    await rename(pipe, file)
    assert.equal(await readWatched(file, 'first'), 'first')
  })

  it('gives a device once, however much that would have', async () =>
    assert.equal(await readWatched('/dev/zero', 'first'), 'first'))
})

describe('a configuration that is looked at again', () => {
  it('is loaded when a text has changed, and only then', async (t) => {
    const { file } = await makeFile(t, 'tenants: {}')
    let loads = 0
    const problem = { path: 'tenants', message: 'is empty', hint: 'Add one.' }
    const result = { ok: false, problems: [problem], files: [file] } as const
    const texts = new Map([[file, 'tenants: []']])
    const reloader = createConfigReloader(
      { file, env: {}, readFile: (path) => readWatched(path, '').then(String) },
      async (): Promise<RecordedLoad> => {
        loads++
        return { result, texts }
      },
      readWatched,
    )
    assert.equal(await reloader.hasChanged(), false)
    await reloader.load()
    assert.equal(await reloader.hasChanged(), false)
    assert.equal(await reloader.loadIfChanged(), undefined)
    await writeFile(file, 'tenants: []')
    assert.equal(await reloader.hasChanged(), true)
    assert.equal(await reloader.loadIfChanged(), result)
    assert.equal(await reloader.loadIfChanged(), undefined)
    assert.equal(loads, 1)
  })
})
