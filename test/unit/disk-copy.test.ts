import assert from 'node:assert/strict'
import { appendFileSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { createDiskCopy } from '../../src/store/disk-copy.ts'
import { makeFolder } from '../serve/process.ts'

describe('the copy of the store on disk', () => {
  it('keeps what is added after a line that a kill cut off', async (t) => {
    const file = join(makeFolder(t), 'revocations.store')
    await createDiskCopy(file).rewrite([['user a', '1{}']])
    appendFileSync(file, 'user b\t2{"ki')
    const copy = createDiskCopy(file)
    assert.deepEqual(await copy.load(), { lines: [['user a', '1{}']], isWhole: true })
    await copy.append([['user c', '3{}']])
    await copy.append([['user d', '4{}']])
    const { lines } = await createDiskCopy(file).load()
    assert.deepEqual(lines, [
      ['user a', '1{}'],
      ['user c', '3{}'],
      ['user d', '4{}'],
    ])
  })

  it('is rewritten in a temporary file whose name nobody can take first', async (t) => {
    const folder = makeFolder(t)
    const [file, other] = [join(folder, 'copy'), join(folder, 'other')]
    writeFileSync(other, 'of somebody else')
    symlinkSync(other, `${file}.new`)
    await createDiskCopy(file).rewrite([['user a', '1{}']])
    assert.equal(readFileSync(other, 'utf8'), 'of somebody else')
    assert.equal(readFileSync(file, 'utf8'), 'whole\nuser a\t1{}\n')
  })

  it('has the lines added during a rewrite, and leaves no temporary file', async (t) => {
    const folder = makeFolder(t)
    const file = join(folder, 'copy')
    writeFileSync(join(folder, 'copy.0b0f3cf2-5b3e-4d0a-9f6e-7d2a0c8f1a11.new'), 'of a kill')
    const copy = createDiskCopy(file)
    await copy.load()
    await copy.rewrite([['user a', '1{}']])
    const adding: Promise<void>[] = []
    await copy.rewrite(
      (function* (): Iterable<[string, string]> {
        for (let i = 0; i < 20_000; i++) {
          if (i % 4_000 === 0) adding.push(copy.append([[`user added-${i}`, '2{}']]))
          yield [`user ${i}`, '1{}']
        }
      })(),
    )
    await Promise.all(adding)
    const { isWhole, lines } = await createDiskCopy(file).load()
    assert.ok(isWhole)
    assert.equal(new Map(lines).size, 20_005)
    // A line added in the last moments may stand in it twice.
    assert.ok(lines.length <= 20_010, `${lines.length} lines`)
    assert.ok(copy.length >= 20_006 && copy.length <= 20_011, `a length of ${copy.length}`)
    assert.deepEqual(readdirSync(folder), ['copy'])
  })

  it('that was marked is read, and does not pass for all', async (t) => {
    const file = join(makeFolder(t), 'copy')
    const copy = createDiskCopy(file)
    await copy.rewrite([['user a', '1{}']])
    await copy.markStale()
    assert.deepEqual(await createDiskCopy(file).load(), {
      lines: [['user a', '1{}']],
      isWhole: false,
    })
  })
})
