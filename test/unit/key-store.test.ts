import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import crypto from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { createKeyStore } from '../../src/keys/key-store.ts'
import { eventually } from '../support/eventually.ts'

async function createDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'key-store-'))
  t.after(() => rm(directory, { recursive: true }))
  return join(directory, 'keys')
}

/** Makes a pipe for `task`: its opening waits for the other end, as a network drive that is gone does. */
async function withPipe(path: string, task: () => Promise<void>): Promise<void> {
  execFileSync('mkfifo', [path])
  try {
    await task()
  } finally {
    // Both ends at once, if it is still there: otherwise a failed test would wait for ever.
    await open(path, constants.O_RDWR).then(
      (both) => both.close(),
      () => {},
    )
  }
}

const documents = { readMs: 1, metadata: { issuer: 'x' }, keys: [{ kid: 'a' }] }

describe('the key store', () => {
  it('gives back what was kept', async (t) => {
    const store = createKeyStore(await createDirectory(t))
    await store.save('one', documents)
    await store.save('two', { ...documents, readMs: 2 })
    assert.deepEqual(await store.load('one'), documents)
    assert.deepEqual(await store.load('two'), { ...documents, readMs: 2 })
  })
  it('has nothing before', async (t) =>
    assert.equal(await createKeyStore(await createDirectory(t)).load('one'), undefined))
  it('keeps the last of two', async (t) => {
    const store = createKeyStore(await createDirectory(t))
    await store.save('one', documents)
    await store.save('one', { ...documents, readMs: 3 })
    assert.equal((await store.load('one'))?.readMs, 3)
  })
  it('leaves one file that only its owner can write', async (t) => {
    const directory = await createDirectory(t)
    await createKeyStore(directory).save('one', documents)
    assert.deepEqual(await readdir(directory), ['one.json'])
    assert.equal((await stat(join(directory, 'one.json'))).mode & 0o777, 0o600)
    assert.equal((await stat(directory)).mode & 0o777, 0o700)
  })
  it('keeps whole files where several services write into one folder at a time', async (t) => {
    const directory = await createDirectory(t)
    const sets = [10, 3_000, 1, 500].map((count) => ({
      ...documents,
      keys: Array.from({ length: count }, (_, i) => ({ kid: `key-${i}` })),
    }))
    for (let round = 0; round < 10; round++) {
      await Promise.all(sets.map((set) => createKeyStore(directory).save('one', set)))
      const stored = await createKeyStore(directory).load('one')
      assert.ok(sets.some(({ keys }) => keys.length === stored?.keys.length))
    }
    assert.deepEqual(await readdir(directory), ['one.json'])
  })
  it('leaves nothing behind where the file cannot take its place', async (t) => {
    const directory = await createDirectory(t)
    await mkdir(join(directory, 'one.json'), { recursive: true })
    await assert.rejects(createKeyStore(directory).save('one', documents))
    assert.deepEqual(await readdir(directory), ['one.json'])
  })
  for (const [what, text] of [
    ['empty', ''],
    ['cut short', '{"readMs":1,"keys":['],
    ['null', 'null'],
    ['without a time', '{"keys":[]}'],
    ['with a time that is text', '{"readMs":"1","keys":[]}'],
    ['without keys', '{"readMs":1}'],
    ['with keys that are no list', '{"readMs":1,"keys":{}}'],
  ] as const) {
    it(`takes nothing from a file that is ${what}`, async (t) => {
      const directory = await createDirectory(t)
      const store = createKeyStore(directory)
      await store.save('one', documents)
      await writeFile(join(directory, 'one.json'), text)
      assert.equal(await store.load('one'), undefined)
    })
  }
  it('names each file that cannot be read, and why; a missing one is none', async (t) => {
    const directory = await createDirectory(t)
    const named: string[][] = []
    const store = createKeyStore(directory, 100, (...said) => named.push(said))
    await store.save('one', documents)
    assert.deepEqual(await store.load('one'), documents)
    assert.equal(await store.load('missing'), undefined)
    assert.deepEqual(named, [])
    await writeFile(join(directory, 'cut.json'), '{"readMs":1,"keys":[')
    await writeFile(join(directory, 'foreign.json'), '{"readMs":1}')
    await mkdir(join(directory, 'folder.json'))
    for (const name of ['cut', 'foreign', 'folder']) {
      assert.equal(await store.load(name), undefined)
    }
    await withPipe(join(directory, 'silent.json'), async () => {
      assert.equal(await store.load('silent'), undefined)
    })
    const why = {
      cut: 'it is not JSON',
      foreign: 'no store wrote this file',
      folder: 'EISDIR',
      silent: 'the disk does not answer',
    }
    assert.deepEqual(
      named,
      Object.entries(why).map(([name, problem]) => [join(directory, `${name}.json`), problem]),
    )
  })
  it('waits no longer than it may for a disk that does not answer, and takes one thread of it', async (t) => {
    const directory = await createDirectory(t)
    const store = createKeyStore(directory, 100)
    await store.save('one', documents)
    const pipe = join(directory, 'silent.json')
    await withPipe(pipe, async () => {
      const silent = store.load('silent')
      const [waiting, kept] = [store.load('one'), store.save('two', documents)]
      assert.equal(await silent, undefined)
      assert.equal(await waiting, undefined)
      await assert.rejects(kept, /the disk does not answer/)
      await assert.rejects(store.save('one', documents), /the disk does not answer/)
      // It answers again.
      await writeFile(pipe, '')
      await eventually(
        () => store.load('one'),
        (stored) => stored !== undefined,
      )
    })
    assert.deepEqual((await readdir(directory)).toSorted(), ['one.json', 'silent.json'])
  })
  it('says that nothing was kept where the disk does not answer a writing', async (t) => {
    const directory = await createDirectory(t)
    await mkdir(directory)
    const store = createKeyStore(directory, 100)
    // The name of the file is random. Only where it is known beforehand can a pipe stand in its place.
    t.mock.method(crypto, 'randomUUID', () => 'known')
    syncBuiltinESMExports()
    const pipe = join(directory, 'one.json.known.new')
    await withPipe(pipe, async () => {
      await assert.rejects(store.save('one', documents), /the disk does not answer/)
      await assert.rejects(store.save('two', documents), /the disk does not answer/)
      // It answers again: what comes out of the pipe was written.
      assert.deepEqual(JSON.parse(await readFile(pipe, 'utf8')), documents)
      await eventually(
        () => store.save('two', documents).catch((error: Error) => error),
        (error) => error === undefined,
      )
      assert.deepEqual(await createKeyStore(directory).load('two'), documents)
    }).finally(() => {
      t.mock.restoreAll()
      syncBuiltinESMExports()
    })
  })
  it('waits for a disk that has answered no longer: a command can end', async (t) => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout')
    const before = timers()
    const store = createKeyStore(await createDirectory(t))
    await store.save('one', documents)
    assert.deepEqual(await store.load('one'), documents)
    assert.deepEqual(timers(), before)
  })
  it('says where it cannot keep anything', async (t) => {
    const directory = await createDirectory(t)
    await writeFile(directory, 'a file in the way')
    await assert.rejects(createKeyStore(directory).save('one', documents))
  })
  it('says why a file cannot be made, and not that there is none to remove', async (t) => {
    const store = createKeyStore(await createDirectory(t))
    await assert.rejects(store.save('missing/one', documents), { code: 'ENOENT', syscall: 'open' })
  })
})
