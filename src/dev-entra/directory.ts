/** A tenant that dev-entra answers for. */
export interface Tenant {
  readonly name: string
  readonly id: string
  readonly domain: string
}

/** The app registration of an API. */
export interface ApiRegistration {
  readonly name: string
  readonly appId: string
  /** The first one is the audience of its v1.0 tokens. */
  readonly identifierUris: readonly string[]
  readonly scopes: readonly string[]
  /** `requestedAccessTokenVersion`: the API picks the version, not the endpoint that the client calls. */
  readonly version: TokenVersion
  /** Its tokens are signed with its own key (claims mapping). */
  readonly customSigningKey?: true
}

/** A registered client application; one without a secret is a public client. */
export interface ClientRegistration {
  readonly name: string
  readonly appId: string
  readonly secret?: string
  /** The app persona that its client credentials stand for. */
  readonly persona?: string
  /** Service principal of a client that is no persona: an application without a role. */
  readonly objectId?: string
  /** Optional claims that its ID tokens have, as its registration asks for them. */
  readonly idTokenClaims?: readonly OptionalClaim[]
  /** Issuers, below dev-entra's own origin, and subjects whose tokens stand for a secret. */
  readonly federated?: readonly { readonly issuerPath: string; readonly subject: string }[]
}

/** https://learn.microsoft.com/entra/identity-platform/optional-claims-reference */
export type OptionalClaim = 'sid' | 'login_hint' | 'acrs' | 'acct'

export type TokenVersion = '1.0' | '2.0'

export const contoso: Tenant = {
  name: 'contoso',
  id: '11111111-1111-4111-8111-111111111111',
  domain: 'contoso.onmicrosoft.com',
}

export const fabrikam: Tenant = {
  name: 'fabrikam',
  id: '22222222-2222-4222-8222-222222222222',
  domain: 'fabrikam.onmicrosoft.com',
}

/** The tenant of personal Microsoft accounts; its id is Microsoft's own. */
export const consumers: Tenant = {
  name: 'consumers',
  id: '9188040d-6c67-4c5b-b112-36a304b66dad',
  domain: 'outlook.com',
}

const tenants: readonly Tenant[] = [contoso, fabrikam, consumers]

/** Path segments that mean many tenants; External ID has none of them. */
export const sharedAuthorities: readonly string[] = ['common', 'organizations']

/** The API that the personas call. */
export const ordersApi: ApiRegistration = {
  name: 'orders',
  appId: '33333333-3333-4333-8333-333333333333',
  identifierUris: ['api://orders', 'https://api.contoso.com/orders'],
  scopes: ['Orders.Read', 'Orders.Write', 'Profile.Read'],
  version: '2.0',
}

/** An API whose registration still asks for v1.0 tokens. */
const billingApi: ApiRegistration = {
  name: 'billing',
  appId: '34343434-3434-4434-8434-343434343434',
  identifierUris: ['api://billing'],
  scopes: ['Billing.Read'],
  version: '1.0',
}

/** An API with custom signing keys. */
const mappedApi: ApiRegistration = {
  name: 'mapped',
  appId: '88888888-8888-4888-8888-888888888888',
  identifierUris: ['api://mapped'],
  scopes: ['Mapped.Read'],
  version: '2.0',
  customSigningKey: true,
}

/** The registered clients; the secrets are published here and protect nothing. */
export const clients = {
  desktop: { name: 'orders-desktop', appId: 'c1111111-1111-4111-8111-111111111111' },
  web: {
    name: 'orders-web',
    appId: 'c2222222-2222-4222-8222-222222222222',
    secret: 'orders-web-secret',
    objectId: 'b4444444-4444-4444-8444-444444444444',
  },
  robot: {
    name: 'robot',
    appId: '55555555-5555-4555-8555-555555555555',
    secret: 'robot-secret',
    persona: 'robot',
  },
  idle: {
    name: 'idle',
    appId: 'c3333333-3333-4333-8333-333333333333',
    secret: 'idle-secret',
    persona: 'idle',
  },
  /** One registration with the orders API: it signs people in and has an API. */
  portal: {
    name: 'portal',
    appId: '33333333-3333-4333-8333-333333333333',
    secret: 'portal-secret',
    objectId: 'b5555555-5555-4555-8555-555555555555',
    idTokenClaims: ['sid', 'login_hint', 'acrs', 'acct'],
    federated: [
      {
        issuerPath: '/dev/kubernetes',
        subject: 'system:serviceaccount:haproxy:haproxy-entra-auth',
      },
      // The managed identity among the personas.
      { issuerPath: `/${contoso.id}/v2.0`, subject: 'b3333333-3333-4333-8333-333333333333' },
    ],
  },
} as const satisfies Record<string, ClientRegistration>

/** Hosts whose redirect URIs the portal has, beside those on loopback. */
export const portalHosts: readonly string[] = [
  'portal.contoso.com',
  'wiki.contoso.com',
  'portal.contoso.test',
  'wiki.contoso.test',
]

/** Azure Key Vault, whose tokens are for `https://vault.azure.net`; the id is Microsoft's own. */
export const vaultApi: ApiRegistration = {
  name: 'vault',
  appId: 'cfa8b339-82a2-471a-a3c9-0fa0be7a4093',
  identifierUris: ['https://vault.azure.net'],
  scopes: ['user_impersonation'],
  version: '1.0',
}

/** Audience of tokens that are exchanged for others (workload identity federation). */
export const tokenExchange = {
  appId: 'fb60f99c-7a34-4190-8149-302f77469936',
  uri: 'api://AzureADTokenExchange',
} as const

const guid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/

/** Whether a text is a GUID in lower case. */
export function isGuid(text: string): boolean {
  return guid.test(text)
}

/** Finds a tenant by id, name or domain in any letter case; undefined when there is none. */
export function findTenant(segment: string): Tenant | undefined {
  const wanted = segment.toLowerCase()
  return tenants.find(({ id, name, domain }) => [id, name, domain].includes(wanted))
}

/** Finds a client by its id; undefined when there is none. */
export function findClient(appId: string): ClientRegistration | undefined {
  const wanted = appId.toLowerCase()
  return Object.values<ClientRegistration>(clients).find((client) => client.appId === wanted)
}

/** Finds a client by its name or id; undefined when there is none. */
export function findClientByName(name: string): ClientRegistration | undefined {
  return (
    Object.values<ClientRegistration>(clients).find((client) => client.name === name) ??
    findClient(name)
  )
}

/** The APIs of one dev-entra. */
export interface ApiDirectory {
  /** Finds an API by client id, `api://` + client id, or identifier URI; undefined when there is none. */
  find(audience: string): ApiRegistration | undefined
}

/** Creates the API directory; `identifierUris` are more names of the orders API. */
export function createApiDirectory(identifierUris: readonly string[] = []): ApiDirectory {
  const orders = { ...ordersApi, identifierUris: [...ordersApi.identifierUris, ...identifierUris] }
  const apis: readonly ApiRegistration[] = [orders, billingApi, mappedApi, vaultApi]
  return {
    find: (audience) =>
      apis.find(
        ({ appId, identifierUris }) =>
          audience.toLowerCase() === appId ||
          audience === `api://${appId}` ||
          identifierUris.includes(audience),
      ),
  }
}
