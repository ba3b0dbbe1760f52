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

/** What a policy says of a usual identity. */
function allowance() {
  return {
    allow: true,
    headers: ['X-Auth-Request-User', 'u'.repeat(980)],
    lines: undefined,
  } as const
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

  it('keeps fewer tokens in full that many policies spoke of', () => {
    const cache = createTokenCache(isUsable)
    const ask = (index: number) => {
      const cached = cache.getRecent(header(index)) ?? setTwice(cache, `${index}`, header(index))
      for (let i = 0; i < 100; i++) {
        cache.addOutcome(header(index), cached, `policy-${i}`, allowance())
      }
      return cached
    }
    const asked = Array.from({ length: 2_000 }, (_, index) => ask(index))
    const kept = asked.filter((_, index) => cache.getRecent(header(index)))
    const characters = kept
      .flatMap(({ outcomes }) => [...outcomes.values()])
      .flatMap((outcome) => (outcome.allow ? outcome.headers : []))
      .reduce((sum, text) => sum + text.length, 0)
    assert.ok(kept.length >= 40, `${kept.length} tokens`)
    assert.ok(3 * characters < 34 * 2 ** 20, `${characters} characters of ${kept.length} tokens`)
    assert.equal(cache.getRecent(header(1_999)), asked.at(-1))
  })

  it('counts a token that is used again with all that policies said of it', () => {
    const cache = createTokenCache(isUsable)
    const large = setTwice(cache, 'large', header(0))
    for (let i = 0; i < 300; i++) cache.addOutcome(header(0), large, `${i}`, allowance())
    // A third of a generation each time that it moves to the next.
    for (let index = 1; index < 40; index++) {
      const other = setTwice(cache, `${index}`, header(index))
      for (let i = 0; i < 300; i++) cache.addOutcome(header(index), other, `${i}`, allowance())
      assert.equal(cache.getRecent(header(0)), large)
    }
    const kept = Array.from({ length: 40 }, (_, index) => cache.getRecent(header(index)))
    assert.ok(kept.filter(Boolean).length < 40)
  })

  it('keeps for one token what some hundred policies said, and starts again beyond', () => {
    const cache = createTokenCache(isUsable)
    const cached = setTwice(cache, 'one', header(0))
    const sizes: number[] = []
    for (let i = 0; i < 2_000; i++) {
      cache.addOutcome(header(0), cached, `policy-${i}`, allowance())
      assert.ok(cached.outcomes.has(`policy-${i}`))
      sizes.push(cached.outcomes.size)
    }
    assert.ok(Math.max(...sizes) < 500, `${Math.max(...sizes)} outcomes`)
    assert.ok(Math.max(...sizes) > 200)
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
