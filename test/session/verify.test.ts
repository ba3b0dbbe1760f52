import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { Revocation } from '../../src/revocation/revocation.ts'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import { fingerprintOf } from '../../src/session/session.ts'
import { createSignInPart } from '../../src/sign-in/part.ts'
import { assertAllowed } from '../support/expect.ts'
import { ids, startSeconds } from '../support/ids.ts'
import { type Reply, type Service, startService, verify } from '../support/service.ts'
import {
  cookieOf,
  host,
  keysOf,
  otherHost,
  sealingKeys,
  sessionOf,
  signIn,
  withSession,
} from '../support/sessions.ts'
import { v2User } from '../support/tokens.ts'

const part = createSignInPart({
  sealingKeys,
  credential: { env: {}, randomId: () => 'id', readFile: () => 'secret' },
})
const groups = fingerprintOf([ids.group])
const session = { actor: 'user', session: true } as const
const policies = {
  portal: { allow: [session] },
  guarded: { allow: [session], deny: [{ users: [ids.app] }], crossSiteGuard: false },
  grouped: { allow: [{ ...session, groups: [ids.group] }] },
  strong: { allow: [{ ...session, authContext: 'c1' }] },
  roles: { allow: [{ ...session, roles: ['Portal.Admin'], guests: false }] },
  mixed: { audiences: [ids.api], allow: [session, { actor: 'user', scopes: ['Orders.Read'] }] },
  tokens: { audiences: [ids.api], allow: [{ actor: 'user', scopes: ['Orders.Read'] }] },
}

let revocations: readonly Revocation[] = []
let service: Service
before(async () => {
  service = await startService({
    signIn: part,
    config: { signIn, policies },
    revocations: {
      get list() {
        return createRevocationList(revocations)
      },
      start: async () => {},
      setLongest() {},
      reload: async () => false,
      add: async () => {},
      remove: async () => false,
    },
  })
})
after(() => service.close())
beforeEach(() => {
  revocations = []
  service.time.nowMs = startSeconds * 1000 + 1_000
})

const ask = (policy: string, value: string, headers = {}) =>
  verify(service, policy, withSession(value, headers))

function assertSignIn(reply: Reply, reason: string, path = '/oauth2/start'): void {
  assert.equal(reply.status, 401)
  assert.equal(reply.reason, reason)
  assert.equal(reply.headers['x-entra-auth-sign-in'], path)
  assert.equal(reply.headers['cache-control'], 'no-store')
  assert.equal(JSON.parse(reply.body).reason, reason)
}

describe('a session at /verify', () => {
  it('is admitted with its identity, and says what it is', async () => {
    const reply = await ask('portal', cookieOf())
    assertAllowed(reply)
    const { headers } = reply
    assert.equal(headers['x-entra-auth-user'], ids.user)
    assert.equal(headers['x-entra-auth-tenant'], ids.contoso)
    assert.equal(headers['x-entra-auth-client'], signIn.clientId)
    assert.equal(headers['x-entra-auth-actor'], 'user')
    assert.equal(headers['x-entra-auth-session-id'], sessionOf().id)
    assert.equal(headers['x-entra-auth-session-sid'], sessionOf().entraSessionId)
    assert.equal(headers['x-entra-auth-issued-at'], String(startSeconds - 1))
    assert.equal(headers['x-auth-request-name'], 'Adele Vance')
    assert.equal(headers['x-entra-auth-recheck'], undefined)
    assert.equal(headers['x-entra-auth-cross-site'], undefined)
    assert.equal(headers.vary, 'Authorization, Cookie, X-Entra-Auth-Session, X-Forwarded-Host')
    assert.equal(headers['set-cookie'], undefined)
    assert.equal(headers['cache-control'], 'private, max-age=30')
  })

  it('comes in the header of the action or in its cookie', async () => {
    const cookie = `a=b; __Host-entra-session=${cookieOf()}; c=d`
    assertAllowed(await verify(service, 'portal', { Cookie: cookie, 'X-Forwarded-Host': host }))
    const both = { Cookie: cookie, 'X-Entra-Auth-Session': 'forged', 'X-Forwarded-Host': host }
    assertSignIn(await verify(service, 'portal', both), 'no_session')
  })

  it('is none where there are two, or none, or one that does not open', async () => {
    const name = '__Host-entra-session'
    const value = cookieOf()
    for (const headers of [
      {},
      { Cookie: `${name}=${value}; ${name}=${value}` },
      { Cookie: [`${name}=${value}`, `${name}=${value}`] },
      { 'X-Entra-Auth-Session': '' },
      { 'X-Entra-Auth-Session': [value, value] },
      { 'X-Entra-Auth-Session': `${value}x` },
      { 'X-Entra-Auth-Session': cookieOf({}, keysOf('another')) },
      { Cookie: `${name}=%00` },
      { Cookie: `${name.toLowerCase()}=${value}` },
    ]) {
      const reply = await verify(service, 'portal', { 'X-Forwarded-Host': host, ...headers })
      assertSignIn(reply, 'no_session')
    }
  })

  it('counts for its own host only', async () => {
    const value = cookieOf()
    assertAllowed(await ask('portal', value, { 'X-Forwarded-Host': host.toUpperCase() }))
    for (const other of [otherHost, 'evil.example', `${host}:8443`, `${host}, ${otherHost}`, '']) {
      assertSignIn(await ask('portal', value, { 'X-Forwarded-Host': other }), 'no_session')
    }
    const twice = { 'X-Forwarded-Host': [host, host] }
    assertSignIn(await ask('portal', value, twice), 'no_session')
    const without = await verify(service, 'portal', { 'X-Entra-Auth-Session': value })
    assertSignIn(without, 'no_session')
  })

  it('of another registration, tenant or of a host that is no longer served is none', async () => {
    for (const members of [
      { clientId: ids.client },
      { tenantId: ids.fabrikam },
      { host: 'old.contoso.example' },
    ]) {
      const headers = members.host ? { 'X-Forwarded-Host': members.host } : {}
      assertSignIn(await ask('portal', cookieOf(members), headers), 'no_session')
    }
  })

  it('does not count where Authorization is present, whatever stands in it', async () => {
    const value = cookieOf()
    for (const [authorization, reason] of [
      ['Basic eDp5', 'no_credentials'],
      ['Bearer', 'malformed_credentials'],
      ['', 'malformed_credentials'],
      ['Bearer e30.e30.e30', 'algorithm_not_allowed'],
    ] as const) {
      const reply = await ask('portal', value, { Authorization: authorization })
      assert.equal(reply.reason, reason)
      assert.equal(reply.headers['x-entra-auth-sign-in'], undefined)
    }
    const twice = { Authorization: ['Bearer a', 'Bearer b'] }
    assert.equal((await ask('portal', value, twice)).reason, 'ambiguous_credentials')
  })

  it('does not count at a policy without session grants', async () => {
    const reply = await ask('tokens', cookieOf())
    assert.equal(reply.reason, 'no_credentials')
    assert.equal(reply.headers['x-entra-auth-sign-in'], undefined)
  })

  it('ends at its hard end, and at shorter hours of a new configuration', async () => {
    const value = cookieOf()
    service.time.nowMs = (startSeconds + 8 * 3_600) * 1000 - 1
    assertAllowed(await ask('portal', value))
    service.time.nowMs += 1
    assertSignIn(await ask('portal', value), 'session_ended')
    const long = cookieOf({ hardEnd: startSeconds + 100 * 3_600 })
    assertSignIn(await ask('portal', long), 'session_ended')
  })

  it('is kept no longer than to its soft end, and then for seconds and with a mark', async () => {
    const value = cookieOf()
    service.time.nowMs = (startSeconds + 3_600 - 7) * 1000
    assert.equal((await ask('portal', value)).headers['cache-control'], 'private, max-age=7')
    service.time.nowMs = (startSeconds + 3_600) * 1000
    const due = await ask('portal', value)
    assertAllowed(due)
    assert.equal(due.headers['x-entra-auth-recheck'], '1')
    assert.equal(due.headers['cache-control'], 'private, max-age=5')
    service.time.nowMs = (startSeconds + 8 * 3_600 - 2) * 1000
    assert.equal((await ask('portal', value)).headers['cache-control'], 'private, max-age=2')
  })

  it('of a clock that was ahead by more than the skew is none, or no revocation of its user would find it', async () => {
    const inForce = { before: startSeconds + 1, until: startSeconds + 1e6 }
    revocations = [{ kind: 'user', id: `${ids.contoso}/${ids.user}`, ...inForce }]
    const nowSeconds = startSeconds + 1
    for (const checkedAt of [nowSeconds + 301, nowSeconds + 3_600, nowSeconds + 86_400]) {
      const members = { signedInAt: checkedAt, checkedAt, hardEnd: checkedAt + 3_600 }
      assertSignIn(await ask('portal', cookieOf(members)), 'no_session')
    }
    revocations = []
    assertAllowed(await ask('portal', cookieOf({ checkedAt: nowSeconds + 299 })))
  })

  it('is refused when it, its user, tenant, client or key is revoked', async () => {
    const before = startSeconds
    const until = startSeconds + 90_000
    const sid = sessionOf().entraSessionId ?? ''
    for (const [kind, id] of [
      ['session', sessionOf().id],
      ['session', sid],
      ['user', `${ids.contoso}/${ids.user}`],
      ['tenant', ids.contoso],
      ['client', `${ids.contoso}/${signIn.clientId}`],
      ['key', 'kid-1'],
    ] as const) {
      revocations = [{ kind, id, before, until }]
      assertSignIn(await ask('portal', cookieOf()), 'session_revoked')
    }
    // Signed in again, or asked Entra again, after the revocation.
    revocations = [{ kind: 'user', id: `${ids.contoso}/${ids.user}`, before, until }]
    assertAllowed(await ask('portal', cookieOf({ checkedAt: startSeconds + 1 })))
    revocations = [{ kind: 'session', id: 'another', before, until }]
    assertAllowed(await ask('portal', cookieOf()))
  })

  it('goes to a re-check if the policy needs groups that were not checked', async () => {
    const member = { groups: [ids.group], groupsLookedAt: groups }
    assertAllowed(await ask('grouped', cookieOf(member)))
    assertSignIn(await ask('grouped', cookieOf()), 'session_recheck')
    assertAllowed(await ask('portal', cookieOf()))
    const other = await ask('grouped', cookieOf({ groupsLookedAt: groups }))
    assert.equal(other.reason, 'group_missing')
    assert.equal(other.status, 403)
    assert.equal(other.headers['x-entra-auth-sign-in'], undefined)
    const overage = await ask('grouped', cookieOf({ groupsLookedAt: groups, groupsOverage: true }))
    assert.equal(overage.reason, 'groups_overage')
  })

  it('goes to a stronger sign-in where the policy asks for one', async () => {
    assertSignIn(await ask('strong', cookieOf()), 'step_up_required', '/oauth2/start?acrs=c1')
    assertAllowed(await ask('strong', cookieOf({ authContexts: ['c1'] })))
  })

  it('is judged by roles, guests and deny rules', async () => {
    const roles = ['Portal.Admin']
    assertAllowed(await ask('roles', cookieOf({ roles })))
    assert.equal((await ask('roles', cookieOf())).reason, 'role_missing')
    assert.equal((await ask('roles', cookieOf({ roles, guest: true }))).reason, 'guest_not_allowed')
    assert.equal((await ask('guarded', cookieOf({ userId: ids.app }))).reason, 'denied_by_rule')
    const open = await ask('guarded', cookieOf())
    assert.equal(open.headers['x-entra-auth-cross-site'], 'allow')
  })

  it('does not open a grant for tokens, nor a token one for sessions', async () => {
    assertAllowed(await ask('mixed', cookieOf()))
    assertAllowed(await verify(service, 'mixed', v2User()))
    assert.equal((await verify(service, 'mixed', v2User({ scp: 'Other' }))).reason, 'scope_missing')
    assert.equal((await verify(service, 'portal', v2User())).reason, 'audience_mismatch')
  })

  it('is named in the log of a refusal, and its value is not', async () => {
    const value = cookieOf()
    await ask('roles', value)
    const line = service.log.findLast((text) => text.includes('role_missing')) ?? ''
    assert.equal(JSON.parse(line).session, sessionOf().id)
    assert.ok(service.log.every((text) => !text.includes(value)))
  })
})

describe('a service without signIn', () => {
  it('reads no cookie and answers as ever', async () => {
    const plain = await startService({ signIn: part })
    try {
      const headers = { Cookie: `__Host-entra-session=${cookieOf()}`, 'X-Forwarded-Host': host }
      const reply = await verify(plain, 'default', headers)
      assert.equal(reply.reason, 'no_credentials')
      assert.equal(reply.headers['x-entra-auth-sign-in'], undefined)
      const allowed = await verify(plain, 'default', v2User())
      assert.equal(allowed.headers.vary, 'Authorization')
    } finally {
      await plain.close()
    }
  })
})
