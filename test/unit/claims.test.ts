import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { FailureCode } from '../../src/failure.ts'
import { type AccessToken, checkTimes, readClaims, readOrigin } from '../../src/token/claims.ts'
import { ids, startSeconds } from '../support/ids.ts'

type Payload = Readonly<Record<string, unknown>>

const user: Payload = {
  ver: '2.0',
  tid: ids.contoso,
  iss: `https://login.microsoftonline.com/${ids.contoso}/v2.0`,
  aud: ids.api,
  iat: startSeconds,
  nbf: startSeconds + 1,
  exp: startSeconds + 3600,
  oid: ids.user,
  sub: 'pairwise',
  azp: ids.client,
  scp: 'Orders.Read',
}
const userV1: Payload = { ...user, ver: '1.0', azp: undefined, appid: ids.client }
const app: Payload = { ...user, oid: ids.app, sub: ids.app, scp: undefined, idtyp: 'app' }

function read(payload: Payload): AccessToken {
  const claims = readClaims(payload)
  assert.ok(claims.ok, JSON.stringify(claims))
  return claims.value
}

function refuses(claim: string, what: string, payload: Payload, failure: FailureCode): void {
  it(`refuses ${what}, and says so of ${claim}`, () =>
    assert.deepEqual(readClaims(payload), { ok: false, failure, claim }))
}

function malformed(claim: string, values: readonly unknown[], payload = user): void {
  for (const value of values) {
    const what = `${claim} ${JSON.stringify(value)}`
    refuses(claim, what, { ...payload, [claim]: value }, 'claim_malformed')
  }
}

describe('the claims of a token', () => {
  it('are read with nothing added to a bare user token', () =>
    assert.deepEqual(readClaims(user), {
      ok: true,
      value: {
        version: '2.0',
        tenantId: ids.contoso,
        issuer: user.iss,
        actor: 'user',
        appOnly: false,
        appByIdtyp: false,
        expiresAt: startSeconds + 3600,
        issuedAt: startSeconds,
        notBefore: startSeconds + 1,
        audience: ids.api,
        userId: ids.user,
        subject: 'pairwise',
        clientId: ids.client,
        clientAuthentication: undefined,
        tokenId: undefined,
        scopes: ['Orders.Read'],
        roles: [],
        groups: [],
        groupsOverage: false,
        guest: undefined,
        authContexts: [],
        canAnswerClaimsChallenge: false,
        preferredUsername: undefined,
        name: undefined,
        email: undefined,
      },
    }))
  it('are read, each one that is there', () => {
    const full = read({
      ...user,
      azpacr: '2',
      uti: 'an-id',
      roles: ['Admin'],
      groups: [ids.group],
      acct: 1,
      acrs: ['c1', 'c2'],
      xms_cc: ['cp2', 'CP1'],
      name: 'Adele',
      preferred_username: 'adele',
      email: 'adele@contoso.example',
      xms_edov: true,
    })
    assert.equal(full.clientAuthentication, '2')
    assert.equal(full.tokenId, 'an-id')
    assert.deepEqual(full.roles, ['Admin'])
    assert.deepEqual(full.groups, [ids.group])
    assert.equal(full.guest, true)
    assert.deepEqual(full.authContexts, ['c1', 'c2'])
    assert.equal(full.canAnswerClaimsChallenge, true)
    assert.equal(full.name, 'Adele')
    assert.equal(full.preferredUsername, 'adele')
    assert.equal(full.email, 'adele@contoso.example')
  })
  it('take the client of a v1.0 token and its proof from appid and appidacr', () => {
    const claims = read({ ...userV1, appidacr: '1', azpacr: '2' })
    assert.equal(claims.clientId, ids.client)
    assert.equal(claims.clientAuthentication, '1')
  })
  it('may name the client twice where both agree', () =>
    assert.equal(read({ ...user, appid: ids.client }).clientId, ids.client))
  for (const proof of ['0', '1', '2']) {
    it(`tell how the client proved itself: ${proof}`, () =>
      assert.equal(read({ ...user, azpacr: proof }).clientAuthentication, proof))
  }
  it('count as not valid before they were issued where nbf is missing', () =>
    assert.equal(read({ ...user, nbf: undefined }).notBefore, startSeconds))
  it('may hold a token id of 256 characters', () =>
    assert.equal(read({ ...user, uti: 'u'.repeat(256) }).tokenId?.length, 256))
  it('may be dated at the epoch', () => assert.equal(read({ ...user, iat: 0, nbf: 0 }).issuedAt, 0))
  it('say that a member is no guest', () => assert.equal(read({ ...user, acct: 0 }).guest, false))
  it('name no user where the names are empty', () => {
    const claims = read({ ...user, name: '', preferred_username: '', upn: '', unique_name: '' })
    assert.equal(claims.name, undefined)
    assert.equal(claims.preferredUsername, undefined)
  })
  for (const [from, names] of [
    ['preferred_username', { preferred_username: 'p', upn: 'u', unique_name: 'n' }],
    ['upn', { preferred_username: '', upn: 'u', unique_name: 'n' }],
    ['unique_name', { upn: '', unique_name: 'n' }],
  ] as const) {
    it(`take the user name from ${from}`, () =>
      assert.equal(
        read({ ...user, ...names }).preferredUsername,
        (names as Record<string, string>)[from],
      ))
  }
  for (const verified of [true, 1, '1', 'true']) {
    it(`show an address whose domain is verified: ${JSON.stringify(verified)}`, () =>
      assert.equal(read({ ...user, email: 'a@b', xms_edov: verified }).email, 'a@b'))
  }
  for (const verified of [undefined, false, 0, '0', '', 'false', 'True', null, 2, [], {}]) {
    it(`hide an address whose domain is not: ${JSON.stringify(verified)}`, () =>
      assert.equal(read({ ...user, email: 'a@b', xms_edov: verified }).email, undefined))
  }
  it('have no address where it is empty', () =>
    assert.equal(read({ ...user, email: '', xms_edov: true }).email, undefined))
  it('are split at each space, empty scopes and "/" left out', () =>
    assert.deepEqual(read({ ...user, scp: ' A  / B/ ' }).scopes, ['A', 'B/']))
})

describe('an error that is none of the token', () => {
  it('is no refusal: it goes on to whoever logs it', () => {
    const broken: Payload = {
      ...user,
      get roles(): never {
        throw new TypeError('a bug')
      },
    }
    assert.throws(() => readClaims(broken), /a bug/)
  })
})

describe('the kind of caller', () => {
  for (const [what, payload, actor, appOnly, appByIdtyp] of [
    ['a user', user, 'user', false, false],
    ['a user by idtyp', { ...user, idtyp: 'user' }, 'user', false, false],
    ['a user whose sub is oid', { ...user, sub: ids.user }, 'user', false, false],
    ['an app by idtyp', app, 'app', true, true],
    ['an app by idtyp whose sub is not oid', { ...app, sub: 'x' }, 'app', true, true],
    ['an app by sub', { ...app, idtyp: undefined }, 'app', true, false],
    ['an agent of a user', { ...user, xms_act_fct: '3 11' }, 'agent', false, false],
    ['an agent user', { ...user, xms_sub_fct: '13' }, 'agent', false, false],
    ['an agent by itself', { ...app, xms_act_fct: '11 9', scp: '/' }, 'agent', true, true],
    ['an agent by its blueprint', { ...user, xms_par_app_azp: ids.app }, 'agent', false, false],
    ['an app with a blueprint', { ...app, xms_par_app_azp: ids.app }, 'agent', true, true],
    ['a user with other facets', { ...user, xms_act_fct: '0 111 9' }, 'user', false, false],
    ['a user with the largest facet', { ...user, xms_act_fct: '999999999' }, 'user', false, false],
  ] as const) {
    it(`is told of ${what}`, () => {
      const claims = read(payload)
      assert.deepEqual(
        [claims.actor, claims.appOnly, claims.appByIdtyp],
        [actor, appOnly, appByIdtyp],
      )
    })
  }
  const notAnAccessToken = 'not_an_access_token'
  refuses('scp', 'a token without scope', { ...user, scp: undefined }, notAnAccessToken)
  refuses('scp', 'an empty scope', { ...user, scp: '' }, notAnAccessToken)
  refuses('scp', 'idtyp user without scope', { ...app, idtyp: 'user' }, notAnAccessToken)
  refuses('idtyp', 'another idtyp', { ...user, idtyp: 'device' }, notAnAccessToken)
  refuses('scp', 'an app with a scope', { ...app, scp: 'A' }, 'claim_malformed')
  for (const claim of ['xms_act_fct', 'xms_sub_fct']) {
    malformed(claim, ['', ' 11', '11 ', '11  9', '011', '9 011', '11,9', 'x 11', '11 x', '+11', 11])
    malformed(claim, ['1234567890', '3 1234567890'])
  }
})

describe('a claim that must be there', () => {
  for (const claim of ['iss', 'tid', 'aud', 'oid', 'sub', 'azp', 'iat', 'exp']) {
    refuses(claim, `a token without ${claim}`, { ...user, [claim]: undefined }, 'claim_missing')
  }
  refuses('appid', 'a v1.0 token without appid', { ...userV1, appid: undefined }, 'claim_missing')
  for (const ver of [undefined, null, '', '1', '2', '3.0', 2, ['2.0']]) {
    refuses('ver', `ver ${JSON.stringify(ver)}`, { ...user, ver }, 'version_unknown')
  }
  it('is named where only the origin is read', () => {
    assert.deepEqual(readOrigin({}), { ok: false, failure: 'version_unknown', claim: 'ver' })
    assert.deepEqual(readOrigin({ ...user, iss: undefined }), {
      ok: false,
      failure: 'claim_missing',
      claim: 'iss',
    })
    assert.deepEqual(readOrigin(userV1), {
      ok: true,
      value: { version: '1.0', tenantId: ids.contoso, issuer: user.iss },
    })
  })
})

describe('a claim of another type or form', () => {
  const notText = [null, 0, false, true, [], ['x'], {}, 'x\ud800']
  for (const claim of ['iss', 'tid', 'aud', 'oid', 'sub', 'azp', 'idtyp', 'uti', 'azpacr']) {
    malformed(claim, [...notText, ''])
  }
  for (const claim of ['scp', 'name', 'preferred_username', 'upn', 'unique_name', 'email']) {
    malformed(claim, notText)
  }
  for (const claim of ['tid', 'oid', 'azp', 'xms_par_app_azp']) {
    malformed(claim, [
      'x',
      ids.user.toUpperCase(),
      `${ids.user}0`,
      `0${ids.user}`,
      ` ${ids.user}`,
      `${ids.user}\n`,
      ids.user.replaceAll('-', ''),
      ids.user.replace('d', 'g'),
      ...[8, 13, 18, 23].map((i) => `${ids.user.slice(0, i - 1)}${ids.user.slice(i)}`),
      ids.user.slice(0, -1),
    ])
  }
  for (const claim of ['iat', 'nbf', 'exp']) {
    malformed(claim, [null, true, '', String(startSeconds), [startSeconds], {}, -1, 0.5, 2 ** 53])
  }
  for (const claim of ['roles', 'groups', 'acrs', 'xms_cc']) {
    malformed(claim, [null, 0, 'x', '', {}, [1], [null], [''], [['x']], ['x', 1], ['x', '\ud800']])
  }
  malformed('exp', [startSeconds, startSeconds - 1])
  malformed('nbf', [startSeconds + 3600, startSeconds + 3601])
  malformed('uti', ['u'.repeat(257)])
  malformed('azpacr', ['3', '00', '1 ', 'x'])
  malformed('appidacr', ['3', ''], userV1)
  malformed('acct', [null, 2, -1, '0', '1', true, false, [], {}])
  malformed('_claim_names', [null, 'groups', 1, true, ['groups']])
  malformed('hasgroups', [null, 'true', 1, [], {}])
  refuses('appid', 'a second client', { ...user, appid: ids.otherClient }, 'claim_malformed')
  refuses('azp', 'a second v1.0 client', { ...userV1, azp: ids.otherClient }, 'claim_malformed')
  refuses('cnf', 'a sender-constrained token', { ...user, cnf: undefined }, 'sender_constrained')
})

describe('groups', () => {
  for (const [what, claims, overage] of [
    ['_claim_names with groups', { _claim_names: { groups: 'src1' } }, true],
    ['_claim_names with another claim', { _claim_names: { roles: 'src1' } }, false],
    ['_claim_names whose prototype has groups', { _claim_names: Object.create({ groups: 1 }) }],
    ['hasgroups', { hasgroups: true }, true],
    ['hasgroups false', { hasgroups: false }, false],
  ] as const) {
    it(`are ${overage ? 'too many' : 'not too many'} by ${what}`, () =>
      assert.equal(read({ ...user, ...claims }).groupsOverage, overage ?? false))
  }
  for (const marker of [{ hasgroups: true }, { _claim_names: { groups: 'src1' } }]) {
    const payload = { ...user, ...marker, groups: [] }
    refuses('groups', `a list beside ${JSON.stringify(marker)}`, payload, 'claim_malformed')
  }
  it('may stand beside a marker of another claim', () =>
    assert.deepEqual(
      read({ ...user, groups: ['g'], hasgroups: false, _claim_names: { roles: 'src1' } }).groups,
      ['g'],
    ))
})

describe('the times of a token', () => {
  const token = { issuedAt: 1_000, notBefore: 1_000, expiresAt: 2_000 }
  const skew = 300
  for (const [what, times, now, expected] of [
    ['is good on the last second of the skew', {}, 2_299, undefined],
    ['is expired after it', {}, 2_300, 'token_expired'],
    ['is good from the first second of the skew', {}, 700, undefined],
    ['is not yet good before it, by iat', { notBefore: 0 }, 699, 'token_not_yet_valid'],
    ['is not yet good before it, by nbf', { issuedAt: 0 }, 699, 'token_not_yet_valid'],
  ] as const) {
    it(what, () => assert.equal(checkTimes({ ...token, ...times }, now, skew), expected))
  }
})
