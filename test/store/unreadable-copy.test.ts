import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { createDiskCopy } from '../../src/store/disk-copy.ts'
import { createSharedRevocations } from '../../src/store/shared-revocations.ts'
import { makeFolder } from '../serve/process.ts'

const nowMs = 1_800_000_000_000
const seconds = nowMs / 1_000
const lineOf = (id: string) =>
  `token ${id}\t${nowMs * 1_000} ${JSON.stringify({ kind: 'token', id, before: seconds, until: seconds + 3_600 })}`

/** A service that starts while the store is down. */
async function start(file: string): Promise<string> {
  const store = createSharedRevocations({
    connect: () => Promise.reject(new Error('refused')),
    copy: createDiskCopy(file),
    former: async () => [],
    now: () => nowMs,
    monotonic: () => 0,
    onNotice() {},
  })
  const said = await store.start().then(
    () => `${store.list.size} in force`,
    ({ message }: Error) => message,
  )
  await store.stop?.()
  return said
}

/** Whoever runs the service starts it again and again. */
async function assertNeverStarts(file: string): Promise<void> {
  for (let times = 0; times < 3; times++) {
    assert.match(await start(file), /no copy on disk that says for sure who was revoked/)
  }
}

describe('a copy on disk while the store is down', () => {
  for (const [what, line] of [
    ['is no line of a copy', 'of another program'],
    ['was damaged', lineOf('b').replace('"kind"', '"kin\0"')],
    ['is of a kind that a later version knows', lineOf('b').replaceAll('token', 'device')],
  ] as const) {
    it(`does not say who is revoked where a line ${what}`, async (t) => {
      const file = join(makeFolder(t), 'copy')
      writeFileSync(file, `whole\n${lineOf('a')}\n${line}\n${lineOf('c')}\n`)
      await assertNeverStarts(file)
    })
  }

  it('does not say who is revoked where it has been stale', async (t) => {
    const file = join(makeFolder(t), 'copy')
    writeFileSync(file, `stale\n${lineOf('a')}\n`)
    await assertNeverStarts(file)
  })

  it('does not come about where there was none', async (t) => {
    await assertNeverStarts(join(makeFolder(t), 'copy'))
  })

  it('does where a kill cut a line off that was added again', async (t) => {
    const file = join(makeFolder(t), 'copy')
    writeFileSync(file, `whole\n${lineOf('a')}\ntoken b\t1`)
    const copy = createDiskCopy(file)
    await copy.load()
    const [key = '', value = ''] = lineOf('b').split('\t')
    await copy.append([[key, value]])
    assert.equal(await start(file), '2 in force')
  })
})
