import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { readCookies } from '../../src/session/cookie.ts'
import { createHosts, originOf } from '../../src/session/hosts.ts'
import { readSessionRequest } from '../../src/session/request.ts'
import { seal } from '../../src/session/sealing.ts'
import {
  claimsOf,
  fingerprintOf,
  maxSessionCharacters,
  openSession,
  sealSession,
} from '../../src/session/session.ts'
import { ids, startSeconds } from '../support/ids.ts'
import { cookieOf, sealingKeys, sessionOf } from '../support/sessions.ts'

describe('a session in its cookie', () => {
  it('comes back as it was, whatever is missing in it', () => {
    const full = sessionOf({
      groups: [ids.group, ids.otherGroup],
      roles: ['Portal.Read', 'Größe'],
      authContexts: ['c1'],
      groupsOverage: true,
      guest: true,
      email: 'adele@contoso.example',
    })
    const empty = sessionOf({
      guest: undefined,
      name: undefined,
      preferredUsername: undefined,
      email: undefined,
      entraSessionId: undefined,
      loginHint: undefined,
    })
    for (const session of [full, empty, sessionOf({ guest: false })]) {
      assert.deepEqual(openSession(sealingKeys, sealSession(sealingKeys, session) ?? ''), session)
    }
  })

  it('stays below 3 KB with 40 groups, or is not made', () => {
    const groups = Array.from({ length: 40 }, () => ids.group)
    const attributes =
      '__Host-entra-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=86400'
    assert.ok(cookieOf({ groups }).length + attributes.length < 3_072)
    assert.ok(maxSessionCharacters + attributes.length < 3_072)
    const roles = Array.from({ length: 100 }, (_, i) => `A.Role.With.A.Long.Name.${i}`)
    assert.equal(sealSession(sealingKeys, sessionOf({ roles })), undefined)
  })

  it('of another version is none', () => {
    assert.equal(openSession(sealingKeys, seal(sealingKeys, 'session', '[2]') ?? ''), undefined)
    assert.equal(openSession(sealingKeys, 'nothing'), undefined)
  })
})

describe('the claims of a session', () => {
  it('are those of a user without scopes, dated before the second of the request to Entra', () => {
    const claims = claimsOf(sessionOf({ checkedAt: startSeconds + 10 }), 'https://issuer/')
    assert.equal(claims.issuedAt, startSeconds + 9)
    assert.equal(claims.actor, 'user')
    assert.equal(claims.appOnly, false)
    assert.deepEqual(claims.scopes, [])
    assert.equal(claims.session?.id, sessionOf().id)
    assert.equal(claims.issuer, 'https://issuer/')
  })
})

describe('the fingerprint of groups', () => {
  it('tells sets apart, and not their order', () => {
    assert.equal(
      fingerprintOf([ids.group, ids.otherGroup]),
      fingerprintOf([ids.otherGroup, ids.group]),
    )
    assert.notEqual(fingerprintOf([ids.group]), fingerprintOf([ids.otherGroup]))
    assert.notEqual(fingerprintOf([]), fingerprintOf([ids.group]))
  })
})

describe('the reading of cookies', () => {
  const name = '__Host-entra-session'

  it('finds each cookie of exactly the name, in all lines', () => {
    assert.deepEqual(
      readCookies(['Cookie', `a=1; ${name}=x`, 'cookie', `${name}=y;b=2`, 'Accept', '*'], name),
      ['x', 'y'],
    )
  })

  it('takes no other spelling for the name', () => {
    for (const cookie of [
      `${name.toLowerCase()}=x`,
      `${name.toUpperCase()}=x`,
      `"${name}"=x`,
      `x${name}=x`,
      `a-${name}=x`,
      `a_${name}=x`,
      `a=${name}=x`,
      `=${name}=x`,
      `${name}x=x`,
      `${name.replaceAll('-', '%2D')}=x`,
      `a="; ${name}x=1"`,
      name,
    ]) {
      assert.deepEqual(readCookies(['Cookie', cookie], name), [], cookie)
    }
  })

  it('takes the name for nothing else where browsers do not write it like this', () => {
    for (const cookie of [
      `a=1;\t${name}=x`,
      `a=1; \t${name}=x`,
      `a=1;\u00a0${name}=x`,
      `a=1, ${name}=x`,
      `a=1,${name}=x`,
      `a=1 ${name}=x`,
      `${name} =x`,
      `${name}\t=x`,
      `a=1; ${name}  =x`,
      `\t${name}=x`,
    ]) {
      assert.deepEqual(readCookies(['Cookie', cookie], name), [''], cookie)
      // Beside the right one, before or behind it, neither is the one.
      assert.equal(readCookies(['Cookie', `${cookie}; ${name}=y`], name).length, 2, cookie)
      assert.equal(readCookies(['Cookie', `${name}=y; ${cookie}`], name).length, 2, cookie)
      assert.equal(readCookies(['Cookie', cookie, 'Cookie', `${name}=y`], name).length, 2, cookie)
    }
  })

  it('takes it with many spaces or none behind the semicolon', () => {
    for (const cookie of [`${name}=x`, `a=1;${name}=x`, `a;   ${name}=x;`, `;${name}=x`]) {
      assert.deepEqual(readCookies(['Cookie', cookie], name), ['x'], cookie)
    }
  })

  it('leaves values as they are', () => {
    assert.deepEqual(readCookies(['Cookie', `${name}= x ;${name}=x, a=1`], name), [' x ', 'x, a=1'])
    assert.deepEqual(readCookies(['Cookie', `${name}="a%20b"; ${name}=c=d`], name), [
      '"a%20b"',
      'c=d',
    ])
  })
})

describe('the request of a session', () => {
  it('is the header of the action where it is there, and else the cookie', () => {
    const cookie = ['Cookie', '__Host-entra-session=c']
    assert.equal(readSessionRequest(['X-Entra-Auth-Session', 'h', ...cookie]).cookie, 'h')
    assert.equal(readSessionRequest(cookie).cookie, 'c')
    assert.equal(readSessionRequest([]).cookie, undefined)
  })

  it('has no session and no host where there are two', () => {
    const two = ['x-entra-auth-session', 'h', 'X-Entra-Auth-Session', 'h']
    assert.equal(readSessionRequest(two).cookie, undefined)
    assert.equal(
      readSessionRequest(['X-Forwarded-Host', 'a', 'X-Forwarded-Host', 'a']).host,
      undefined,
    )
    assert.equal(readSessionRequest(['X-Forwarded-Host', 'a']).host, 'a')
  })
})

describe('the hosts', () => {
  const hosts = createHosts(['portal.contoso.com', 'wiki.contoso.com:8443', 'localhost'])

  it('are exact but for letter case and the usual port', () => {
    assert.equal(hosts.match('Portal.Contoso.com'), 'portal.contoso.com')
    assert.equal(hosts.match('portal.contoso.com:443'), 'portal.contoso.com')
    assert.equal(hosts.match('wiki.contoso.com:8443'), 'wiki.contoso.com:8443')
    assert.equal(hosts.match('localhost:8080'), 'localhost:8080')
    assert.equal(hosts.match('localhost'), 'localhost')
    assert.equal(hosts.match('LOCALHOST:443'), 'localhost:443')
    const exact = createHosts(['localhost:8080'])
    assert.equal(exact.match('localhost:8080'), 'localhost:8080')
  })

  it('are no other', () => {
    for (const host of [
      undefined,
      '',
      'contoso.com',
      'evil.portal.contoso.com',
      'portal.contoso.com.',
      'portal.contoso.com.evil.example',
      'portal.contoso.com:8443',
      'wiki.contoso.com',
      '127.0.0.1:8080',
      'portal.contoso.com, evil.example',
      'portal.contoso.com@evil.example',
      'portal.contoso.com/evil',
      ' portal.contoso.com',
      'portal.contoso.com\n',
      'portal.contoso.com:4430',
      'portal.contoso.com:443:443',
      'portal.contoso.com:443x',
      'portal:443.contoso.com',
      'lo:1calhost',
      'localhost:8080:8080',
      'localhost:123456',
      'localhost:',
      'localhost:x',
      'localhost:80x',
      'x.localhost',
      'localhost.evil.example',
    ]) {
      assert.equal(hosts.match(host), undefined, host)
    }
  })

  it('have an address with TLS, but for this machine', () => {
    assert.equal(originOf('portal.contoso.com', false), 'https://portal.contoso.com')
    assert.equal(originOf('localhost:8080', false), 'http://localhost:8080')
    assert.equal(originOf('localhost:8080', true), 'https://localhost:8080')
    assert.equal(originOf('127.0.0.1:8080', false), 'http://127.0.0.1:8080')
    assert.equal(originOf('localhost', false), 'http://localhost')
    assert.equal(originOf('portal.contoso.com:8443', false), 'https://portal.contoso.com:8443')
  })
})
