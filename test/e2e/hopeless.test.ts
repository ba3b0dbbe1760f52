/** Credentials that the verifier could only refuse by their form, and what they cost. */
import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { after, before, describe, it } from 'node:test'
import { type FailureCode, failures } from '../../src/failure.ts'
import { parseBearer } from '../../src/token/bearer.ts'
import { createChallenge, createRefusalBody } from '../../src/verify/challenge.ts'
import { eventually } from '../support/eventually.ts'
import { type CacheStack, readMetrics, startCacheStack } from './cache-stack.ts'
import { values } from './client.ts'
import { deny, revocations } from './fake-verifier.ts'

const metadata = 'https://app.example/.well-known/oauth-protected-resource/orders'
const challengeOf = (failure: FailureCode) =>
  createChallenge({ allow: false, failure }, metadata) ?? assert.fail(failure)
/** What the verifier refuses by itself: a policy on probation, or one that takes sessions, is not in the list. */
const refusing = revocations([], 'version-1', { orders: challengeOf('no_credentials') })

const limit = 5
const malformed = [
  'Bearer',
  'bearer',
  'Bearer a,b',
  'Bearer a b',
  'BEARER   a, Bearer b',
  'Bearer a, DPoP b',
  'Bearer,a',
  '"Bearer" a',
  `Bearer ${'a'.repeat(9000)},${'b'.repeat(3000)}`,
]

describe('credentials that are no token', () => {
  let stack: CacheStack
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  before(async () => {
    stack = await startCacheStack({
      feed: refusing,
      env: { ENTRA_AUTH_BAD_TOKENS_PER_10S: String(limit) },
    })
    await stack.morePolls(2)
  })
  after(() => {
    agent.destroy()
    return stack.stop()
  })

  for (const credentials of malformed) {
    it(`get the verifier's refusal without a call: ${credentials.slice(0, 30)}`, async () => {
      assert.deepEqual(parseBearer(credentials), { ok: false, failure: 'malformed_credentials' })
      const reply = await stack.ask({ agent, headers: [['Authorization', credentials]] })
      assert.equal(reply.status, failures.malformed_credentials.status)
      assert.deepEqual(values(reply, 'www-authenticate'), [challengeOf('malformed_credentials')])
      assert.deepEqual(values(reply, 'x-entra-auth-reason'), ['malformed_credentials'])
      const { request_id: id } = JSON.parse(reply.body)
      assert.equal(`${reply.body}\n`, createRefusalBody('malformed_credentials', 'orders', id))
      const line = await stack.haproxy.waitForLog((one) => one.startsWith(`request_id=${id} `))
      assert.match(line, / status=400 .* reason=malformed_credentials /)
      assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
    })
  }

  it('are counted as refusals, and never stop good tokens of the same address', async () => {
    const send = () => stack.ask({ agent, headers: [['Authorization', 'Bearer a,b']] })
    for (let index = 0; index < limit * 3; index++) await send()
    // A thread shows what it counted with a request after its next poll.
    await eventually(
      async () => {
        await send()
        return (await readMetrics(stack)).get('refusals_total{reason="malformed_credentials"}')
      },
      (refusals) => (refusals ?? 0) >= limit * 3,
    )
    assert.equal((await stack.askFor('good')).status, 200)
  })

  for (const [what, headers, failure] of [
    [
      'two headers',
      [
        ['Authorization', 'Bearer a'],
        ['Authorization', 'Bearer b'],
      ],
      'ambiguous_credentials',
    ],
    [
      'a token that is too long',
      [['Authorization', `Bearer ${'a'.repeat(16_385)}`]],
      'token_too_long',
    ],
    ['no header', [], 'no_credentials'],
    ['another scheme', [['Authorization', 'DPoP a.b.c']], 'no_credentials'],
    ['two of another scheme', [['Authorization', 'Basic a, Basic b']], 'no_credentials'],
  ] as const) {
    it(`have the challenge of the verifier too where it is ${what}`, async () => {
      stack.reset()
      const reply = await stack.ask({ headers })
      assert.equal(reply.status, failures[failure].status)
      assert.deepEqual(values(reply, 'www-authenticate'), [challengeOf(failure)])
      assert.deepEqual(values(reply, 'x-entra-auth-reason'), [failure])
      assert.equal(stack.verifier.calls.length + stack.app.requests.length, 0)
    })
  }
})

describe('credentials that are no token, where the verifier may admit them', () => {
  it('are asked about, and count as bad tokens once it refuses them', async (t) => {
    // A policy on probation admits them, and its challenge is not in the feed.
    const stack = await startCacheStack({ env: { ENTRA_AUTH_BAD_TOKENS_PER_10S: String(limit) } })
    t.after(() => stack.stop())
    await stack.morePolls(2)
    const send = (index: number) => stack.ask({ headers: [['Authorization', `Bearer a,${index}`]] })
    assert.equal((await send(0)).status, 200)
    stack.verifier.script = () => deny(400, 'malformed_credentials')
    // Not the first one again: its allow may be in the cache.
    for (let index = 1; index <= limit + 1; index++) {
      assert.equal((await send(index)).status, 400)
    }
    const calls = stack.verifier.calls.length
    const refusal = await send(limit + 2)
    assert.equal(refusal.status, 429)
    assert.deepEqual(values(refusal, 'x-entra-auth-reason'), ['too_many_bad_tokens'])
    assert.equal(stack.verifier.calls.length, calls)
  })
})
