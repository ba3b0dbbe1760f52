import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HeaderField } from '../../scripts/demo/call.ts'
import { findDifferences } from '../../scripts/demo/check.ts'
import { readIdentity } from '../../scripts/demo/identity.ts'
import { identityOf } from '../../scripts/demo/tour.ts'

const alice = identityOf('alice', 'user')
const verified: readonly HeaderField[] = [
  ['x-auth-request-user', alice.user],
  ['x-auth-request-tenant', alice.tenant],
  ['x-auth-request-actor', alice.actor],
  ['x-auth-request-client', alice.client],
  ['x-auth-request-scopes', alice.scopes],
  ['x-auth-request-name', 'Alice Anders'],
]
const allowed = { status: 200, application: alice }
const refused = { status: 403, reason: 'scope_missing' }

function differencesOf(...headers: readonly (readonly HeaderField[])[]): string[] {
  const seen = headers.map(readIdentity)
  return findDifferences(allowed, { status: 200, reason: undefined, seen })
}

test('the verified identity and nothing else is as expected', () => {
  assert.deepEqual(differencesOf(verified), [])
})

test('a refusal that never reached the application is as expected', () => {
  assert.deepEqual(findDifferences(refused, { ...refused, seen: [] }), [])
})

test('a refusal that reached the application differs', () => {
  const seen = [readIdentity([])]
  assert.equal(findDifferences(refused, { ...refused, seen }).length, 1)
})

test('another status and another reason differ, each by itself', () => {
  const observed = { status: 401, reason: 'token_expired', seen: [] }
  assert.deepEqual(findDifferences(refused, observed), [
    'status: expected 403, found 401',
    'reason: expected scope_missing, found token_expired',
  ])
})

test('a reason where none belongs differs', () => {
  const seen = [readIdentity(verified)]
  assert.deepEqual(findDifferences(allowed, { status: 200, reason: 'scope_missing', seen }), [
    'reason: expected none, found scope_missing',
  ])
})

test('an allowed request that the application never saw differs', () => {
  assert.deepEqual(differencesOf(), ['requests at the application: expected 1, found 0'])
})

test('a request that the application saw twice differs', () => {
  assert.deepEqual(differencesOf(verified, verified), [
    'requests at the application: expected 1, found 2',
  ])
})

for (const name of ['X-Auth-Request-User', 'X_Auth_Request_User', 'x-auth.request-user']) {
  test(`${name} beside the verified user differs`, () => {
    const differences = differencesOf([...verified, [name, 'carol']])
    assert.ok(
      differences.includes(
        `X-Auth-Request user: expected ${alice.user}, found ${alice.user}, carol`,
      ),
    )
  })
}

test('a role that no token gave differs', () => {
  assert.deepEqual(differencesOf([...verified, ['X-Auth-Request-Roles', 'Orders.Admin']]), [
    'X-Auth-Request roles: expected none, found Orders.Admin',
  ])
})

test('an identity header that the verifier does not know differs', () => {
  const differences = differencesOf([...verified, ['X_Auth_Request_Superuser', 'yes']])
  assert.match(differences.join(), /nobody verified: X_Auth_Request_Superuser/)
})

test('a header of the verifier itself that reaches the application differs', () => {
  const differences = differencesOf([...verified, ['X-Entra-Auth-Verdict', 'allow']])
  assert.match(differences.join(), /nobody verified: X-Entra-Auth-Verdict/)
})

test('an identity header that Connection names counts as dropped', () => {
  const differences = differencesOf([...verified, ['Connection', 'close, X-Auth-Request-User']])
  assert.deepEqual(differences, [`X-Auth-Request user: expected ${alice.user}, found none`])
})
