import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { createTlsIdentity } from '../../src/dev-entra/tls.ts'
import { haproxyBlocks, pagesWithBlocks, wholeConfig } from '../docs/haproxy-blocks.ts'
import { checkWithHaproxy } from '../haproxy-config/haproxy-check.ts'

const { cert } = await createTlsIdentity(Date.now, randomBytes)

describe('the HAProxy blocks of the pages, on this HAProxy', () => {
  for (const block of pagesWithBlocks().flatMap((page) => haproxyBlocks(page))) {
    it(`start: ${block.where}`, async () => {
      const { text } = await wholeConfig(block)
      assert.equal((await checkWithHaproxy(text, cert)).problem, '', text)
    })
  }

  it('would not start with a rule that HAProxy does not know', async () => {
    const [block] = haproxyBlocks('page', '```haproxy backend\nhttp-request let-in\n```\n')
    assert.ok(block)
    const { text } = await wholeConfig(block)
    assert.match((await checkWithHaproxy(text)).problem, /let-in/)
  })
})
