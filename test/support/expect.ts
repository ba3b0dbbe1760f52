import assert from 'node:assert/strict'
import type { FailureCode } from '../../src/failure.ts'
import type { Reply } from './service.ts'

/** The answer is an explicit allow. */
export function assertAllowed(reply: Reply): void {
  assert.equal(reply.reason, undefined, `refused: ${reply.reason}`)
  assert.equal(reply.status, 200)
  assert.equal(reply.headers['x-entra-auth-verdict'], 'allow')
  assert.equal(reply.body, '')
  assert.equal(reply.challenge, undefined)
}

/** **C**: no credentials were sent, which is no error of a token (RFC 6750 section 3.1). */
export function assertChallenged(reply: Reply): void {
  assertRefused(reply, 401, undefined, 'no_credentials')
  assert.ok(reply.challenge, 'no WWW-Authenticate')
}

/** **IR**: 400 `invalid_request`. */
export function assertInvalidRequest(reply: Reply, reason: FailureCode): void {
  assertRefused(reply, 400, 'invalid_request', reason)
}

/** **IT**: 401 `invalid_token`. */
export function assertInvalidToken(reply: Reply, reason: FailureCode): void {
  assertRefused(reply, 401, 'invalid_token', reason)
}

/** **IS**: 403 `insufficient_scope`. */
export function assertInsufficientScope(reply: Reply, reason: FailureCode): void {
  assertRefused(reply, 403, 'insufficient_scope', reason)
}

/** **IC**: 401 `insufficient_claims`; returns the decoded claims of the challenge. */
export function assertInsufficientClaims(reply: Reply, reason: FailureCode): unknown {
  assertRefused(reply, 401, 'insufficient_claims', reason)
  return JSON.parse(Buffer.from(reply.challenge?.claims ?? '', 'base64').toString('utf8'))
}

/** 503: no verdict is possible now, which is no fault of the token. */
export function assertUnavailable(reply: Reply): void {
  assertRefused(reply, 503, undefined, 'keys_unavailable')
  assert.match(reply.headers['retry-after'] ?? '', /^[1-9]\d*$/)
  assert.equal(reply.challenge, undefined)
}

/** Any other refusal: status, OAuth error and reason code, in header, challenge and body alike. */
export function assertRefused(
  reply: Reply,
  status: number,
  error: string | undefined,
  reason: FailureCode,
): void {
  assert.equal(reply.reason, reason)
  assert.equal(reply.status, status)
  assert.equal(reply.challenge?.error, error)
  assert.equal(reply.headers['x-entra-auth-verdict'], status === 503 ? 'unavailable' : 'deny')
  assert.equal(reply.headers['cache-control'], 'no-store')
  const identity = Object.keys(reply.headers).filter((name) =>
    /^(x-auth-request|remote|x-ms|x-entra-auth-(user|tenant|client|actor|token|issued|key))/.test(
      name,
    ),
  )
  assert.deepEqual(identity, [], 'a refusal carries no identity')
  const body = JSON.parse(reply.body) as Record<string, unknown>
  assert.equal(body.reason, reason)
  assert.equal(body.error, error ?? reason)
}
