import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { readReturnPath } from '../../src/sign-in/return-path.ts'
import { harmless, spellings } from './return-paths.ts'

describe('rd', () => {
  it(`is / in each of ${spellings.length} other spellings`, () => {
    assert.ok(spellings.length >= 150)
    for (const rd of spellings) assert.equal(readReturnPath(rd), '/', JSON.stringify(rd))
  })

  it('that is a path on this host stays as it is', () => {
    for (const rd of harmless) assert.equal(readReturnPath(rd), rd)
  })

  it('twice, or as anything but text, is /', () => {
    for (const rd of [['/a', '/b'], ['/a'], undefined, null, 1, {}]) {
      assert.equal(readReturnPath(rd), '/')
    }
  })

  it('with a dot or two as a part of its path is /', () => {
    for (const rd of ['/.', '/..', '/a/.', '/a/..', '/a/../b', '/a/./b', '/a/..;x', '/a/%2e%2E']) {
      assert.equal(readReturnPath(rd), '/', rd)
    }
  })

  it('that is encoded again and again is /, as a proxy behind may decode it', () => {
    assert.equal(readReturnPath('/%2525252525252e'), '/')
    assert.equal(readReturnPath('/%252520x'), '/%252520x')
    assert.equal(readReturnPath('/%25252520x'), '/')
  })

  it('does not lead back into the sign-in', () => {
    for (const rd of [
      '/oauth2',
      '/oauth2?a=b',
      '/oauth2/start',
      '/OAuth2/sign_out',
      '/%6fauth2/start',
      '/oauth2%2fstart',
    ]) {
      assert.equal(readReturnPath(rd), '/')
    }
  })
})
