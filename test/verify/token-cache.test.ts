import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { VerifiedToken } from '../../src/token/verify-token.ts'
import { createTokenCache } from '../../src/verify/token-cache.ts'

// The cache looks at nothing in it.
const token = {} as VerifiedToken
/** More than half of what the cache holds. */
const half = 100 * 1024 * 1024

describe('the token cache', () => {
  it('counts the tokens that made room for others', () => {
    const cache = createTokenCache()
    cache.set('first', token, half)
    assert.equal(cache.evictions, 0)
    cache.set('second', token, half)
    cache.set('third', token, half)
    assert.equal(cache.evictions, 2)
    assert.equal(cache.size, 1)
  })

  it('does not count those that were taken out or put in again', () => {
    const cache = createTokenCache()
    cache.set('first', token, half)
    cache.set('first', token, half)
    cache.delete('first')
    assert.equal(cache.evictions, 0)
  })
})
