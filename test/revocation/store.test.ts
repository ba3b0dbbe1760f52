import assert from 'node:assert/strict'
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, describe, it } from 'node:test'
import {
  maxRevocations,
  parseRevocation,
  type Revocation,
} from '../../src/revocation/revocation.ts'
import {
  createRevocationStore,
  maxEnded,
  parseFile,
  RevocationError,
} from '../../src/revocation/revocation-store.ts'
import { testStore } from './contract.ts'

const folder = await mkdtemp(join(tmpdir(), 'entra-auth-revocations-'))
after(() => rm(folder, { recursive: true }))

const tenant = '11111111-1111-4111-8111-111111111111'
const now = 1_800_000_000_000
const entry: Revocation = {
  kind: 'tenant',
  id: tenant,
  before: 1_799_999_000,
  until: 1_800_003_600,
}
let files = 0
const newFile = () => join(folder, `${files++}.json`)
const open = (file: string) => createRevocationStore(file, () => now)

testStore('a file', async () => {
  const file = newFile()
  return {
    async open() {
      const store = open(file)
      await store.start()
      return store
    },
  }
})

describe('a revocation file that is missing', () => {
  const started = async (file: string, onNotice?: (message: string) => void) => {
    const store = createRevocationStore(file, () => now, onNotice)
    await store.start()
    return store
  }

  it('is written at the first start, which is said', async () => {
    const file = newFile()
    const said: string[] = []
    await started(file, (message) => said.push(message))
    assert.deepEqual(parseFile(await readFile(file, 'utf8')), [])
    assert.match(said.join(), /there was no revocation file/)
  })

  it('is restored at a start, which is said', async () => {
    const file = newFile()
    await (await started(file)).add(entry)
    await rm(file)
    const said: string[] = []
    const store = await started(file, (message) => said.push(message))
    assert.deepEqual(store.list.entries, [entry])
    assert.equal(parseFile(await readFile(file, 'utf8')).length, 1)
    assert.match(said.join(), /1 revocations were restored from .*\.copy/)
  })

  it('is restored with what another program had written into it', async () => {
    const file = newFile()
    const store = await started(file)
    await rm(file)
    await writeFile(file, JSON.stringify({ revocations: [entry] }))
    await store.reload()
    await rm(file)
    assert.deepEqual((await started(file)).list.entries, [entry])
  })

  it('is written again with all that was in force by the next change', async () => {
    const file = newFile()
    const store = await started(file)
    await store.add(entry)
    await rm(file)
    await store.add({ ...entry, kind: 'key', id: 'a-key' })
    assert.equal(parseFile(await readFile(file, 'utf8')).length, 2)
    assert.equal((await started(file)).list.size, 2)
  })

  it('stops a start where its folder is missing, as that of a volume not mounted', async () => {
    await assert.rejects(started(join(folder, 'not-mounted', 'r.json')), /ENOENT.*mounted/)
  })

  it('is told of by explain, and not created', async () => {
    const file = newFile()
    assert.equal(await open(file).reload(), false)
    await assert.rejects(readFile(file), /ENOENT/)
  })
})

describe('a revocation file behind a symbolic link', () => {
  it('is written where the link leads, and the link stays', async () => {
    const shared = join(folder, 'shared')
    await mkdir(shared)
    const [link, target] = [newFile(), join(shared, 'all.json')]
    await writeFile(target, JSON.stringify({ revocations: [] }))
    await symlink(target, link)
    await open(link).add(entry)
    assert.ok((await lstat(link)).isSymbolicLink())
    assert.equal(parseFile(await readFile(target, 'utf8')).length, 1)
  })

  it('is restored where the link leads to nothing', async () => {
    const [link, target] = [newFile(), newFile()]
    await symlink(target, link)
    const store = open(link)
    await store.start()
    await store.add(entry)
    await rm(target)
    const next = open(link)
    await next.start()
    assert.deepEqual(next.list.entries, [entry])
    assert.ok((await lstat(link)).isSymbolicLink())
  })

  it('is refused where links lead in a circle', async () => {
    const [one, two] = [newFile(), newFile()]
    await symlink(two, one)
    await symlink(one, two)
    await assert.rejects(open(one).start(), /leads to itself/)
  })
})

describe('a disk that does not confirm', () => {
  const failing = (code: string) => () => Promise.reject(Object.assign(new Error(), { code }))

  it('has the change in force all the same, which is said', async () => {
    const file = newFile()
    const store = createRevocationStore(file, () => now, undefined, failing('EIO'))
    await assert.rejects(store.add(entry), (error: RevocationError) => {
      assert.match(error.message, /in force, .* did not confirm .*\(EIO\)/)
      return error.isTemporary
    })
    assert.deepEqual(store.list.entries, [entry])
    assert.equal(await store.reload(), false)
    await assert.rejects(store.remove(entry.kind, entry.id), /in force/)
    assert.deepEqual(store.list.entries, [])
    assert.deepEqual(parseFile(await readFile(file, 'utf8')), [])
  })
})

describe('the lock of a revocation file', () => {
  it('refuses a change with a sentence while another process holds it', async () => {
    const file = newFile()
    // The first process of the machine lives as long as the test.
    const place = (await lockOwner(file)).place
    const stat = await readFile('/proc/1/stat', 'utf8')
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
    await writeFile(`${file}.lock`, JSON.stringify({ place, pid: '1', start }))
    await assert.rejects(open(file).add(entry), (error: RevocationError) => {
      assert.match(error.message, /another process is changing the revocation file/)
      return error.isTemporary
    })
    await assert.rejects(readFile(file), /ENOENT/)
  })

  it('counts no more once its process has ended', async () => {
    const file = newFile()
    const owner = await lockOwner(file)
    await writeFile(`${file}.lock`, JSON.stringify({ ...owner, start: '1' }))
    const store = open(file)
    await store.add(entry)
    assert.deepEqual(store.list.entries, [entry])
    assert.deepEqual(
      (await readdir(folder)).filter(
        (name) => /\.(lock|old|new)/.test(name) && name.startsWith(basename(file)),
      ),
      [],
    )
  })

  it('cannot be taken in a folder that cannot be written, which is said', async () => {
    const file = join(folder, 'missing-folder', 'r.json')
    await assert.rejects(open(file).add(entry), /cannot be written \(ENOENT\)/)
  })

  /** What this process writes into a lock. */
  async function lockOwner(file: string): Promise<{ place?: string }> {
    const { takeFileLock } = await import('../../src/revocation/file-lock.ts')
    const lock = await takeFileLock(`${file}.lock`, 0)
    const owner = JSON.parse(await readFile(`${file}.lock`, 'utf8'))
    await lock?.release()
    return owner
  }
})

describe('the revocation store', () => {
  it('is there again after a restart', async () => {
    const file = newFile()
    await open(file).add({ ...entry, reason: 'breach' })
    const next = open(file)
    await next.reload()
    assert.deepEqual(next.list.entries, [{ ...entry, reason: 'breach' }])
  })

  it('takes in what another program wrote', async () => {
    const file = newFile()
    const store = open(file)
    await store.add(entry)
    await writeFile(file, JSON.stringify({ revocations: [] }))
    assert.equal(await store.reload(), true)
    assert.deepEqual(store.list.entries, [])
    assert.equal(await store.reload(), false)
  })

  it('builds a change on what another program wrote', async () => {
    const file = newFile()
    const store = open(file)
    await store.add(entry)
    const other: Revocation = { ...entry, kind: 'key', id: 'a-key' }
    await writeFile(file, JSON.stringify({ revocations: [entry, other] }))
    await store.add({ ...entry, kind: 'token', id: 'a-token' })
    assert.deepEqual(
      store.list.entries.map(({ kind }) => kind),
      ['tenant', 'key', 'token'],
    )
  })

  it('keeps the last revocations when the file breaks', async () => {
    const file = newFile()
    const store = open(file)
    await store.add(entry)
    await writeFile(file, '{"revocations": [')
    await assert.rejects(store.reload(), RevocationError)
    assert.deepEqual(store.list.entries, [entry])
  })

  it('keeps the last revocations when the file goes', async () => {
    const file = newFile()
    const store = open(file)
    await store.add(entry)
    await rm(file)
    await assert.rejects(store.reload(), /gone/)
    assert.deepEqual(store.list.entries, [entry])
  })

  it('changes nothing when it cannot write, and leaves nothing behind', async () => {
    const missing = join(folder, 'missing', 'revocations.json')
    const store = open(missing)
    await assert.rejects(store.add(entry), /cannot be written \(ENOENT\)/)
    assert.deepEqual(store.list.entries, [])
    assert.equal((await readdir(folder)).includes('missing'), false)
  })

  it('says what to configure where there is no file', async () => {
    const store = createRevocationStore(undefined, () => now)
    await assert.rejects(store.add(entry), /set revocationFile/)
  })

  it('keeps what has ended, so that a clock that started ahead ends nothing for good', async () => {
    const file = newFile()
    await open(file).add(entry)
    let clock = now + 8 * 3_600_000
    const store = createRevocationStore(file, () => clock)
    await store.start()
    await store.add({ ...entry, kind: 'key', id: 'a-key', until: clock / 1000 + 60 })
    clock = now
    assert.equal(store.list.countAt(clock / 1000), 2)
    assert.equal(open(file).list.size, 0)
    const next = open(file)
    await next.start()
    assert.equal(next.list.get('tenant', tenant)?.until, entry.until)
  })

  it('puts a default end in force again where a reload lengthens the lifetime of tokens', async () => {
    const file = newFile()
    let clock = now
    const store = createRevocationStore(file, () => clock)
    store.setLongest(90_000)
    await store.add({ ...entry, until: now / 1000 + 90_000 }, { untilDefault: true })
    clock += 91_000_000
    await store.add({ ...entry, kind: 'key', id: 'a-key', until: clock / 1000 + 60 })
    assert.equal(store.list.countAt(clock / 1000), 1)
    store.setLongest(100_000)
    assert.equal(store.list.countAt(clock / 1000), 2)
  })

  it('forgets what has ended when it is removed or replaced', async () => {
    const file = newFile()
    const store = open(file)
    await store.add({ ...entry, until: now / 1000 })
    assert.equal(await store.remove('tenant', tenant), false)
    assert.deepEqual(parseFile(await readFile(file, 'utf8')), [])
    await store.add({ ...entry, until: now / 1000 })
    await store.add(entry)
    assert.deepEqual(
      parseFile(await readFile(file, 'utf8')).map(({ until }) => until),
      [entry.until],
    )
  })

  it('drops what has ended beyond the last thousand, and whatever has no room', async () => {
    const ended = Array.from({ length: maxEnded + 5 }, (_, i) => ({
      ...entry,
      kind: 'key',
      id: `ended-${i}`,
      until: now / 1000 - i,
    }))
    const file = newFile()
    await writeFile(file, JSON.stringify({ revocations: ended.toReversed() }))
    const store = open(file)
    await store.start()
    await store.add(entry)
    assert.equal(store.list.size, maxEnded + 1)
    assert.ok(store.list.get('key', `ended-${maxEnded - 1}`))
    assert.equal(store.list.get('key', `ended-${maxEnded}`), undefined)
    const alive = Array.from({ length: maxRevocations - 2 }, (_, i) => ({
      ...entry,
      kind: 'key',
      id: `alive-${i}`,
    }))
    await writeFile(file, JSON.stringify({ revocations: [...ended.slice(0, 2), ...alive] }))
    await store.add(entry)
    assert.equal(store.list.size, maxRevocations)
    assert.ok(store.list.get('key', 'ended-0'))
    assert.equal(store.list.get('key', 'ended-1'), undefined)
  })

  it('makes changes that come together one after the other', async () => {
    const file = newFile()
    const store = open(file)
    const names = Array.from({ length: 20 }, (_, i) => `key-${i}`)
    await Promise.all(names.map((id) => store.add({ ...entry, kind: 'key', id })))
    assert.deepEqual(
      parseFile(await readFile(file, 'utf8')).map(({ id }) => id),
      names,
    )
  })

  it('refuses one more than the limit, but replaces one that is there', async () => {
    const file = newFile()
    const full = Array.from({ length: maxRevocations }, (_, i) => ({
      ...entry,
      kind: 'key',
      id: `key-${i}`,
    }))
    await writeFile(file, JSON.stringify({ revocations: full }))
    const store = open(file)
    await assert.rejects(store.add({ ...entry, kind: 'key', id: 'one-more' }), /is the limit/)
    await store.add({ ...entry, kind: 'key', id: 'key-7', reason: 'again' })
    assert.equal(store.list.entries.length, maxRevocations)
    assert.equal(store.list.get('key', 'key-7')?.reason, 'again')
  })

  it('removes only what is there', async () => {
    const store = open(newFile())
    await store.add(entry)
    assert.equal(await store.remove('key', tenant), false)
    assert.equal(await store.remove('tenant', tenant), true)
    assert.deepEqual(store.list.entries, [])
  })
})

describe('a revocation as JSON', () => {
  const bad: readonly (readonly [string, unknown, RegExp])[] = [
    ['no object', 'user', /must be an object/],
    ['null', null, /must be an object/],
    ['an unknown kind', { ...entry, kind: 'group' }, /kind must be one of/],
    ['a prototype name as its kind', { ...entry, kind: 'constructor' }, /kind must be one of/],
    ['an unknown member', { ...entry, befor: 1 }, /unknown member "befor"/],
    ['no id', { ...entry, id: undefined }, /id must be a string/],
    ['a user without its tenant', { ...entry, kind: 'user' }, /id of a user must be <tenant id>\//],
    ['a tenant that is no GUID', { ...entry, id: 'contoso' }, /id of a tenant must be/],
    ['an empty token id', { ...entry, kind: 'token', id: '' }, /id of a token must be/],
    ['a key id with a line end', { ...entry, kind: 'key', id: 'a\nb' }, /id of a key must be/],
    ['a quotation mark in a token id', { ...entry, kind: 'token', id: 'a"b' }, /id of a token/],
    ['times in milliseconds', { ...entry, before: now }, /before must be a time in whole seconds/],
    ['a negative time', { ...entry, until: -1 }, /until must be a time in whole seconds/],
    ['a long reason', { ...entry, reason: 'x'.repeat(257) }, /at most 256 characters/],
  ]
  for (const [what, value, problem] of bad) {
    it(`is refused with ${what}`, () => assert.match(String(parseRevocation(value)), problem))
  }

  it('gets its GUIDs in lower case', () => {
    const parsed = parseRevocation({ ...entry, id: tenant.toUpperCase() })
    assert.deepEqual(parsed, entry)
  })
})
