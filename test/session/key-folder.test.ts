import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, describe, it } from 'node:test'
import {
  createKeyFolder,
  knownToAllMs,
  readSealingKeys,
  rotationMs,
} from '../../src/session/key-folder.ts'
import { open, seal } from '../../src/session/sealing.ts'
import { startMs } from '../support/ids.ts'

const root = mkdtempSync(join(tmpdir(), 'sealing-'))
after(() => rmSync(root, { recursive: true }))

let nowMs = startMs
let folder = ''
let count = 0
beforeEach(() => {
  nowMs = startMs
  folder = join(root, String(count++))
})
const log = { info() {}, warn() {} }
const createFolder = (path = folder) => createKeyFolder(path, { clock: () => nowMs, log })
const write = (name: string, text: string | Buffer) => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, name), text)
}

describe('the folder of sealing keys', () => {
  it('gets its first key by itself, which nobody else can read', async () => {
    const keys = createFolder()
    await keys.read()
    const [name = ''] = readdirSync(folder)
    assert.equal(name, 'sealing-2026-01-15.key')
    assert.ok(keys.sealing)
    const again = createFolder()
    await again.read()
    assert.equal(again.sealing?.id, keys.sealing?.id)
  })

  it('gets one key from replicas that start together', async () => {
    const replicas = Array.from({ length: 5 }, () => createFolder())
    await Promise.all(replicas.map((replica) => replica.read()))
    assert.equal(new Set(replicas.map(({ sealing }) => sealing?.id)).size, 1)
    assert.equal(readdirSync(folder).length, 1)
  })

  it('is read once at a time, so that a disk that hangs collects no readings', async () => {
    const keys = createFolder()
    const [one, other] = [keys.read(), keys.read()]
    assert.equal(one, other)
    await one
    assert.notEqual(keys.read(), one)
    await keys.read()
    // One that failed does not stand in the way of the next.
    write('short.key', 'x')
    await assert.rejects(keys.read(), /no sealing key/)
    rmSync(join(folder, 'short.key'))
    await keys.read()
  })

  it('seals with a new key once every replica can know it, and opens with it at once', async () => {
    write('1', 'a'.repeat(32))
    const early = createFolder()
    await early.read()
    nowMs += knownToAllMs
    write('2', 'b'.repeat(32))
    await early.read()
    const old = early.sealing?.id
    const late = createFolder()
    await late.read()
    assert.equal(late.sealing?.id, old)
    nowMs += knownToAllMs - 1
    assert.equal(early.sealing?.id, old)
    nowMs += 1
    assert.notEqual(early.sealing?.id, old)
    const sealed = seal(early, 'session', 'text') ?? ''
    assert.equal(open(late, 'session', sealed), 'text')
    assert.equal(open(early, 'session', sealed), 'text')
  })

  it('counts how long a key is known by a clock that nobody sets', async () => {
    write('1', 'a'.repeat(32))
    let ranMs = 0
    const keys = createKeyFolder(folder, { clock: () => nowMs, monotonic: () => ranMs, log })
    await keys.read()
    ranMs += knownToAllMs
    write('2', 'b'.repeat(32))
    await keys.read()
    const old = keys.sealing?.id
    // Set ahead by a year: the other replicas have not seen the new key for that.
    nowMs += 365 * 24 * 3_600_000
    assert.equal(keys.sealing?.id, old)
    // Set back: the new key seals all the same once its time is over.
    nowMs -= 400 * 24 * 3_600_000
    ranMs += knownToAllMs
    assert.notEqual(keys.sealing?.id, old)
  })

  it('forgets a key whose file is gone', async () => {
    write('1', 'a'.repeat(32))
    write('2', 'b'.repeat(32))
    const keys = createFolder()
    await keys.read()
    const sealed = seal(keys, 'session', 'text') ?? ''
    rmSync(join(folder, '1'))
    await keys.read()
    assert.equal(open(keys, 'session', sealed), undefined)
    assert.equal(keys.size, 1)
  })

  it('names its keys together, as each replica with the same ones does, also after a restart', async () => {
    write('1', 'a'.repeat(32))
    const keys = createFolder()
    assert.equal(keys.mark?.(), '')
    await keys.read()
    const one = keys.mark?.() ?? ''
    assert.match(one, /^[\w-]{8}$/)
    write('2', 'b'.repeat(32))
    await keys.read()
    const both = keys.mark?.()
    assert.notEqual(both, one)
    renameSync(join(folder, '1'), join(folder, '3'))
    const other = createFolder()
    for (const replica of [keys, other]) {
      await replica.read()
      assert.equal(replica.mark?.(), both)
    }
    rmSync(join(folder, '2'))
    const restarted = createFolder()
    for (const replica of [keys, restarted]) {
      await replica.read()
      assert.equal(replica.mark?.(), one)
    }
  })

  it('drops a key whose file is gone, whatever is wrong with the others', async () => {
    const problems: readonly [put: () => void, said: RegExp][] = [
      [() => write('3', 'short'), /3 is no sealing key/],
      [() => symlinkSync('nowhere', join(folder, '3')), /3 cannot be read \(ENOENT\)/],
      [() => symlinkSync('3', join(folder, '3')), /3 cannot be read \(ELOOP\)/],
      [
        () => {
          for (let i = 0; i <= 100; i++) write(`x-${i}`, `${i}`.padEnd(32, '.'))
        },
        /more than 100 files/,
      ],
    ]
    for (const [index, [put, said]] of problems.entries()) {
      folder = join(root, `gone-${index}`)
      write('1', 'a'.repeat(32))
      write('2', 'b'.repeat(32))
      const keys = createFolder()
      await keys.read()
      const stolen = seal(keys, 'session', 'text') ?? ''
      put()
      rmSync(join(folder, '1'))
      await assert.rejects(keys.read(), said)
      assert.equal(open(keys, 'session', stolen), undefined, String(said))
      assert.equal(keys.size, 1, String(said))
      await assert.rejects(readSealingKeys(folder), said)
    }
  })

  it('drops a key whose file has something else, and keeps one whose file cannot be read', async () => {
    write('1', 'a'.repeat(32))
    write('2', 'b'.repeat(32))
    const keys = createFolder()
    await keys.read()
    const sealed = seal(keys, 'session', 'text') ?? ''
    rmSync(join(folder, '1'))
    symlinkSync('1', join(folder, '1'))
    await assert.rejects(keys.read(), /1 cannot be read \(ELOOP\)/)
    assert.equal(open(keys, 'session', sealed), 'text')
    rmSync(join(folder, '1'))
    write('1', 'overwritten')
    await assert.rejects(keys.read(), /1 is no sealing key/)
    assert.equal(open(keys, 'session', sealed), undefined)
    // None is left, and none is made while a file is there that may be one.
    write('2', 'overwritten')
    await assert.rejects(keys.read(), /1 is no sealing key/)
    assert.equal(keys.size, 0)
    assert.deepEqual(readdirSync(folder), ['1', '2'])
    renameSync(folder, `${folder}-away`)
    await assert.rejects(keys.read(), /cannot be read \(ENOENT\)/)
    assert.equal(existsSync(folder), false)
  })

  it('reads text with and without a line break as one key, bytes as they are, and links', async () => {
    write('1', 'a'.repeat(32))
    write('2', `${'a'.repeat(32)}\n`)
    write('3', Buffer.concat([Buffer.alloc(31, 7), Buffer.from('\n')]))
    writeFileSync(join(root, 'target'), 'c'.repeat(44))
    symlinkSync(join(root, 'target'), join(folder, '4'))
    mkdirSync(join(folder, '..2026_11'))
    const keys = createFolder()
    await keys.read()
    assert.equal(keys.size, 3)
  })

  it('renews its own key after 30 days and keeps the one before', async () => {
    const keys = createFolder()
    await keys.read()
    const first = keys.sealing?.id ?? ''
    nowMs += rotationMs
    await keys.read()
    assert.equal(keys.size, 2)
    assert.equal(keys.sealing?.id, first)
    nowMs += rotationMs
    await keys.read()
    assert.equal(keys.size, 2)
    assert.equal(keys.get(first), undefined)
  })

  it('makes no key where there is no room for one more file', async () => {
    for (let i = 0; i < 98; i++) write(`a-${i}`, `${i}`.padEnd(32, '.'))
    const keys = createFolder()
    write('sealing-2020-01-01.key', 'a'.repeat(32))
    write('b', 'b'.repeat(32))
    write('sealing-2020-01-02.key', 'c'.repeat(32))
    // 101 files are too many, which is for whoever put them there to see.
    await assert.rejects(keys.read(), /more than 100 files/)
    rmSync(join(folder, 'b'))
    await keys.read()
    assert.equal(keys.size, 100)
    assert.equal(readdirSync(folder).length, 100)
    await keys.read()
  })

  it('can be read without a key being made', async () => {
    await assert.rejects(readSealingKeys(folder), /has no key/)
    assert.throws(() => readdirSync(folder), /ENOENT/)
    write('1', 'a'.repeat(32))
    write('2', 'short')
    await assert.rejects(readSealingKeys(folder), /2 is no sealing key/)
    write('2', 'b'.repeat(32))
    const keys = createFolder()
    await keys.read()
    const sealed = seal(keys, 'session', 'text') ?? ''
    assert.equal(open(await readSealingKeys(folder), 'session', sealed), 'text')
  })

  it('leaves keys of others alone, however old', async () => {
    write('mine.key', 'a'.repeat(32))
    const keys = createFolder()
    await keys.read()
    nowMs += 10 * rotationMs
    await keys.read()
    assert.deepEqual(readdirSync(folder), ['mine.key'])
  })

  it('may be a volume of its own, with the folder that each has', async () => {
    mkdirSync(join(folder, 'lost+found'), { recursive: true })
    write('mine.key', 'a'.repeat(32))
    const keys = createFolder()
    await keys.read()
    assert.equal(keys.size, 1)
  })

  it('reads keys by links, as Kubernetes mounts them', async () => {
    mkdirSync(join(folder, '..data'), { recursive: true })
    writeFileSync(join(folder, '..data', 'mine.key'), 'a'.repeat(32))
    symlinkSync('..data/mine.key', join(folder, 'mine.key'))
    const keys = createFolder()
    await keys.read()
    assert.equal(keys.size, 1)
  })

  it('says what is wrong with it', async () => {
    write('short', 'a'.repeat(31))
    await assert.rejects(createFolder().read(), /short is no sealing key: 32 to 1024 bytes/)
    write('short', 'a'.repeat(1_025))
    await assert.rejects(createFolder().read(), /short is no sealing key/)
    rmSync(join(folder, 'short'))
    symlinkSync('nowhere', join(folder, 'link'))
    await assert.rejects(createFolder().read(), /link cannot be read \(ENOENT\)/)
    rmSync(join(folder, 'link'))
    // Nobody writes into it: whoever waits for its bytes waits for ever.
    execFileSync('mkfifo', [join(folder, 'pipe')])
    await assert.rejects(createFolder().read(), /pipe cannot be read \(not a file\)/)
    rmSync(join(folder, 'pipe'))
    symlinkSync(root, join(folder, 'folder'))
    await assert.rejects(createFolder().read(), /folder cannot be read \(EISDIR\)/)
    rmSync(join(folder, 'folder'))
    for (let i = 0; i < 101; i++) write(`key-${i}`, 'a'.repeat(32))
    await assert.rejects(createFolder().read(), /more than 100 files/)
    writeFileSync(join(root, 'file'), '')
    await assert.rejects(createFolder(join(root, 'file')).read(), /cannot be read \(ENOTDIR\)/)
    await assert.rejects(createFolder('/proc/nowhere').read(), /no key and none can be made/)
  })

  it('keeps the keys that it has when the whole folder is gone, and makes none there', async () => {
    write('1', 'a'.repeat(32))
    const keys = createFolder()
    await keys.read()
    const sealed = seal(keys, 'session', 'text') ?? ''
    const elsewhere = `${folder}-away`
    renameSync(folder, elsewhere)
    await assert.rejects(keys.read(), /cannot be read \(ENOENT\)/)
    assert.equal(existsSync(folder), false)
    assert.equal(open(keys, 'session', sealed), 'text')
    renameSync(elsewhere, folder)
    await keys.read()
    assert.equal(open(keys, 'session', sealed), 'text')
    // One key that is deleted in a folder that is there is meant to count no more.
    rmSync(join(folder, '1'))
    await keys.read()
    assert.equal(open(keys, 'session', sealed), undefined)
    assert.ok(keys.sealing)
  })

  it('keeps the keys that it has when one cannot be read', async () => {
    write('1', 'a'.repeat(32))
    const keys = createFolder()
    await keys.read()
    write('2', 'short')
    await assert.rejects(keys.read())
    assert.ok(keys.sealing)
  })
})
