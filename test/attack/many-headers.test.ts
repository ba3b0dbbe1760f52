/**
 * Class of advisory: a parser that stops at some number of headers and reads the rest as if it were not
 * there. Node does so, in some versions without an error, and whoever comes later in the chain sees them.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { exchange, rawRequest } from '../support/raw.ts'
import { cookieOf, host } from '../support/sessions.ts'
import { type SignInService, startSignIn } from '../support/sign-in.ts'
import { v2User } from '../support/tokens.ts'

let service: SignInService
before(async () => {
  service = await startSignIn()
})
after(() => service.close())

const reasonOf = (reply: string) => /^x-entra-auth-reason: (.*)\r$/im.exec(reply)?.[1]
const bearer = `Authorization: Bearer ${v2User()}`
const session = [`X-Entra-Auth-Session: ${cookieOf()}`, `X-Forwarded-Host: ${host}`]

const ask = (policy: string, count: number, first: readonly string[], last: string) => {
  const others = Array.from({ length: count }, () => 'a:')
  return exchange(service, rawRequest(`/verify/${policy}`, [...first, ...others, last]))
}

describe('a header behind hundreds of others', () => {
  for (const count of [100, 990]) {
    it(`counts as one in front, behind ${count}`, async () => {
      assert.match(await ask('mixed', count, [], bearer), /^HTTP\/1\.1 200 /)
      const second = 'Authorization: Bearer an.other.one'
      assert.equal(reasonOf(await ask('mixed', count, [bearer], second)), 'ambiguous_credentials')
      const body = await ask('mixed', count, [bearer], 'Content-Length: 1')
      assert.equal(reasonOf(body), 'body_not_allowed')
      assert.match(await ask('default', count, session, 'b:'), /^HTTP\/1\.1 200 /)
      for (const twice of session) {
        assert.equal(reasonOf(await ask('default', count, session, twice)), 'no_session', twice)
      }
    })
  }
})

describe('a request with thousands of headers', () => {
  it('is refused by the service and not by the version of Node', async () => {
    const { verify, signIn, admin, metrics } = service.app
    for (const listener of [verify, signIn, admin, metrics]) {
      assert.equal(listener?.server.maxHeadersCount, 0)
    }
    for (const count of [1_000, 2_100, 5_000]) {
      for (const policy of ['mixed', 'default', 'nowhere']) {
        const reply = await ask(policy, count, [bearer], 'b:')
        assert.match(reply, /^HTTP\/1\.1 400 /)
        assert.equal(reasonOf(reply), 'malformed_request', `${count} ${policy}`)
        assert.match(reply, /^cache-control: no-store\r$/im)
      }
    }
  })
})
