import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Key } from '../../src/keys/key.ts'
import type { VerifiedToken } from '../../src/token/verify-token.ts'
import { createTokenCache } from '../../src/verify/token-cache.ts'

// The cache looks at nothing in it but the key.
const key = {} as Key
const token = { key } as VerifiedToken
const capacity = 100_000

function header(index: number): string {
  return `Bearer header.payload.${String(index).padStart(342, '0')}`
}

describe('the token cache', () => {
  it('finds a recent token by the whole header only', () => {
    const cache = createTokenCache()
    const cached = cache.set('first', header(1), token)
    assert.equal(cache.getRecent(header(1)), cached)
    assert.equal(cache.getRecent(header(1).replace('payload', 'another')), undefined)
    assert.equal(cache.getRecent(header(2)), undefined)
  })

  it('keeps one of two tokens whose signatures end in the same way', () => {
    const cache = createTokenCache()
    cache.set('one', 'Bearer one.0123456789abcdef', token)
    const other = cache.set('two', 'Bearer two.0123456789abcdef', token)
    assert.equal(cache.getRecent('Bearer one.0123456789abcdef'), undefined)
    assert.equal(cache.getRecent('Bearer two.0123456789abcdef'), other)
  })

  it('keeps in full what is asked for again, and lets go of what is not', () => {
    const cache = createTokenCache()
    const used = cache.set('used', header(0), token)
    cache.set('unused', header(1), token)
    for (let index = 2; index < 10_000; index++) {
      cache.set(String(index), header(index), token)
      assert.equal(cache.getRecent(header(0)), used)
    }
    assert.equal(cache.getRecent(header(1)), undefined)
    assert.equal(cache.getSigned('unused')?.key, key)
  })

  it('keeps fewer large tokens in full', () => {
    const cache = createTokenCache()
    const large = (index: number) => `${header(index)}${'A'.repeat(1024 * 1024)}${index}`
    for (let index = 0; index < 30; index++) cache.set(String(index), large(index), token)
    const kept = Array.from({ length: 30 }, (_, index) => cache.getRecent(large(index)))
    assert.ok(kept.filter(Boolean).length <= 18)
    assert.ok(kept.at(-1))
  })

  it('counts the tokens that made room for others', () => {
    const cache = createTokenCache()
    for (let index = 0; index < capacity + 2; index++) cache.set(`${index}`, header(index), token)
    assert.equal(cache.evictions, 2)
    assert.equal(cache.size, capacity)
    assert.equal(cache.getSigned('0'), undefined)
  })

  it('does not count those that were taken out or put in again', () => {
    const cache = createTokenCache()
    cache.set('first', header(1), token)
    cache.set('first', header(1), token)
    cache.delete('first', header(1))
    assert.equal(cache.evictions, 0)
    assert.equal(cache.size, 0)
    assert.equal(cache.getRecent(header(1)), undefined)
  })

  it('does not trust a signature of another key', () => {
    const cache = createTokenCache()
    cache.set('first', header(1), token)
    const other = {} as Key
    cache.set('first', header(1), { key: other } as VerifiedToken)
    assert.equal(cache.getSigned('first')?.key, other)
  })
})
