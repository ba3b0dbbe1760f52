import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import type { FailureCode } from '../../src/failure.ts'
import { assertAllowed, assertInsufficientScope, assertRefused } from '../support/expect.ts'
import { appIdUri, ids } from '../support/ids.ts'
import { ask, startService, verify } from '../support/service.ts'
import { managedIdentity, v1User, v2App, v2User } from '../support/tokens.ts'

const audiences = [ids.api, appIdUri]
const policy = (...allow: object[]) => ({ audiences, allow })
const read = { actor: 'user', scopes: ['Orders.Read'] }
const policies = {
  read: policy(read),
  'read-lower': policy({ actor: 'user', scopes: ['read'] }),
  'read-or-write': policy({ actor: 'user', scopes: ['Orders.Read', 'Orders.Write'] }),
  'any-scope': policy({ actor: 'user', scopes: 'any' }),
  'any-user': policy({ actor: 'user' }),
  'read-and-role': policy({ ...read, roles: ['Orders.Admin'] }),
  'read-or-role': policy(read, { actor: 'user', roles: ['Orders.Admin'] }),
  process: policy({ actor: 'app', roles: ['Orders.Process'] }),
  'any-role': policy({ actor: 'app', roles: 'any' }),
  'named-client': policy({ actor: 'app', clients: [ids.client] }),
  'named-client-of-user': policy({ ...read, clients: [ids.client] }),
  'process-by-client': policy({ actor: 'app', roles: ['Orders.Process'], clients: [ids.client] }),
  confidential: policy({ ...read, confidential: true }),
  prototype: policy({ actor: 'user', scopes: ['constructor'] }),
  'deny-user': { ...policy(read), deny: [{ users: [ids.user] }] },
  'deny-client': { ...policy(read), deny: [{ clients: [ids.otherClient] }] },
  'deny-scope': { ...policy(read), deny: [{ scopes: ['Orders.Write'] }] },
  'deny-role': { ...policy(read), deny: [{ roles: ['Suspended'] }] },
  'deny-actor': { ...policy(read, { actor: 'app', roles: 'any' }), deny: [{ actor: 'app' }] },
  'deny-two': { ...policy(read), deny: [{ users: [ids.user], roles: ['Suspended'] }] },
  'deny-either': { ...policy(read), deny: [{ users: [ids.app] }, { roles: ['Suspended'] }] },
}
type PolicyName = keyof typeof policies
const service = await startService({ config: { policies } })
after(() => service.close())

function admits(what: string, name: PolicyName, token: string): void {
  it(`admits ${what}`, async () => assertAllowed(await verify(service, name, token)))
}

function refuses(what: string, name: PolicyName, token: string, reason: FailureCode): void {
  it(`refuses ${what}`, async () =>
    assertInsufficientScope(await verify(service, name, token), reason))
}

describe('scopes', () => {
  admits('the required one', 'read', v2User())
  admits(
    'the required one among many',
    'read',
    v2User({ scp: 'A.Read Orders.Read User.Read offline_access' }),
  )
  admits('the required one after a double space', 'read', v2User({ scp: 'A.Read  Orders.Read' }))
  refuses(
    'Orders.Readx where Orders.Read is required',
    'read',
    v2User({ scp: 'Orders.Readx' }),
    'scope_missing',
  )
  refuses(
    'xOrders.Read where Orders.Read is required',
    'read',
    v2User({ scp: 'xOrders.Read' }),
    'scope_missing',
  )
  refuses(
    'Orders.Read.All where Orders.Read is required',
    'read',
    v2User({ scp: 'Orders.Read.All' }),
    'scope_missing',
  )
  refuses('readx where read is required', 'read-lower', v2User({ scp: 'readx' }), 'scope_missing')
  refuses(
    'the required one in another letter case',
    'read',
    v2User({ scp: 'orders.read' }),
    'scope_missing',
  )
  refuses(
    'the required one with a comma',
    'read',
    v2User({ scp: 'Orders.Read,A.Read' }),
    'scope_missing',
  )
  refuses(
    'the required one after a tab',
    'read',
    v2User({ scp: 'A.Read\tOrders.Read' }),
    'scope_missing',
  )
  refuses(
    'the required one after a line feed',
    'read',
    v2User({ scp: 'A.Read\nOrders.Read' }),
    'scope_missing',
  )
  refuses(
    'the required one after a no-break space',
    'read',
    v2User({ scp: 'A.Read\u00a0Orders.Read' }),
    'scope_missing',
  )
  refuses(
    'the required one as a URL',
    'read',
    v2User({ scp: `${appIdUri}/Orders.Read` }),
    'scope_missing',
  )
  refuses(
    'a role of that name',
    'read',
    v2User({ scp: 'A.Read', roles: ['Orders.Read'] }),
    'scope_missing',
  )
  admits('the second of two that will do', 'read-or-write', v2User({ scp: 'Orders.Write' }))
  admits('whatever scope where any will do', 'any-scope', v2User({ scp: 'Whatever' }))
  admits('whatever scope where none is asked for', 'any-user', v2User({ scp: 'Whatever' }))
  refuses('a prototype name that is not held', 'prototype', v2User(), 'scope_missing')
  admits('a prototype name that is held', 'prototype', v2User({ scp: 'constructor' }))
  it('that are missing are named in the challenge, ready for a token request', async () => {
    const reply = await verify(service, 'read-or-write', v2User({ scp: 'Other' }))
    assertInsufficientScope(reply, 'scope_missing')
    assert.equal(reply.challenge?.scope, `${appIdUri}/Orders.Read ${appIdUri}/Orders.Write`)
  })
  it('are not named in the challenge where a scope would not help', async () => {
    const reply = await verify(service, 'process', v2App({ roles: [] }))
    assert.equal(reply.challenge?.scope, undefined)
  })
})

describe('roles', () => {
  admits('the required one', 'process', v2App())
  admits('the required one among many', 'process', v2App({ roles: ['A', 'Orders.Process', 'B'] }))
  refuses('no roles', 'process', v2App({ roles: undefined }), 'role_missing')
  refuses('an empty list', 'process', v2App({ roles: [] }), 'role_missing')
  refuses(
    'the required one in another letter case',
    'process',
    v2App({ roles: ['orders.process'] }),
    'role_missing',
  )
  refuses('a longer one', 'process', v2App({ roles: ['Orders.Process.All'] }), 'role_missing')
  refuses(
    'two in one string',
    'process',
    v2App({ roles: ['Orders.Process Orders.Read'] }),
    'role_missing',
  )
  refuses(
    'one with a space at the end',
    'process',
    v2App({ roles: ['Orders.Process '] }),
    'role_missing',
  )
  admits('whatever role where any will do', 'any-role', v2App({ roles: ['Whatever'] }))
  refuses('no role where any will do', 'any-role', v2App({ roles: [] }), 'role_missing')
  refuses(
    'ids of groups in roles (emit_as_roles) where any role will do',
    'any-role',
    v2App({ roles: [ids.group] }),
    'role_missing',
  )
  admits(
    'a role beside ids of groups where any role will do',
    'any-role',
    v2App({ roles: [ids.group, 'Whatever'] }),
  )
})

describe('clients', () => {
  admits(
    'an app without roles where the grant names its client',
    'named-client',
    v2App({ roles: undefined }),
  )
  admits('a managed identity by its client', 'named-client', managedIdentity({ roles: undefined }))
  refuses('another client', 'named-client', v2App({ azp: ids.otherClient }), 'client_not_allowed')
  refuses(
    'another client of a v1.0 token',
    'named-client-of-user',
    v1User({ appid: ids.otherClient }),
    'client_not_allowed',
  )
  refuses(
    'another client of a user with the scope',
    'named-client-of-user',
    v2User({ azp: ids.otherClient }),
    'client_not_allowed',
  )
  refuses(
    'the object id of the client in place of its client id',
    'named-client',
    v2App({ azp: ids.app }),
    'client_not_allowed',
  )
  refuses(
    'the right client without the role',
    'process-by-client',
    v2App({ roles: [] }),
    'role_missing',
  )
  refuses(
    'the right role with another client',
    'process-by-client',
    v2App({ azp: ids.otherClient }),
    'client_not_allowed',
  )
  admits('a client with a secret', 'confidential', v2User({ azpacr: '1' }))
  admits('a client with a certificate', 'confidential', v2User({ azpacr: '2' }))
  admits('a client with a secret, v1.0', 'confidential', v1User({ appidacr: '1' }))
  refuses('a public client', 'confidential', v2User({ azpacr: '0' }), 'client_not_confidential')
  refuses(
    'a public client, v1.0',
    'confidential',
    v1User({ appidacr: '0' }),
    'client_not_confidential',
  )
  refuses(
    'a client of which nothing is said',
    'confidential',
    v2User({ azpacr: undefined }),
    'client_not_confidential',
  )
  refuses(
    'a client whose proof stands in the claim of the other version',
    'confidential',
    v2User({ azpacr: undefined, appidacr: '2' }),
    'client_not_confidential',
  )
})

describe('conditions and grants', () => {
  admits('a token that meets each condition', 'read-and-role', v2User({ roles: ['Orders.Admin'] }))
  refuses('a token that meets only the first', 'read-and-role', v2User(), 'role_missing')
  refuses(
    'a token that meets only the second',
    'read-and-role',
    v2User({ scp: 'x', roles: ['Orders.Admin'] }),
    'scope_missing',
  )
  admits(
    'a token that meets the second grant only',
    'read-or-role',
    v2User({ scp: 'x', roles: ['Orders.Admin'] }),
  )
  refuses('a token that meets no grant', 'read-or-role', v2User({ scp: 'x' }), 'role_missing')
})

describe('deny rules', () => {
  refuses('the named user', 'deny-user', v2User(), 'denied_by_rule')
  admits('another user', 'deny-user', v2User({ oid: ids.app }))
  refuses('the named client', 'deny-client', v2User({ azp: ids.otherClient }), 'denied_by_rule')
  admits('another client', 'deny-client', v2User())
  refuses(
    'the named scope among granted ones',
    'deny-scope',
    v2User({ scp: 'Orders.Read Orders.Write' }),
    'denied_by_rule',
  )
  refuses('the named role', 'deny-role', v2User({ roles: ['Suspended'] }), 'denied_by_rule')
  refuses('the named actor', 'deny-actor', v2App(), 'denied_by_rule')
  admits('another actor', 'deny-actor', v2User())
  refuses(
    'whoever meets both conditions of a rule',
    'deny-two',
    v2User({ roles: ['Suspended'] }),
    'denied_by_rule',
  )
  admits('whoever meets one of two conditions', 'deny-two', v2User())
  refuses(
    'whoever meets the second rule',
    'deny-either',
    v2User({ roles: ['Suspended'] }),
    'denied_by_rule',
  )
})

describe('policy names', () => {
  for (const name of [
    'nowhere',
    'READ',
    'Read',
    'read ',
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    'default',
  ]) {
    it(`that are not configured are refused: ${JSON.stringify(name)}`, async () =>
      assertRefused(
        await verify(service, encodeURIComponent(name), v2User()),
        404,
        undefined,
        'unknown_policy',
      ))
  }
  it('are requested as "default" if the path has none', async () =>
    assertRefused(
      await ask(service, '/verify', { headers: { Authorization: `Bearer ${v2User()}` } }),
      404,
      undefined,
      'unknown_policy',
    ))
})
