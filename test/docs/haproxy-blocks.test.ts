import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { haproxyFindings } from '../drift/fixture.ts'
import { haproxyBlocks, pagesWithBlocks, wholeConfig } from './haproxy-blocks.ts'

const blocks = pagesWithBlocks().flatMap((page) => haproxyBlocks(page))

// That each one starts, on every version of HAProxy: test/e2e/pages.test.ts.
describe('the HAProxy blocks of the pages', () => {
  it('are found, the one of the README too', () => {
    assert.ok(blocks.length >= 8)
    assert.ok(blocks.some(({ where }) => where.startsWith('README.md:')))
  })

  for (const block of blocks) {
    it(`have no drift: ${block.where}`, async () => {
      const { text, config } = await wholeConfig(block)
      assert.deepEqual(
        haproxyFindings(text, config).map(({ code, message }) => `${code}: ${message}`),
        [],
        text,
      )
    })
  }

  it('would have drift without the guard', async () => {
    const page =
      '```haproxy\nbackend orders\n    mode http\n    http-request lua.entra-auth orders\n    server app 10.0.0.21:8080\n```\n'
    const [block] = haproxyBlocks('page', page)
    assert.ok(block)
    const { text, config } = await wholeConfig(block)
    assert.deepEqual(
      haproxyFindings(text, config).map(({ code }) => code),
      ['guard-missing'],
    )
  })

  it('say where they belong in words that are known', async () => {
    const [block] = haproxyBlocks('page', '```haproxy somewhere\nmode http\n```\n')
    assert.ok(block)
    await assert.rejects(wholeConfig(block), /page:1: unknown place somewhere/)
  })
})
