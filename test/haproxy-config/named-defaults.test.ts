import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { checkWithHaproxy } from './haproxy-check.ts'

const read = (file: string) =>
  readFileSync(new URL(`../../haproxy-lua/${file}`, import.meta.url), 'utf8')

describe('the section entra-verifier beside named defaults', () => {
  // HAProxy 2.6 only reports it; newer versions do not start, with zero-warning.
  it('needs the word from, as the README says: without it, HAProxy reports a mixed use', async () => {
    assert.match(read('README.md'), /`listen entra-verifier from NAME`/)
    const [, listen] = /^listen entra-verifier\n(.*?)^[a-z]/ms.exec(read('haproxy.cfg')) ?? []
    assert.ok(listen)
    const config = (from: string) => `global
    zero-warning
defaults base
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen entra-verifier${from}
${listen}
frontend www from base
    bind 127.0.0.1:18080
    default_backend app
backend app from base
    server app 127.0.0.1:18081
`
    const mixed = /'base' .*implicitly used/
    assert.match((await checkWithHaproxy(config(''))).said, mixed)
    const { problem, said } = await checkWithHaproxy(config(' from base'))
    assert.equal(problem, '')
    assert.doesNotMatch(said, mixed)
  })
})
