/**
 * Class of advisory: response and header splitting (CWE-113) and log forging (CWE-117) by CR, LF,
 * NUL, control characters and non-ASCII in a value that the token brings.
 */
import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { assertAllowed, assertInsufficientScope, assertInvalidToken } from '../support/expect.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { exchange, rawRequest } from '../support/raw.ts'
import { startService, verify } from '../support/service.ts'
import { v2App, v2User } from '../support/tokens.ts'

const audiences = [ids.api, appIdUri]
const allow = [
  { actor: 'user', scopes: 'any' },
  { actor: 'app', roles: 'any' },
]
const policies = {
  default: { audiences, groups: 'all', allow },
  closed: { audiences, allow: [{ actor: 'user', scopes: ['Other'] }] },
}
const service = await startService({ config: { policies } })
after(() => service.close())

const hostile: readonly (readonly [name: string, value: string, encoded: string])[] = [
  ['CR LF and a header', 'a\r\nX-Auth-Request-Roles: Admin', 'a%0D%0AX-Auth-Request-Roles: Admin'],
  ['LF', 'a\nb', 'a%0Ab'],
  ['CR', 'a\rb', 'a%0Db'],
  ['NUL', 'a\0b', 'a%00b'],
  ['TAB', 'a\tb', 'a%09b'],
  ['DEL', 'a\u007fb', 'a%7Fb'],
  ['ESC', 'a\u001b[31mb', 'a%1B[31mb'],
  ['an umlaut', 'M\u00fcller', 'M%C3%BCller'],
  ['an emoji', '\u{1f600}', '%F0%9F%98%80'],
  ['a letter whose low byte is LF', '\u010a', '%C4%8A'],
  ['letters whose low bytes are CR LF', '\u560d\u560a', '%E5%98%8D%E5%98%8A'],
  ['a line separator', 'a\u2028b', 'a%E2%80%A8b'],
  ['NEL', 'a\u0085b', 'a%C2%85b'],
  ['a right-to-left override', 'a\u202eb', 'a%E2%80%AEb'],
  ['a percent sign', '100%0D%0A', '100%250D%250A'],
  ['spaces around', '  a  ', '%20%20a%20%20'],
  ['a space alone', ' ', '%20'],
  ['nothing special', 'Adele Vance', 'Adele Vance'],
]

describe('a hostile claim', () => {
  for (const [name, value, encoded] of hostile) {
    for (const [claim, header, extra] of [
      ['name', 'x-auth-request-name', {}],
      ['preferred_username', 'x-auth-request-preferred-username', {}],
      ['email', 'x-auth-request-email', { xms_edov: true }],
      ['uti', 'x-auth-request-token-id', {}],
      ['uti', 'x-entra-auth-token-id', {}],
    ] as const) {
      it(`is percent-encoded in ${header}: ${name}`, async () => {
        const reply = await verify(service, 'default', v2User({ ...extra, [claim]: value }))
        assertAllowed(reply)
        assert.equal(reply.headers[header], encoded)
        assert.equal(reply.headers['x-auth-request-roles'], '')
      })
    }
    it(`is percent-encoded in a list: ${name}`, async () => {
      const reply = await verify(service, 'default', v2App({ roles: [value, 'Plain'] }))
      assertAllowed(reply)
      assert.equal(reply.headers['x-auth-request-roles'], `${encoded},Plain`)
    })
    it(`stays on one line of the log: ${name}`, async () => {
      const before = service.log.length
      await verify(service, 'closed', v2User({ uti: value, name: value }))
      const lines = service.log.slice(before)
      assert.equal(lines.length, 1)
      assert.match(lines[0] ?? '', /^[^\r\n\0]*\n$/)
      assert.equal(JSON.parse(lines[0] ?? '').tokenId, value)
    })
  }
  it('cannot end a list item', async () => {
    const reply = await verify(service, 'default', v2App({ roles: ['a,Admin', 'b'] }))
    assert.equal(reply.headers['x-auth-request-roles'], 'a%2CAdmin,b')
  })
  it('cannot end an item of the groups', async () => {
    const reply = await verify(service, 'default', v2User({ groups: ['a,b', 'c'] }))
    assert.equal(reply.headers['x-auth-request-groups'], 'a%2Cb,c')
  })
  it('cannot carry a lone surrogate, which has no UTF-8', async () =>
    assertInvalidToken(
      await verify(service, 'default', v2User({ name: '\udc00' })),
      'claim_malformed',
    ))
  it('that is an unverified address is not passed on', async () => {
    for (const xms_edov of [undefined, false, 0, '0', 'false', null]) {
      const reply = await verify(
        service,
        'default',
        v2User({ email: 'root@contoso.example', xms_edov }),
      )
      assert.equal(reply.headers['x-auth-request-email'], '')
    }
  })
  it('that does not fit into the headers is refused, never cut', async () => {
    const roles = (count: number) =>
      Array.from({ length: count }, (_, i) => `Role.${String(i).padStart(4, '0')}`)
    assertAllowed(await verify(service, 'default', v2App({ roles: roles(700) })))
    assertInsufficientScope(
      await verify(service, 'default', v2App({ roles: roles(900) })),
      'identity_too_large',
    )
  })
})

describe('a hostile request', () => {
  const answer = async (...lines: string[]) =>
    exchange(service, Buffer.from(rawRequest('/verify/closed', lines), 'latin1'))
  for (const [name, value] of [
    ['quotation marks', 'a"b'],
    ['an angle bracket', '<script>'],
    ['a space', 'a b'],
    ['non-ASCII', 'a\u00e9'],
    ['129 characters', 'a'.repeat(129)],
    ['nothing', ''],
  ] as const) {
    it(`has an X-Request-Id replaced that has ${name}`, async () => {
      const reply = await answer(`X-Request-Id: ${value}`)
      assert.match(reply, /"request_id":"[0-9a-f-]{36}"/)
    })
  }
  it('keeps a sane X-Request-Id', async () =>
    assert.match(await answer('X-Request-Id: req-1.2:3/4'), /"request_id":"req-1\.2:3\/4"/))
  it('sees nothing of its headers, path or query in the reply', async () => {
    const reply = await exchange(
      service,
      rawRequest('/verify/closed?marker-query', [
        'X-Forwarded-Host: marker-host',
        'X-Forwarded-Uri: /marker-uri',
        'User-Agent: marker-agent',
        'Authorization: Basic marker-basic',
      ]),
    )
    assert.doesNotMatch(reply, /marker/)
  })
  it('with an unknown policy does not see its name again', async () => {
    const reply = await exchange(service, rawRequest('/verify/marker-policy'))
    assert.doesNotMatch(reply, /marker/)
  })
})
