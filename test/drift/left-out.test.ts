/** Each line of the printed and the shipped configuration, left out: drift says so, or nobody gets past. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { shippedConfig } from '../../scripts/local-stack/haproxy.ts'
import { printHaproxyConfig } from '../../src/haproxy/print.ts'
import { configOf, signInFile } from '../config/fixture.ts'
import { haproxyFindings } from './fixture.ts'
import { harmless, linesWithSections } from './harmless-lines.ts'

const config = await configOf(signInFile)
const metadataPaths = ['/.well-known/oauth-protected-resource/orders']
const texts = {
  printed: printHaproxyConfig({ config, verifier: '127.0.0.1:8080', metadataPaths }),
  shipped: readFileSync(shippedConfig, 'utf8'),
}

for (const [name, text] of Object.entries(texts)) {
  const lines = linesWithSections(text)
  const raw = text.split('\n')

  describe(`a line left out of the ${name} configuration`, () => {
    it('is found, or stands in the table of those without which nobody gets past', () => {
      const wrong = lines.flatMap(({ index, line }) => {
        const found = haproxyFindings(raw.toSpliced(index, 1).join('\n'), config)
        const isHarmless = harmless.some(([pattern]) => pattern.test(line))
        if (found.length > 0 !== isHarmless) return []
        return [`${isHarmless ? found.map(({ code }) => code).join() : 'not found'}: ${line}`]
      })
      assert.deepEqual(wrong, [])
    })
  })
}

describe('the table of lines that may be left out', () => {
  it('has no row that fits no line', () => {
    const lines = Object.values(texts).flatMap(linesWithSections)
    const unused = harmless.filter(([pattern]) => !lines.some(({ line }) => pattern.test(line)))
    assert.deepEqual(unused, [])
  })
})
