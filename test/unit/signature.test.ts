import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Key } from '../../src/keys/key.ts'
import { createSignatureEngine } from '../../src/token/signature.ts'
import { tenantKey } from '../support/authority.ts'
import { ids, startSeconds } from '../support/ids.ts'
import { impostorOf, type SigningKey } from '../support/signing-keys.ts'
import { readToken, signWith, v2User } from '../support/tokens.ts'

const engine = createSignatureEngine()
const signer = tenantKey(ids.contoso)

function keyOf({ id, publicKey }: SigningKey): Key {
  const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string
  return { id, pem, lastSeenMs: 0, missingReplies: 0, withdrawn: false }
}

const key = keyOf(signer)
const { header, claims } = readToken(v2User())

describe('the signature engine', () => {
  it('takes what the key signed, again and again', async () => {
    assert.equal(await engine.verify(key, v2User()), true)
    assert.equal(await engine.verify(key, v2User()), true)
  })
  it('keeps a bounded number of verifiers, and makes one again that had to go', async () => {
    const bounded = createSignatureEngine()
    assert.equal(await bounded.verify(key, v2User()), true)
    const decoys = Array.from({ length: 70 }, (_, i) => ({
      ...key,
      pem: `${key.pem}${'\n'.repeat(i)}`,
    }))
    for (const decoy of decoys) assert.equal(await bounded.verify(decoy, v2User()), true)
    assert.equal(bounded.size, 64)
    assert.equal(await bounded.verify(key, v2User()), true)
  })
  it('shares a verifier between tenants that publish the same key', async () => {
    const shared = createSignatureEngine()
    for (let i = 0; i < 5; i++) assert.equal(await shared.verify({ ...key }, v2User()), true)
    assert.equal(shared.size, 1)
  })
  it('leaves the stack traces of others as they were', async () => {
    const { stackTraceLimit } = Error
    for (const token of [v2User(), v2User({}, { key: impostorOf(signer) }), 'x']) {
      await engine.verify(key, token)
      assert.equal(Error.stackTraceLimit, stackTraceLimit)
    }
    assert.ok(stackTraceLimit > 0)
  })
  it('looks at no time, which is for the claims stage to judge', async () => {
    assert.equal(await engine.verify(key, v2User({ exp: 1 })), true)
    assert.equal(await engine.verify(key, v2User({ nbf: startSeconds * 2 })), true)
  })
  it('refuses what another key signed under the same id', async () => {
    assert.equal(await engine.verify(keyOf(impostorOf(signer)), v2User()), false)
    assert.equal(await engine.verify(key, v2User({}, { key: impostorOf(signer) })), false)
  })
  for (const alg of ['RS384', 'RS512', 'PS256', 'PS512']) {
    it(`refuses ${alg} by the genuine key`, async () =>
      assert.equal(
        await engine.verify(key, signWith(alg, header, claims, signer.privateKey)),
        false,
      ))
  }
  for (const token of ['', 'x', '..', 'a.b.c', v2User().slice(0, -1)]) {
    it(`refuses the text ${JSON.stringify(token.slice(-8))}`, async () =>
      assert.equal(await engine.verify(key, token), false))
  }
})
