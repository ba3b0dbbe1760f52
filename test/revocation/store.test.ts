import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, describe, it } from 'node:test'
import { takeFileLock } from '../../src/revocation/file-lock.ts'
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

  it('does not stop a start where it cannot be written, as on a full disk, since the copy has all', async () => {
    const file = newFile()
    await (await started(file)).add(entry)
    await rm(file)
    // A folder in the place of the lock: nothing can be written, whoever asks.
    await mkdir(`${file}.lock`)
    const said: string[] = []
    const store = await started(file, (message) => said.push(message))
    assert.deepEqual(store.list.entries, [entry])
    assert.match(
      said.join(),
      /cannot be created \(.*is not a file\): the 1 revocations of .*\.copy are active/,
    )
    assert.equal(await store.reload(), false)
    assert.deepEqual(store.list.entries, [entry])
    await rm(`${file}.lock`, { recursive: true })
    await store.add({ ...entry, kind: 'key', id: 'a-key' })
    assert.equal(parseFile(await readFile(file, 'utf8')).length, 2)
  })

  it('has a copy as soon as one can be made', async () => {
    const file = newFile()
    const copy = join(folder, `.${basename(file)}.copy`)
    await mkdir(copy)
    await writeFile(file, JSON.stringify({ revocations: [entry] }))
    const store = await started(file)
    await rm(copy, { recursive: true })
    await store.reload()
    assert.equal(parseFile(await readFile(copy, 'utf8')).length, 1)
  })

  it('is told of by explain, and not created', async () => {
    const file = newFile()
    assert.equal(await open(file).reload(), false)
    await assert.rejects(readFile(file), /ENOENT/)
  })
})

describe('a revocation file in the place of another one', () => {
  const other: Revocation = { ...entry, kind: 'key', id: 'a-key' }

  /** A service that runs, and one that started while the volume with the file was not mounted. */
  async function createBoth() {
    const file = newFile()
    const said: string[] = []
    const running = createRevocationStore(
      file,
      () => now,
      (message) => said.push(message),
    )
    await running.start()
    await running.add(entry)
    await rm(file)
    await rm(join(folder, `.${basename(file)}.copy`))
    const started = open(file)
    await started.start()
    return { file, said, running, started }
  }

  it('ends no revocation: a service that saw none has all of them again', async () => {
    const { said, running, started } = await createBoth()
    assert.deepEqual(started.list.entries, [])
    assert.equal(await running.reload(), true)
    assert.deepEqual(running.list.entries, [entry])
    assert.match(said.at(-1) ?? '', /replaced by another one: the 1 revocations of both are active/)
    assert.equal(await running.reload(), false)
    assert.equal(await started.reload(), true)
    assert.deepEqual(started.list.entries, [entry])
  })

  it('keeps what was added to it meanwhile', async () => {
    const { file, running, started } = await createBoth()
    await started.add(other)
    await running.add({ ...entry, kind: 'token', id: 'a-token' })
    const ids = ['11111111-1111-4111-8111-111111111111', 'a-key', 'a-token']
    assert.deepEqual(running.list.entries.map(({ id }) => id).toSorted(), ids)
    assert.equal(parseFile(await readFile(file, 'utf8')).length, 3)
    await started.reload()
    assert.deepEqual(started.list.entries.map(({ id }) => id).toSorted(), ids)
    // A revocation that was ended since does not come back.
    assert.equal(await started.remove('key', 'a-key'), true)
    await running.reload()
    assert.equal(running.list.get('key', 'a-key'), undefined)
  })

  it('keeps of two revocations of one user the one that revokes more, for longer', async () => {
    const { running, started } = await createBoth()
    await started.add({ ...entry, before: entry.before + 100, until: entry.until - 100 })
    await running.reload()
    assert.deepEqual(running.list.entries, [{ ...entry, before: entry.before + 100 }])
  })

  it('is told of where it cannot be written, and all stay active', async () => {
    const { file, running } = await createBoth()
    await mkdir(`${file}.lock`)
    await assert.rejects(running.reload(), /is not a file/)
    await assert.rejects(running.reload(), /is not a file/)
    assert.deepEqual(running.list.entries, [entry])
    await rm(`${file}.lock`, { recursive: true })
    await running.reload()
    assert.equal(parseFile(await readFile(file, 'utf8')).length, 1)
  })

  it('cannot be joined with it where there would be more than the limit', async () => {
    const { file, running } = await createBoth()
    const { id } = JSON.parse(await readFile(file, 'utf8'))
    const revocations = Array.from({ length: maxRevocations }, (_, index) => ({
      ...entry,
      kind: 'token',
      id: `token-${index}`,
    }))
    await writeFile(file, JSON.stringify({ id, revocations }))
    await assert.rejects(running.reload(), /more than 10000 revocations together/)
    assert.equal(running.list.size, maxRevocations + 1)
  })

  it('is the same one where another program wrote it, and what is gone from it has ended', async () => {
    const file = newFile()
    const [one, two] = [open(file), open(file)]
    await one.add(entry)
    await two.reload()
    await writeFile(file, JSON.stringify({ revocations: [] }))
    await one.add(other)
    await two.reload()
    assert.deepEqual(two.list.entries, [other])
  })

  it('is the same one where an earlier state was put back', async () => {
    const file = newFile()
    const store = open(file)
    await store.add(entry)
    await copyFile(file, `${file}.backup`)
    await store.add(other)
    await copyFile(`${file}.backup`, file)
    await store.reload()
    assert.deepEqual(store.list.entries, [entry])
  })
})

describe('what is no revocation file', () => {
  const cases: readonly (readonly [
    string,
    RegExp,
    (file: string) => Promise<unknown> | unknown,
  ])[] = [
    ['a folder', /is not a file/, (file) => mkdir(file)],
    ['a pipe that nobody writes to', /is not a file/, (file) => execFileSync('mkfifo', [file])],
    [
      'a file of gigabytes',
      /larger than 64 MiB/,
      async (file) => {
        await writeFile(file, '')
        await truncate(file, 5_000_000_000)
      },
    ],
    ['an empty file', /is not JSON/, (file) => writeFile(file, '')],
  ]
  for (const [what, problem, make] of cases) {
    it(`is ${what}: a start ends, and a service that runs keeps what it has`, async () => {
      const file = newFile()
      const store = open(file)
      await store.add(entry)
      await rm(file)
      await make(file)
      await assert.rejects(open(file).start(), problem)
      await assert.rejects(store.reload(), problem)
      await assert.rejects(store.add({ ...entry, kind: 'key', id: 'a-key' }), RevocationError)
      assert.deepEqual(store.list.entries, [entry])
    })
  }
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

describe('a disk that does not answer', () => {
  it('holds up nobody for ever, and what it has done by then is in force once it answers', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    let tellThatItHangs = () => {}
    const hangs = new Promise<void>((done) => {
      tellThatItHangs = done
    })
    let answer = () => {}
    const store = createRevocationStore(
      newFile(),
      () => now,
      undefined,
      () => {
        tellThatItHangs()
        return new Promise((done) => {
          answer = done
        })
      },
    )
    const other = '22222222-2222-4222-8222-222222222222'
    const first = store.add(entry)
    await hangs
    const both = Promise.allSettled([first, store.add({ ...entry, id: other })])
    t.mock.timers.tick(15_000)
    const errors = (await both).map((ended) => (ended as PromiseRejectedResult).reason)
    assert.match(errors[0].message, /does not answer: the change may still be made/)
    assert.match(errors[1].message, /does not answer: nothing was changed, try again/)
    assert.ok(errors.every(({ isTemporary }) => isTemporary))
    answer()
    await store.reload()
    assert.deepEqual(store.list.entries, [entry])
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

  /** Time that passes as soon as somebody waits. */
  function createTime() {
    const time = {
      nowMs: 0,
      monotonic: () => time.nowMs,
      wait: async (ms: number) => {
        time.nowMs += ms
      },
    }
    return time
  }

  it('of a container that is gone is waited for by a start without a file', async () => {
    const file = newFile()
    const time = createTime()
    await writeFile(`${file}.lock`, JSON.stringify({ place: 'elsewhere', pid: '1', start: '1' }))
    const store = createRevocationStore(file, () => now, undefined, undefined, time)
    await store.start()
    assert.deepEqual(parseFile(await readFile(file, 'utf8')), [])
    // The start-up probe of the chart gives up after 30 s.
    assert.ok(time.nowMs > 15_000 && time.nowMs < 20_000, `${time.nowMs} ms`)
  })

  it('of a container that is gone holds up no start with a copy for longer than a change', async () => {
    const file = newFile()
    await open(file).add(entry)
    await rm(file)
    const time = createTime()
    await writeFile(`${file}.lock`, JSON.stringify({ place: 'elsewhere', pid: '1', start: '1' }))
    const store = createRevocationStore(file, () => now, undefined, undefined, time)
    await store.start()
    assert.deepEqual(store.list.entries, [entry])
    assert.ok(time.nowMs < 6_000, `${time.nowMs} ms`)
  })

  it('counts as long as its owner changes, wherever that is', async () => {
    const path = `${newFile()}.lock`
    const time = createTime()
    let owner = 0
    const wait = async (ms: number) => {
      await time.wait(ms)
      await writeFile(path, JSON.stringify({ place: 'elsewhere', pid: String(owner++) }))
    }
    await writeFile(path, '')
    assert.equal(await takeFileLock(path, 20_000, { ...time, wait }), undefined)
  })

  it('of a copied machine, which has the same name, is not that of a process that ended', async () => {
    const file = newFile()
    const mine = await lockOwner(file)
    const place = mine.place?.replace(/ \S+$/, ' 3f0f9c52-9a47-4f0e-8a0b-0c4c6a1b7d11')
    assert.notEqual(place?.split(' ').length, 2)
    await writeFile(`${file}.lock`, JSON.stringify({ ...mine, place, start: '1' }))
    assert.equal(await takeFileLock(`${file}.lock`, 1_000, createTime()), undefined)
  })

  it('cannot be taken in a folder that cannot be written, which is said', async () => {
    const file = join(folder, 'missing-folder', 'r.json')
    await assert.rejects(open(file).add(entry), /cannot be written \(ENOENT\)/)
  })

  /** What this process writes into a lock. */
  async function lockOwner(file: string): Promise<{ place?: string }> {
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
