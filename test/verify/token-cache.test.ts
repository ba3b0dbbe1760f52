import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Key } from '../../src/keys/key.ts'
import type { VerifiedToken } from '../../src/token/verify-token.ts'
import { createTokenCache, type TokenCache } from '../../src/verify/token-cache.ts'

// The cache looks at nothing in it but the key.
const key = {} as Key
const isUsable = () => true
const token = { key } as VerifiedToken
const capacity = 100_000

function header(index: number): string {
  return `Bearer header.payload.${String(index).padStart(342, '0')}`
}

/** Only a token that comes again is kept in full. */
function setTwice(cache: TokenCache, cacheKey: string, authorization: string) {
  cache.set(cacheKey, authorization, token)
  return cache.set(cacheKey, authorization, token)
}

describe('the token cache', () => {
  it('keeps a token in full from its second request on', () => {
    const cache = createTokenCache(isUsable)
    cache.set('first', header(1), token)
    assert.equal(cache.getRecent(header(1)), undefined)
    const cached = cache.set('first', header(1), token)
    assert.equal(cache.getRecent(header(1)), cached)
  })

  it('finds a recent token by the whole header only', () => {
    const cache = createTokenCache(isUsable)
    const cached = setTwice(cache, 'first', header(1))
    assert.equal(cache.getRecent(header(1)), cached)
    assert.equal(cache.getRecent(header(1).replace('payload', 'another')), undefined)
    assert.equal(cache.getRecent(header(2)), undefined)
  })

  it('keeps one of two tokens whose signatures end in the same way', () => {
    const cache = createTokenCache(isUsable)
    setTwice(cache, 'one', 'Bearer one.0123456789abcdef')
    const other = setTwice(cache, 'two', 'Bearer two.0123456789abcdef')
    assert.equal(cache.getRecent('Bearer one.0123456789abcdef'), undefined)
    assert.equal(cache.getRecent('Bearer two.0123456789abcdef'), other)
  })

  it('keeps full entries for tokens that are used again, and drops the others', () => {
    const cache = createTokenCache(isUsable)
    const used = setTwice(cache, 'used', header(0))
    setTwice(cache, 'unused', header(1))
    for (let index = 2; index < 10_000; index++) {
      setTwice(cache, String(index), header(index))
      assert.equal(cache.getRecent(header(0)), used)
    }
    assert.equal(cache.getRecent(header(1)), undefined)
    assert.equal(cache.getSigned('unused')?.key, key)
  })

  it('drops no full entry for tokens that are used once', () => {
    const cache = createTokenCache(isUsable)
    const used = setTwice(cache, 'used', header(0))
    for (let index = 1; index < 10_000; index++) cache.set(String(index), header(index), token)
    assert.equal(cache.getRecent(header(0)), used)
  })

  it('keeps a full entry for a token that is used twice within 4,000 others', () => {
    const cache = createTokenCache(isUsable)
    cache.set('seldom', header(0), token)
    for (let index = 1; index <= 4_000; index++) cache.set(String(index), header(index), token)
    cache.set('seldom', header(0), token)
    assert.equal(cache.getRecent(header(0)), undefined)
    for (let index = 1; index < 4_000; index++) cache.set(`new ${index}`, header(index), token)
    const cached = cache.set('seldom', header(0), token)
    assert.equal(cache.getRecent(header(0)), cached)
  })

  it('keeps fewer large tokens in full', () => {
    const cache = createTokenCache(isUsable)
    const large = (index: number) => `${header(index)}${'A'.repeat(1024 * 1024)}${index}`
    for (let index = 0; index < 30; index++) setTwice(cache, String(index), large(index))
    const kept = Array.from({ length: 30 }, (_, index) => cache.getRecent(large(index)))
    assert.ok(kept.filter(Boolean).length <= 18)
    assert.ok(kept.at(-1))
  })

  it('counts the tokens that made room for others', () => {
    const cache = createTokenCache(isUsable)
    for (let index = 0; index < capacity + 2; index++) cache.set(`${index}`, header(index), token)
    assert.equal(cache.evictions, 2)
    assert.equal(cache.size, capacity)
    assert.equal(cache.getSigned('0'), undefined)
  })

  it('does not count removed or replaced entries', () => {
    const cache = createTokenCache(isUsable)
    cache.set('first', header(1), token)
    cache.set('first', header(1), token)
    cache.delete('first', header(1))
    assert.equal(cache.evictions, 0)
    assert.equal(cache.size, 0)
    assert.equal(cache.getRecent(header(1)), undefined)
  })

  it('does not trust a signature of another key', () => {
    const cache = createTokenCache(isUsable)
    cache.set('first', header(1), token)
    const other = {} as Key
    cache.set('first', header(1), { key: other } as VerifiedToken)
    assert.equal(cache.getSigned('first')?.key, other)
  })
})
