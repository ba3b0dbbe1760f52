import assert from 'node:assert/strict'
import { appendFileSync } from 'node:fs'
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
    assert.deepEqual(
      lines.filter(([key]) => key !== 'user b'),
      [
        ['user a', '1{}'],
        ['user c', '3{}'],
        ['user d', '4{}'],
      ],
    )
  })
})
