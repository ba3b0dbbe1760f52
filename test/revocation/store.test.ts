import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import {
  maxRevocations,
  parseRevocation,
  type Revocation,
} from '../../src/revocation/revocation.ts'
import {
  createRevocationStore,
  parseFile,
  RevocationError,
} from '../../src/revocation/revocation-store.ts'

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

  it('drops what has ended with the next change', async () => {
    const file = newFile()
    const store = open(file)
    await store.add({ ...entry, until: now / 1000 })
    await store.add({ ...entry, kind: 'key', id: 'a-key' })
    assert.deepEqual(
      parseFile(await readFile(file, 'utf8')).map(({ kind }) => kind),
      ['key'],
    )
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
