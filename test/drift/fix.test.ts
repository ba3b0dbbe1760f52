import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { fixRegistration } from '../../src/drift/fix.ts'
import { cleanConfig, registration, registrationFindings } from './fixture.ts'

// biome-ignore lint/suspicious/noExplicitAny: changes give the registration shapes that its type forbids
type Loose = any

const fix = (change: (app: Loose) => void): Loose =>
  fixRegistration(registration(change), cleanConfig.policies)

const breakAll = (app: Loose) => {
  app.appRoles[0].isEnabled = false
  app.appRoles[0].allowedMemberTypes = ['Application']
  app.appRoles.pop()
  app.api.oauth2PermissionScopes[0].value = 'Orders.Other'
  app.optionalClaims = {
    idToken: [{ name: 'email' }],
    accessToken: [{ name: 'email' }, { name: 'xms_edov' }],
  }
}

describe('the change to a registration', () => {
  it('is empty where nothing is to change', () => {
    assert.deepEqual(
      fix(() => {}),
      {},
    )
  })

  it('leaves nothing to find but what nobody needs', () => {
    const patch = fix(breakAll)
    const after = registration((app) => {
      breakAll(app)
      Object.assign(app, { ...patch, api: { ...app.api, ...patch.api } })
    })
    assert.deepEqual(registrationFindings(after), ['scope-unused at the registration'])
    assert.deepEqual(fixRegistration(after, cleanConfig.policies), {})
  })

  it('holds whole lists, with what exists and its ids', () => {
    const patch = fix(breakAll)
    assert.deepEqual(patch.appRoles[0], {
      id: 'a0000000-0000-4000-8000-000000000002',
      value: 'Orders.Admin',
      displayName: 'Orders administrator',
      description: 'Administers orders',
      allowedMemberTypes: ['Application', 'User'],
      isEnabled: true,
    })
    assert.deepEqual(
      patch.api.oauth2PermissionScopes.map(({ value }: Loose) => value),
      ['Orders.Other', 'Orders.Read'],
    )
    assert.deepEqual(
      patch.optionalClaims.accessToken.map(({ name }: Loose) => name),
      ['email', 'xms_edov', 'xms_act_fct', 'xms_sub_fct', 'xms_par_app_azp', 'idtyp', 'acct'],
    )
    assert.deepEqual(patch.optionalClaims.idToken, [{ name: 'email' }])
  })

  it('holds only the lists that change', () => {
    assert.deepEqual(Object.keys(fix((app) => app.appRoles.pop())), ['appRoles'])
    assert.deepEqual(Object.keys(fix((app) => app.api.oauth2PermissionScopes.pop())), ['api'])
    assert.deepEqual(Object.keys(fix((app) => app.optionalClaims.accessToken.shift())), [
      'optionalClaims',
    ])
  })

  it('gives new entries the same UUID of version 5 each time, and another for each app and kind', () => {
    const idOf = (appId: string) =>
      fix((app) => {
        app.appRoles = []
        app.appId = appId
      }).appRoles.map(({ id }: Loose) => id)
    const first = idOf('33333333-3333-4333-8333-333333333333')
    assert.match(first[0], /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.deepEqual(first, idOf('33333333-3333-4333-8333-333333333333'))
    assert.equal(new Set([...first, ...idOf('44444444-4444-4444-8444-444444444444')]).size, 4)
  })

  it('has no member that Graph refuses', () => {
    assert.doesNotMatch(JSON.stringify(fix(breakAll)), /origin|odata/)
  })

  it('gives a new role to the actors of the grants only', () => {
    const [admin, process] = fix((app) => (app.appRoles = [])).appRoles
    assert.deepEqual(
      [admin.allowedMemberTypes, process.allowedMemberTypes],
      [['User'], ['Application']],
    )
  })

  for (const member of ['appRoles', 'optionalClaims'] as const) {
    it(`leaves ${member} alone where the file lacks them, or not all of them can be read`, () => {
      for (const value of [undefined, ['@{id=1}'], { accessToken: [] }, 'cut off']) {
        const patch = fix((app) => {
          breakAll(app)
          app[member] = value
        })
        assert.equal(patch[member], undefined)
      }
    })
  }

  it('adds no scope if the roles, which share names with scopes, are unknown', () => {
    const patch = fix((app) => {
      app.api.oauth2PermissionScopes = []
      delete app.appRoles
    })
    assert.deepEqual(patch, {})
  })

  it('prints no list of optional claims that the file does not have', () => {
    const { optionalClaims } = fix((app) => {
      app.optionalClaims = { idToken: [{ name: 'email' }], accessToken: [] }
    })
    assert.deepEqual(Object.keys(optionalClaims).sort(), ['accessToken', 'idToken'])
  })

  it('does not add a role whose name is a scope', () => {
    const patch = fix((app) => {
      app.appRoles.pop()
      app.api.oauth2PermissionScopes.push({ id: 'x', value: 'Orders.Process', isEnabled: true })
    })
    assert.deepEqual(patch, {})
  })
})
