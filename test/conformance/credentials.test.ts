import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import {
  assertAllowed,
  assertChallenged,
  assertInvalidRequest,
  assertInvalidToken,
  assertRefused,
} from '../support/expect.ts'
import { ids } from '../support/ids.ts'
import { exchange, rawRequest } from '../support/raw.ts'
import { ask, callerKey, startService, verify } from '../support/service.ts'
import { v2User } from '../support/tokens.ts'

const service = await startService()
after(() => service.close())

const token = v2User()
const withAuthorization = (...values: string[]) =>
  verify(service, 'default', { Authorization: values.length === 1 ? String(values[0]) : values })

describe('the Authorization header', () => {
  for (const scheme of ['Bearer', 'bearer', 'BEARER', 'bEaReR']) {
    it(`admits the scheme written ${scheme}`, async () =>
      assertAllowed(await withAuthorization(`${scheme} ${token}`)))
  }
  for (const name of ['authorization', 'AUTHORIZATION', 'aUTHORIZATION']) {
    it(`is found under the name ${name}`, async () =>
      assertAllowed(await verify(service, 'default', { [name]: `Bearer ${token}` })))
  }
  it('may have several spaces before the token', async () =>
    assertAllowed(await withAuthorization(`Bearer    ${token}`)))
  it('is asked for where there is none, without an error code', async () =>
    assertChallenged(await verify(service, 'default', {})))
  for (const value of [
    'Basic YWRlbGU6c2VjcmV0',
    `Digest username="adele"`,
    'Negotiate YII',
    `DPoP ${token}`,
    `Token ${token}`,
    `Bearers ${token}`,
    `Bearer2 ${token}`,
    `PoP ${token}`,
  ]) {
    it(`with the scheme ${value.split(' ', 1)} counts as no credentials`, async () =>
      assertChallenged(await withAuthorization(value)))
  }
  for (const [name, value] of [
    ['an empty value', ''],
    ['Bearer without a token', 'Bearer'],
    ['Bearer and spaces', 'Bearer   '],
    ['two tokens', `Bearer ${token} ${token}`],
    ['two tokens with a comma', `Bearer ${token}, Bearer ${token}`],
    ['two tokens with a comma and no space', `Bearer ${token},${token}`],
    ['a parameter after the token', `Bearer ${token}, realm="x"`],
    ['a tab between scheme and token', `Bearer\t${token}`],
    ['a tab before the token', `Bearer \t${token}`],
    ['a colon after the scheme', `Bearer: ${token}`],
    ['an equals sign after the scheme', `Bearer=${token}`],
    ['the scheme in quotation marks', `"Bearer" ${token}`],
    ['a no-break space', `Bearer\u00a0${token}`],
  ] as const) {
    it(`is refused with ${name}`, async () =>
      assertInvalidRequest(await withAuthorization(value), 'malformed_credentials'))
  }
  it('counts as another scheme where the token stands alone', async () =>
    assertChallenged(await withAuthorization(token)))
  it('is refused where the token is in quotation marks', async () =>
    assertInvalidToken(await withAuthorization(`Bearer "${token}"`), 'token_malformed'))
  it('is refused where the scheme stands twice', async () =>
    assertInvalidRequest(
      await withAuthorization(`Bearer Bearer ${token}`),
      'malformed_credentials',
    ))
})

describe('several Authorization headers', () => {
  for (const [name, values] of [
    ['of the same token', [`Bearer ${token}`, `Bearer ${token}`]],
    ['of which the second is rubbish', [`Bearer ${token}`, 'Bearer x']],
    ['of which the first is rubbish', ['Bearer x', `Bearer ${token}`]],
    ['of which one is Basic', ['Basic YTpi', `Bearer ${token}`]],
    ['of which one is empty', ['', `Bearer ${token}`]],
    ['three of them', ['', '', `Bearer ${token}`]],
  ] as const) {
    it(`are refused: ${name}`, async () =>
      assertInvalidRequest(await withAuthorization(...values), 'ambiguous_credentials'))
  }
  it('are refused with names in different letter case', async () => {
    const reply = await exchange(
      service,
      rawRequest('/verify/default', [
        `Authorization: Bearer ${token}`,
        `AUTHORIZATION: Bearer ${token}`,
      ]),
    )
    assert.match(reply, /^HTTP\/1\.1 400 /)
    assert.match(reply, /x-entra-auth-reason: ambiguous_credentials/i)
  })
})

describe('a token elsewhere than in the Authorization header', () => {
  for (const name of ['access_token', 'token', 'authorization', 'bearer']) {
    it(`is ignored in the query parameter ${name}`, async () =>
      assertChallenged(await ask(service, `/verify/default?${name}=${token}`)))
  }
  it('is ignored in a cookie', async () =>
    assertChallenged(await verify(service, 'default', { Cookie: `access_token=${token}` })))
  for (const name of [
    'X-Forwarded-Authorization',
    'X-Original-Authorization',
    'Proxy-Authorization',
    'X-Auth-Request-Access-Token',
    'X-Ms-Token-Aad-Access-Token',
    'Authorization2',
    'X-Authorization',
  ]) {
    it(`is ignored in ${name}`, async () =>
      assertChallenged(await verify(service, 'default', { [name]: `Bearer ${token}` })))
  }
  it('is refused in a form', async () => {
    const reply = await ask(service, '/verify/default', {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: `access_token=${token}`,
    })
    assertRefused(reply, 405, undefined, 'method_not_allowed')
  })
  it('in the query does not stand in for a bad one in the header', async () =>
    assertInvalidToken(
      await ask(service, `/verify/default?access_token=${token}`, {
        headers: { Authorization: 'Bearer x' },
      }),
      'token_malformed',
    ))
})

describe('the caller key', async () => {
  const guarded = await startService({ config: { callerKeyFile: '/run/caller-key' } })
  after(() => guarded.close())
  const withKey = (keys: string | string[] | undefined) =>
    verify(guarded, 'default', {
      Authorization: `Bearer ${token}`,
      ...(keys !== undefined && { 'X-Entra-Auth-Key': keys }),
    })
  it('admits the caller who sends it', async () => assertAllowed(await withKey(callerKey)))
  for (const [name, keys] of [
    ['missing', undefined],
    ['wrong', 'fixture-caller-key-9876543210'],
    ['empty', ''],
    ['in another letter case', callerKey.toUpperCase()],
    ['cut short', callerKey.slice(0, -1)],
    ['sent twice', [callerKey, callerKey]],
  ] as const) {
    it(`refuses the caller where it is ${name}`, async () =>
      assertRefused(await withKey(keys as string), 403, undefined, 'caller_not_allowed'))
  }
  it('is asked for before a policy name is looked up', async () =>
    assertRefused(await verify(guarded, 'nowhere', token), 403, undefined, 'caller_not_allowed'))
})

describe('identity headers of the client', () => {
  it('do not change the reply, whose own values are used', async () => {
    const reply = await verify(service, 'default', {
      Authorization: `Bearer ${token}`,
      'X-Auth-Request-User': 'root',
      'X-Auth-Request-Roles': 'Admin',
      'X-Entra-Auth-User': 'root',
      'X-Entra-Auth-Verdict': 'deny',
    })
    assertAllowed(reply)
    assert.equal(reply.headers['x-auth-request-user'], ids.user)
    assert.equal(reply.headers['x-auth-request-roles'], '')
    assert.equal(reply.headers['x-entra-auth-user'], ids.user)
  })
  it('do not come back with a refusal', async () => {
    const reply = await verify(service, 'default', {
      'X-Auth-Request-User': 'root',
      'X-Entra-Auth-Verdict': 'allow',
    })
    assertChallenged(reply)
  })
})
