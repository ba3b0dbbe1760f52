import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import type { FailureCode } from '../../src/failure.ts'
import { assertAllowed, assertInvalidToken } from '../support/expect.ts'
import { ids, startSeconds as now } from '../support/ids.ts'
import { grants, startService, verify } from '../support/service.ts'
import { managedIdentity, v2User } from '../support/tokens.ts'

const audiences = [ids.api, `api://${ids.api}`]
const allow = [grants.user, grants.app]
const policies = {
  default: { audiences, allow },
  'one-hour': { audiences, allow, maxTokenLifetimeMinutes: 60 },
  uncached: { audiences, allow, cacheSeconds: 0 },
  'cached-long': { audiences, allow, cacheSeconds: 3600 },
  'as-others': { audiences, allow, cacheSeconds: 30 },
}
const service = await startService({ config: { policies } })
after(() => service.close())
const strict = await startService({ config: { policies, clockSkewSeconds: 0 } })
after(() => strict.close())

const hourAgo = now - 3600

function admits(what: string, times: object, policy = 'default', where = service): void {
  it(`admits ${what}`, async () => assertAllowed(await verify(where, policy, v2User({ ...times }))))
}

function refuses(
  what: string,
  times: object,
  reason: FailureCode,
  policy = 'default',
  where = service,
): void {
  it(`refuses ${what}`, async () =>
    assertInvalidToken(await verify(where, policy, v2User({ ...times })), reason))
}

describe('expiry', () => {
  const expired = (seconds: number) => ({ iat: hourAgo, nbf: hourAgo, exp: now - seconds })
  admits('a token that expired 299 s ago', expired(299))
  refuses('a token that expired 300 s ago', expired(300), 'token_expired')
  refuses('a token that expired 301 s ago', expired(301), 'token_expired')
  refuses('a token that expired in 1970', { iat: 0, nbf: 0, exp: 1 }, 'token_expired')
  admits('one second to live, without clock skew', expired(-1), 'default', strict)
  refuses(
    'a token that expires now, without clock skew',
    expired(0),
    'token_expired',
    'default',
    strict,
  )
})

describe('times ahead', () => {
  admits('nbf 300 s ahead', { nbf: now + 300 })
  refuses('nbf 301 s ahead', { nbf: now + 301 }, 'token_not_yet_valid')
  admits('iat 300 s ahead', { iat: now + 300, nbf: now })
  refuses('iat 301 s ahead', { iat: now + 301, nbf: now }, 'token_not_yet_valid')
  const soon = { iat: now - 600, exp: now - 200 }
  admits('nbf one second before exp', { ...soon, nbf: now - 201 })
  refuses('nbf at exp', { ...soon, nbf: now - 200 }, 'claim_malformed')
  refuses('nbf later than exp, both within the skew', { ...soon, nbf: now }, 'claim_malformed')
  refuses('nbf later than exp, both ahead', { nbf: now + 9000 }, 'claim_malformed')
  admits('nbf now, without clock skew', { nbf: now }, 'default', strict)
  refuses(
    'nbf one second ahead, without clock skew',
    { nbf: now + 1 },
    'token_not_yet_valid',
    'default',
    strict,
  )
  refuses(
    'times in milliseconds',
    { iat: now * 1000, nbf: now * 1000, exp: now * 1000 + 1 },
    'token_not_yet_valid',
  )
  refuses('exp in milliseconds', { exp: (now + 3600) * 1000 }, 'token_lifetime_too_long')
})

describe('times that contradict each other or are no times', () => {
  const malformed = (what: string, times: object, where = service) =>
    refuses(what, times, 'claim_malformed', 'default', where)
  for (const [name, where] of [
    ['', service],
    [', without clock skew', strict],
  ] as const) {
    malformed(`exp before iat${name}`, { iat: now, nbf: now - 10, exp: now - 1 }, where)
    malformed(`exp at iat${name}`, { iat: now, nbf: now - 10, exp: now }, where)
    malformed(`exp at nbf, both in 1970${name}`, { iat: 0, nbf: 1, exp: 1 }, where)
    malformed(`exp before nbf, iat right${name}`, { iat: now, nbf: now + 60, exp: now + 30 }, where)
    malformed(`exp before iat where nbf is absent${name}`, { nbf: undefined, exp: hourAgo }, where)
  }
  for (const [name, value] of [
    ['2 ** 53', 2 ** 53],
    ['1e300', 1e300],
    ['the largest number', Number.MAX_VALUE],
    ['a small fraction', now + 1e-3],
    ['minus the largest whole number', Number.MIN_SAFE_INTEGER],
    ['text with an exponent', '1e10'],
    ['a number in hexadecimal as text', '0x7fffffff'],
  ] as const) {
    for (const claim of ['exp', 'iat', 'nbf']) malformed(`${claim} ${name}`, { [claim]: value })
  }
  refuses(
    'the largest whole number as exp',
    { exp: Number.MAX_SAFE_INTEGER },
    'token_lifetime_too_long',
  )
  refuses(
    'the largest whole numbers as all three',
    {
      iat: Number.MAX_SAFE_INTEGER - 1,
      nbf: Number.MAX_SAFE_INTEGER - 1,
      exp: Number.MAX_SAFE_INTEGER,
    },
    'token_not_yet_valid',
  )
  admits('nbf long before iat', { nbf: 0 })
})

describe('lifetime', () => {
  const lasting = (seconds: number) => ({
    iat: now - 300,
    nbf: now - 300,
    exp: now - 300 + seconds,
  })
  admits('a token of exactly the limit', lasting(3600), 'one-hour')
  refuses('a token of one second more', lasting(3601), 'token_lifetime_too_long', 'one-hour')
  admits('a token of 25 hours by default', lasting(1500 * 60))
  refuses(
    'a token of 25 hours and a second by default',
    lasting(1500 * 60 + 1),
    'token_lifetime_too_long',
  )
  it('of a managed identity, 24 hours and 5 minutes, is admitted by default', async () =>
    assertAllowed(await verify(service, 'default', managedIdentity())))
})

describe('the time for which an allow may be kept', () => {
  const ofAction = async (times: object, policy: string) => {
    const reply = await verify(service, policy, {
      Authorization: `Bearer ${v2User({ ...times })}`,
      'X-Entra-Auth-Prepared': '2',
    })
    assert.equal(reply.status, 200)
    return reply.headers['cache-control']
  }
  const maxAge = async (times: object, policy: string) => {
    const reply = await verify(service, policy, v2User({ ...times }))
    assertAllowed(reply)
    assert.equal(reply.headers.vary, 'Authorization')
    return reply.headers['cache-control']
  }
  const untilExpiry = (seconds: number) => ({
    iat: hourAgo,
    nbf: hourAgo,
    exp: now - 300 + seconds,
  })
  it('is that of the policy', async () => {
    assert.equal(await maxAge({}, 'default'), 'private, max-age=30')
    assert.equal(await maxAge({}, 'uncached'), 'private, max-age=0')
    assert.equal(await maxAge({}, 'cached-long'), 'private, max-age=3600')
  })
  it('ends with the token and the clock skew', async () => {
    assert.equal(await maxAge(untilExpiry(29), 'default'), 'private, max-age=29')
    assert.equal(await maxAge(untilExpiry(1), 'default'), 'private, max-age=1')
    assert.equal(await maxAge(untilExpiry(31), 'default'), 'private, max-age=30')
  })
  it('is longer for the action, which hears of revocations, in words that others ignore', async () => {
    const usual = 'private, max-age=30, entra-auth-max-age'
    assert.equal(await ofAction({}, 'default'), `${usual}=300`)
    assert.equal(await ofAction(untilExpiry(301), 'default'), `${usual}=300`)
    assert.equal(await ofAction(untilExpiry(299), 'default'), `${usual}=299`)
    assert.equal(await ofAction(untilExpiry(31), 'default'), `${usual}=31`)
    assert.equal(await ofAction(untilExpiry(30), 'default'), 'private, max-age=30')
    assert.equal(await ofAction(untilExpiry(1), 'default'), 'private, max-age=1')
  })
  it('is the same for all where the policy says a time', async () => {
    assert.equal(await ofAction({}, 'uncached'), 'private, max-age=0')
    assert.equal(await ofAction({}, 'cached-long'), 'private, max-age=3600')
    assert.equal(await ofAction({}, 'as-others'), 'private, max-age=30')
  })
})
