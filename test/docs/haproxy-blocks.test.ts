import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
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

/** Settings of `global` that each configuration has in its own way. */
const ownOf = ['log', 'maxconn', 'hard-stop-after']

describe('the list of what to copy, in haproxy-lua/README.md', () => {
  const read = (file: string) =>
    readFileSync(new URL(`../../haproxy-lua/${file}`, import.meta.url), 'utf8')
  const [, list = ''] = /^2\. Copy these parts.*?\n(.*?)^3\. /ms.exec(read('README.md')) ?? []
  const sectionOf = (name: string) =>
    new RegExp(`^${name}\\n(.*?)^[a-z]`, 'ms').exec(read('haproxy.cfg'))?.[1] ?? ''

  it('names each setting of the section global', () => {
    const settings = sectionOf('global')
      .split('\n')
      .map((line) => line.trim().split(' ')[0] ?? '')
      .filter((word) => /^[a-z]/.test(word) && !ownOf.includes(word))
    assert.ok(settings.includes('zero-warning'))
    const left = settings.filter((word) => !list.includes(`\`${word}\``))
    assert.deepEqual(left, [])
    // A condition goes with the setting in it.
    assert.ok(list.includes('`tune.lua.bool-sample-conversion` with its `.if`'))
  })

  it('names each option of the section defaults', () => {
    const options = [...sectionOf('defaults').matchAll(/^ +((?:no )?option .*)$/gm)]
      .map(([, option = '']) => option)
      .filter((option) => option !== 'option dontlognull')
    assert.ok(options.length >= 2)
    assert.deepEqual(
      options.filter((option) => !list.includes(`\`${option}\``)),
      [],
    )
  })
})
