/**
 * Class of advisory: header smuggling by names that two programs read differently, such as
 * `X_Forwarded_User` for `X-Forwarded-User` behind CGI-like servers, or a header that `Connection`
 * names so that a hop removes it (CWE-290, CWE-444).
 */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { assertChallenged, assertInvalidRequest, assertRefused } from '../support/expect.ts'
import { exchange, rawRequest } from '../support/raw.ts'
import { callerKey, startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const service = await startService()
const guarded = await startService({ config: { callerKeyFile: '/run/caller-key' } })
after(async () => {
  await service.close()
  await guarded.close()
})
const bearer = `Bearer ${v2User()}`

describe('a name that looks like Authorization', () => {
  for (const name of [
    'Authorization_',
    'HTTP_AUTHORIZATION',
    'Authori-zation',
    'Authorization.',
    'authorizatioN2',
  ]) {
    it(`is not Authorization: ${name}`, async () =>
      assertChallenged(await verify(service, 'default', { [name]: bearer })))
  }
  for (const [what, line] of [
    ['a space before the colon', `Authorization : ${bearer}`],
    ['a tab before the colon', `Authorization\t: ${bearer}`],
    ['a line folded before the value', `Authorization:\r\n ${bearer}`],
    ['a line folded into another header', `X-Other: 1\r\n Authorization: ${bearer}`],
    ['a name of non-ASCII letters', `Authorizatıon: ${bearer}`],
    ['a name in quotation marks', `"Authorization": ${bearer}`],
    ['a bare carriage return before it', `X-Other: 1\rAuthorization: ${bearer}`],
    ['a bare line feed before it', `X-Other: 1\nAuthorization: ${bearer}`],
    ['a NUL at its end', `Authorization: ${bearer}\0`],
    ['a NUL in its name', `Author\0ization: ${bearer}`],
  ] as const) {
    it(`lets nobody in with ${what}`, async () => {
      const reply = await exchange(service, rawRequest('/verify/default', [line]))
      assert.match(reply, /^HTTP\/1\.1 400 /)
      assert.doesNotMatch(reply, /verdict: allow/i)
    })
  }
  it('beside the true one changes nothing, since only the true one is read', async () =>
    assertInvalidRequest(
      await verify(service, 'default', { Authorization: 'Bearer', Authorization_: bearer }),
      'malformed_credentials',
    ))
})

describe('Connection', () => {
  it('names a header for the next hop only, and removes none here', async () => {
    const reply = await exchange(
      service,
      [
        'GET /verify/default HTTP/1.1',
        'Host: verifier',
        'Connection: close, authorization, x-entra-auth-verdict',
        'Authorization: Bearer a.b.c',
        '',
        '',
      ].join('\r\n'),
    )
    assert.match(reply, /^HTTP\/1\.1 401 /)
    assert.match(reply, /x-entra-auth-reason: token_malformed/i)
  })
  it('cannot make the caller key unneeded', async () => {
    const reply = await exchange(
      guarded,
      [
        'GET /verify/default HTTP/1.1',
        'Host: verifier',
        'Connection: close, x-entra-auth-key',
        `Authorization: ${bearer}`,
        '',
        '',
      ].join('\r\n'),
    )
    assert.match(reply, /^HTTP\/1\.1 403 /)
    assert.match(reply, /x-entra-auth-reason: caller_not_allowed/i)
  })
})

describe('a name that looks like the caller key', () => {
  for (const name of [
    'X_Entra_Auth_Key',
    'X-Entra-Auth_Key',
    'X-Entra.Auth.Key',
    'X-Entra-Auth-Key2',
  ]) {
    it(`is not the caller key: ${name}`, async () =>
      assertRefused(
        await verify(guarded, 'default', { Authorization: bearer, [name]: callerKey }),
        403,
        undefined,
        'caller_not_allowed',
      ))
  }
})
