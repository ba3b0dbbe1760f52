import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createSealingKey, open, seal } from '../../src/session/sealing.ts'
import { keysOf } from '../support/sessions.ts'

const keys = keysOf('old', 'new')
const text = 'a text of some length, with an ümlaut'
const sealed = seal(keys, 'session', text) ?? ''

describe('a sealed text', () => {
  it('opens as what it was', () => {
    assert.equal(open(keys, 'session', sealed), text)
  })

  it('is another one each time', () => {
    assert.notEqual(seal(keys, 'session', text), sealed)
  })

  it('does not open for another purpose', () => {
    for (const purpose of ['login', 'state'] as const) {
      assert.equal(open(keys, purpose, sealed), undefined)
    }
  })

  it('does not open when any character is another one', () => {
    for (let i = 0; i < sealed.length; i++) {
      for (const character of ['A', 'B', '-', '=', '%', ' ', '+']) {
        const changed = sealed.slice(0, i) + character + sealed.slice(i + 1)
        if (changed !== sealed) assert.equal(open(keys, 'session', changed), undefined, changed)
      }
    }
  })

  it('does not open when it is cut, doubled, padded or much too long', () => {
    for (let end = 0; end < sealed.length; end++) {
      assert.equal(open(keys, 'session', sealed.slice(0, end)), undefined)
    }
    for (const other of [sealed + sealed, `${sealed}=`, ` ${sealed}`, sealed.repeat(100)]) {
      assert.equal(open(keys, 'session', other), undefined)
    }
  })

  it('opens with each key of the folder, and with no other', () => {
    const old = seal(keysOf('old'), 'session', text) ?? ''
    assert.equal(open(keys, 'session', old), text)
    assert.equal(open(keysOf('new'), 'session', old), undefined)
  })

  it('does not open under the id of another key', () => {
    const old = Buffer.from(seal(keysOf('old'), 'session', text) ?? '', 'base64url')
    const mixed = Buffer.concat([Buffer.from(sealed, 'base64url').subarray(0, 6), old.subarray(6)])
    assert.equal(open(keys, 'session', mixed.toString('base64url')), undefined)
  })

  it('is not made without a key', () => {
    assert.equal(seal({ sealing: undefined, get: () => undefined }, 'session', text), undefined)
  })
})

describe('a sealing key', () => {
  it('has its own id, and an id for each purpose that reveals nothing about the key', () => {
    const key = createSealingKey(Buffer.alloc(32, 1))
    assert.match(key.id, /^[\w-]{8}$/)
    assert.notEqual(key.id, createSealingKey(Buffer.alloc(32, 2)).id)
    assert.ok(!key.keyFor('session').export().includes(Buffer.from(key.id, 'base64url')))
    assert.equal(key.keyFor('session').equals(key.keyFor('login')), false)
    assert.equal(key.keyFor('session'), key.keyFor('session'))
  })
})
