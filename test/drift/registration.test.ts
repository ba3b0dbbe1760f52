import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Config } from '../../src/config/config.ts'
import { findingCodes } from '../../src/drift/finding.ts'
import { readRegistration } from '../../src/drift/registration.ts'
import { configOf } from '../config/fixture.ts'
import { cleanConfig, fixture, registration, registrationFindings, replaced } from './fixture.ts'

// biome-ignore lint/suspicious/noExplicitAny: changes give the registration shapes that its type forbids
type Loose = any
type Change = (app: Loose) => void

const noChange: Change = () => {}
const withoutClaim = (name: string) => (app: Loose) => {
  const claims = app.optionalClaims.accessToken.filter((claim: Loose) => claim.name !== name)
  app.optionalClaims.accessToken = claims
}
const policy = (piece: string, by: string) => configOf(replaced(fixture('config.yaml'), piece, by))
const orders = 'audiences: [api://orders, 33333333-3333-4333-8333-333333333333]'

const denyingAgents = await configOf(`${fixture('config.yaml')}    deny: [{ actor: agent }]\n`)

/** A registration of a web application that people sign in to, and nothing else. */
const webApp = (change: Change) => (app: Loose) => {
  app.api.oauth2PermissionScopes = []
  app.api.requestedAccessTokenVersion = null
  app.identifierUris = []
  app.appRoles = []
  app.groupMembershipClaims = null
  app.optionalClaims = {
    idToken: [{ name: 'acct' }, { name: 'login_hint' }, { name: 'sid' }],
    accessToken: [],
  }
  app.web = {
    redirectUris: [
      'https://portal.contoso.com/oauth2/callback',
      'https://portal.contoso.com/oauth2/signed_out',
      'http://localhost:8000/oauth2/callback',
      'http://localhost/oauth2/signed_out',
    ],
    logoutUrl: 'https://portal.contoso.com/oauth2/frontchannel_logout',
  }
  app.keyCredentials = [
    { endDateTime: '2025-12-31T00:00:00Z' },
    { endDateTime: '2026-03-01T00:00:00Z' },
  ]
  app.passwordCredentials = []
  change(app)
}

const signInFile = (rest = '') => `
tenants:
  contoso: 11111111-1111-4111-8111-111111111111
  fabrikam: 22222222-2222-4222-8222-222222222222
revocationFile: /var/lib/revocations.json
signIn:
  clientId: 33333333-3333-4333-8333-333333333333
  tenant: contoso
  hosts: [portal.contoso.com, localhost]
  credential: { certificateFile: /c, keyFile: /k }
policies:
  portal:
    allow: [{ actor: user, session: true, guests: false }]
${rest}`
const signsIn = await configOf(signInFile())
const withSecret = await configOf(
  replaced(signInFile(), '{ certificateFile: /c, keyFile: /k }', '{ clientSecretFile: /s }'),
)
const withoutPlace = await configOf(
  replaced(signInFile(), 'revocationFile: /var/lib/revocations.json', ''),
)
const otherClient = await configOf(
  replaced(signInFile(), '33333333-3333-4333-8333', '33333333-3333-4333-9333'),
)

const signInRow = (name: string, change: Change, found: string, config = signsIn): Row => ({
  name,
  change: webApp(change),
  config,
  found: [`${found} at the registration`],
})

interface Row {
  readonly name: string
  readonly change: Change
  readonly config?: Config
  readonly found: readonly string[]
}

const rows: readonly Row[] = [
  {
    name: 'a scope that is gone',
    change: (app) => app.api.oauth2PermissionScopes.pop(),
    found: ['scope-missing at the registration'],
  },
  {
    name: 'a scope in another letter case',
    change: (app) => (app.api.oauth2PermissionScopes[0].value = 'orders.read'),
    found: ['scope-missing at the registration', 'scope-unused at the registration'],
  },
  {
    name: 'a disabled scope',
    change: (app) => (app.api.oauth2PermissionScopes[0].isEnabled = false),
    found: ['scope-disabled at the registration'],
  },
  {
    name: 'no api at all',
    change: (app) => delete app.api,
    found: ['registration-partial at the registration'],
  },
  {
    name: 'a scope too many',
    change: (app) =>
      app.api.oauth2PermissionScopes.push({ value: 'Orders.Write', isEnabled: true }),
    found: ['scope-unused at the registration'],
  },
  {
    name: 'a role that is gone',
    change: (app) => app.appRoles.shift(),
    found: ['role-missing at the registration'],
  },
  {
    name: 'a disabled role',
    change: (app) => (app.appRoles[1].isEnabled = false),
    found: ['role-disabled at the registration'],
  },
  {
    name: 'a role for users only that apps need',
    change: (app) => (app.appRoles[1].allowedMemberTypes = ['User']),
    found: ['role-member-type at the registration'],
  },
  {
    name: 'a role for apps only that users need',
    change: (app) => (app.appRoles[0].allowedMemberTypes = ['Application']),
    found: ['role-member-type at the registration'],
  },
  {
    name: 'a role too many',
    change: (app) =>
      app.appRoles.push({ value: 'Orders.Delete', isEnabled: true, allowedMemberTypes: ['User'] }),
    found: ['role-unused at the registration'],
  },
  {
    name: 'a role that only a deny rule names',
    change: noChange,
    config: await policy(
      '    requireIdtyp: true\n',
      '    requireIdtyp: true\n    deny:\n      - { roles: [Orders.Banned] }\n',
    ),
    found: ['role-missing at the registration'],
  },
  {
    name: 'a name as scope and role',
    change: noChange,
    config: await policy('roles: [Orders.Admin]', 'roles: [Orders.Admin, Orders.Read]'),
    found: ['role-missing at the registration', 'value-clash at the registration'],
  },
  {
    name: 'an audience of another registration',
    change: noChange,
    config: await policy(orders, 'audiences: [api://other, 33333333-3333-4333-8333-333333333333]'),
    found: ['audience-unknown at policy orders'],
  },
  {
    name: 'an identifier URI with a slash at its end',
    change: (app) => (app.identifierUris[0] = 'api://orders/'),
    found: ['audience-unknown at policy orders'],
  },
  ...[1, null, '1'].map((version) => ({
    name: `token version ${version} where a policy has the client id only`,
    change: ((app) => (app.api.requestedAccessTokenVersion = version)) satisfies Change,
    found: ['resource-audience at policy orders', 'audience-version at policy stock'],
  })),
  {
    name: 'token version 2 where a policy has the URI only',
    change: noChange,
    config: await policy(orders, 'audiences: [api://orders]'),
    found: ['audience-version at policy orders'],
  },
  {
    name: 'a resource that is no identifier URI',
    change: (app) => app.identifierUris.pop(),
    found: ['resource-unknown at policy orders'],
  },
  ...[
    'identifierUris',
    'appRoles',
    'optionalClaims',
    'groupMembershipClaims',
    'signInAudience',
  ].map((member) => ({
    name: `a file without ${member}`,
    change: ((app) => delete app[member]) satisfies Change,
    found: ['registration-partial at the registration'],
  })),
  {
    name: 'a file whose roles were cut off',
    change: (app) => (app.appRoles = ['@{id=1; value=Orders.Admin}']),
    found: ['registration-partial at the registration'],
  },
  {
    name: 'v1.0 tokens with the client id where a policy has the URI only',
    change: (app) => {
      app.api.requestedAccessTokenVersion = 1
      app.optionalClaims.accessToken.push({ name: 'aud', additionalProperties: ['use_guid'] })
    },
    config: await policy(orders, 'audiences: [api://orders, https://api.contoso.com/orders]'),
    found: ['audience-version at policy orders'],
  },
  {
    name: 'no idtyp',
    change: withoutClaim('idtyp'),
    found: ['idtyp-required at policy orders', 'idtyp-recommended at policy stock'],
  },
  { name: 'no acct', change: withoutClaim('acct'), found: ['acct-missing at policy orders'] },
  ...['xms_act_fct', 'xms_sub_fct', 'xms_par_app_azp'].flatMap((claim) => [
    {
      name: `no ${claim}`,
      change: withoutClaim(claim),
      found: ['agent-claims-recommended at the registration'],
    },
    {
      name: `no ${claim}, where a deny rule names agents`,
      change: withoutClaim(claim),
      config: denyingAgents,
      found: ['agent-claims-missing at policy stock'],
    },
  ]),
  {
    name: 'no optional claims',
    change: (app) => (app.optionalClaims = null),
    found: [
      'idtyp-required at policy orders',
      'acct-missing at policy orders',
      'idtyp-recommended at policy stock',
      'agent-claims-recommended at the registration',
      'email-claim-missing at the registration',
    ],
  },
  ...[null, 'None', 'DirectoryRole'].map((claims) => ({
    name: `groupMembershipClaims ${claims}`,
    change: ((app) => (app.groupMembershipClaims = claims)) satisfies Change,
    found: ['groups-claim-missing at policy stock'],
  })),
  ...['cloud_displayname', 'emit_as_roles', 'sam_account_name'].map((property) => ({
    name: `the optional claim groups with ${property}`,
    change: ((app) =>
      app.optionalClaims.accessToken.push({
        name: 'groups',
        additionalProperties: [property],
      })) satisfies Change,
    found: ['groups-claim-format at policy stock'],
  })),
  {
    name: 'no verified e-mail',
    change: withoutClaim('xms_edov'),
    found: ['email-claim-missing at the registration'],
  },
  {
    name: 'a registration for all tenants',
    change: (app) => (app.signInAudience = 'AzureADMultipleOrgs'),
    found: ['sign-in-audience-wide at the registration'],
  },
  {
    name: 'a registration for one tenant and policies for two',
    change: noChange,
    config: await policy(
      'policies:\n',
      '  fabrikam: 22222222-2222-4222-8222-222222222222\npolicies:\n',
    ),
    found: ['sign-in-audience-narrow at the registration'],
  },
  signInRow(
    'no redirect URI of a host',
    (app) => app.web.redirectUris.shift(),
    'redirect-uri-missing',
  ),
  signInRow(
    'a redirect URI in another spelling',
    (app) => (app.web.redirectUris[0] += '/'),
    'redirect-uri-missing',
  ),
  signInRow(
    'no way back after a sign-out',
    (app) => app.web.redirectUris.pop(),
    'signed-out-uri-missing',
  ),
  signInRow('no logout URL', (app) => (app.web.logoutUrl = null), 'logout-url-missing'),
  signInRow('a logout URL elsewhere', (app) => (app.web.logoutUrl += '2'), 'logout-url-missing'),
  ...[0, 1, 2].map((index) =>
    signInRow(
      `ID tokens without claim ${index}`,
      (app) => app.optionalClaims.idToken.splice(index, 1),
      'id-token-claims-missing',
    ),
  ),
  signInRow('no optional claims', (app) => (app.optionalClaims = null), 'id-token-claims-missing'),
  signInRow('no valid certificate', (app) => app.keyCredentials.pop(), 'credential-missing'),
  signInRow('no secret', noChange, 'credential-missing', withSecret),
  signInRow(
    'a certificate that ends soon',
    (app) => (app.keyCredentials[1].endDateTime = '2026-02-14T00:00:00Z'),
    'credential-expiring',
  ),
  signInRow('no web part', (app) => delete app.web, 'registration-partial'),
  signInRow(
    'no certificates in the file',
    (app) => delete app.keyCredentials,
    'registration-partial',
  ),
]

const alike: readonly [name: string, change: Change, config?: Config][] = [
  ['the registration of a web application', webApp(noChange), signsIn],
  [
    'no logout URL and no sid without a place for revocations',
    webApp((app) => {
      app.web.logoutUrl = null
      app.optionalClaims.idToken.pop()
    }),
    withoutPlace,
  ],
  ['another registration than that of sign-in', webApp((app) => delete app.web), otherClient],
  ['the clean registration', noChange],
  [
    'v1.0 tokens that have the client id as audience',
    (app) => {
      app.api.requestedAccessTokenVersion = null
      app.optionalClaims.accessToken.push({ name: 'aud', additionalProperties: ['use_guid'] })
    },
  ],
  ['the token version as text', (app) => (app.api.requestedAccessTokenVersion = '2')],
  ['the client id in capitals', (app) => (app.appId = app.appId.toUpperCase())],
  [
    'a disabled scope and role that nobody needs',
    (app) => {
      app.appRoles.push({ value: 'Old', isEnabled: false, allowedMemberTypes: [] })
      app.api.oauth2PermissionScopes.push({ value: 'Old.Read', isEnabled: false })
    },
  ],
  [
    'a role without a value',
    (app) => app.appRoles.push({ value: null, isEnabled: true, allowedMemberTypes: ['User'] }),
  ],
  ['a role for both', (app) => (app.appRoles[0].allowedMemberTypes = ['Application', 'User'])],
  [
    'more scopes where a policy takes any',
    (app) => app.api.oauth2PermissionScopes.push({ value: 'More', isEnabled: true }),
    await policy('scopes: [Orders.Read]', 'scopes: any'),
  ],
  [
    'more roles where a policy takes any',
    (app) => app.appRoles.push({ value: 'More', isEnabled: true, allowedMemberTypes: ['User'] }),
    await policy('roles: [Orders.Admin]', 'roles: any'),
  ],
  [
    'groups of several kinds',
    (app) => (app.groupMembershipClaims = 'DirectoryRole, SecurityGroup'),
  ],
  [
    'members of other types than documented',
    (app) => {
      app.api.knownClientApplications = 7
      app.spa = null
    },
  ],
]

describe('drift in a registration', () => {
  for (const { name, change, config, found } of rows) {
    it(`finds ${name}`, () => {
      assert.deepEqual(
        registrationFindings(registration(change), config).toSorted(),
        found.toSorted(),
      )
    })
  }

  for (const [name, change, config] of alike) {
    it(`finds nothing in ${name}`, () => {
      assert.deepEqual(registrationFindings(registration(change), config), [])
    })
  }

  it('has a row for every code about registrations', () => {
    const tested = new Set(rows.flatMap(({ found }) => found.map((one) => one.split(' ')[0])))
    const own = findingCodes.slice(findingCodes.indexOf('scope-missing'))
    assert.deepEqual(
      own.filter((code) => !tested.has(code)),
      [],
    )
  })

  it('does not ask for e-mail where no header shows it', () => {
    const config: Config = { ...cleanConfig, identityHeaders: { 'X-User': 'oid' } }
    assert.deepEqual(registrationFindings(registration(withoutClaim('email')), config), [])
  })
})

describe('a registration file', () => {
  const texts: readonly [string, RegExp][] = [
    ['', /not JSON/],
    ['{', /not JSON/],
    ['[]', /is a list/],
    ['null', /no application/],
    ['{}', /no appId/],
    ['{"appId": 5}', /no appId/],
  ]
  for (const [text, problem] of texts) {
    it(`is refused: ${text || 'empty'}`, () =>
      assert.match(String(readRegistration(text)), problem))
  }

  const id = '33333333-3333-4333-8333-333333333333'
  const formats: readonly [name: string, raw: object, says: RegExp][] = [
    ['of Azure AD Graph', { appId: id, oauth2Permissions: [] }, /Azure AD Graph/],
    ['of the old manifest', { appId: id, accessTokenAcceptedVersion: 2 }, /old manifest/],
    ['of a service principal', { appId: id, servicePrincipalNames: [id] }, /service principal/],
    ['of PowerShell', { AppId: id, AppRoles: [] }, /PowerShell/],
    ['of terraform', { client_id: id, app_role: [] }, /terraform/],
    [
      'of a service principal without its names',
      { appId: id, appRoleAssignmentRequired: false },
      /service principal/,
    ],
    [
      'of a service principal with its scopes',
      { appId: id, oauth2PermissionScopes: [], appRoles: [] },
      /service principal/,
    ],
    ['of Azure AD Graph, in part', { appId: id, objectType: 'Application' }, /Azure AD Graph/],
    ['of Azure AD Graph, a public client', { appId: id, publicClient: false }, /Azure AD Graph/],
    ['of Pulumi', { clientId: id, appRoles: [] }, /Pulumi/],
    ['of a list with one of another kind', { value: [{ AppId: id }] }, /PowerShell/],
  ]
  for (const [name, raw, says] of formats) {
    it(`in the format ${name} is named, with the command that prints the right one`, () => {
      const problem = String(readRegistration(JSON.stringify(raw)))
      assert.match(problem, says)
      assert.match(problem, new RegExp(`az ad app show --id ${id}$`))
    })
  }

  const withoutId: readonly [name: string, raw: object, says: RegExp][] = [
    ['a plan of terraform', { format_version: '1.2', planned_values: {} }, /terraform/],
    ['terraform as JSON', { resource: { azuread_application: {} } }, /terraform/],
    ['a template of Bicep', { $schema: 'x', resources: [] }, /Bicep/],
    ['an error of Graph', { error: { code: 'Request_ResourceNotFound' } }, /is an error/],
    ['one page', { value: [{ appId: id }], '@odata.nextLink': 'https://x' }, /first page/],
  ]
  for (const [name, raw, says] of withoutId) {
    it(`that is ${name} is named, with the command that prints the right one`, () => {
      const problem = String(readRegistration(JSON.stringify(raw)))
      assert.match(problem, says)
      assert.match(problem, /az ad app show --id APP-ID$/)
    })
  }

  // As tools cut off what is nested too deeply, or write lists of one as their only member.
  const cutOff: readonly [path: string, change: Change][] = [
    ['appRoles', (app) => Object.assign(app.appRoles[0], { allowedMemberTypes: 'User' })],
    ['appRoles', (app) => Object.assign(app.appRoles[0], { isEnabled: 'true' })],
    ['api.oauth2PermissionScopes', (app) => delete app.api.oauth2PermissionScopes[0].isEnabled],
    [
      'api.oauth2PermissionScopes',
      (app) => Object.assign(app.api.oauth2PermissionScopes[0], { value: ['Orders.Read'] }),
    ],
    [
      'optionalClaims',
      (app) =>
        app.optionalClaims.accessToken.push({ name: 'aud', additionalProperties: 'use_guid' }),
    ],
    ['optionalClaims', (app) => app.optionalClaims.idToken.push({ source: null })],
  ]
  for (const [path, change] of cutOff) {
    it(`that is cut off within ${path} is not compared there: ${change}`, () => {
      const app = readRegistration(JSON.stringify(registration(change).raw))
      assert.deepEqual(typeof app === 'string' ? app : app.missing, [path])
      const found = registrationFindings(registration(change), cleanConfig)
      assert.deepEqual(
        found.map((one) => one.split(' ')[0]),
        ['registration-partial'],
      )
    })
  }

  it('is read out of a list that holds one, and refused where it holds more', () => {
    const one = { appId: id }
    for (const list of [[one], { '@odata.context': 'x', value: [one] }]) {
      const app = readRegistration(JSON.stringify(list))
      assert.equal(typeof app === 'string' ? app : app.appId, id)
    }
    assert.match(String(readRegistration(JSON.stringify({ value: [one, one] }))), /is a list of 2;/)
  })

  it('may begin with a byte order mark', () => {
    assert.equal(typeof readRegistration('\uFEFF{"appId": "x"}'), 'object')
  })

  it('survives members of every wrong type', () => {
    for (const wrong of [null, 5, 'x', [], [null, 5], {}]) {
      const text = JSON.stringify({
        appId: 'x',
        identifierUris: wrong,
        api: wrong,
        appRoles: wrong,
        optionalClaims: wrong,
        groupMembershipClaims: wrong,
        signInAudience: wrong,
      })
      assert.equal(typeof readRegistration(text), 'object', text)
    }
  })
})
