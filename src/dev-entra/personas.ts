import { nearest } from '../nearest.ts'
import type { TokenVersion } from './directory.ts'
import { type ClientRegistration, clients, contoso, fabrikam, type Tenant } from './directory.ts'
import type { Refusal } from './refusals.ts'

interface PersonaBase {
  readonly name: string
  /** One line for people. */
  readonly about: string
  readonly tenant: Tenant
  /** Object id, a GUID. */
  readonly oid: string
  /** Empty: the token has no `scp`. */
  readonly scopes: readonly string[]
  readonly roles: readonly string[]
  /** Version of the token where the request names none; absent: the one that the API asks for. */
  readonly version?: TokenVersion
  /** Claims that only this persona has. */
  readonly extraClaims?: Readonly<Record<string, unknown>>
}

/** A person who signed in, maybe through an agent. */
export interface UserPersona extends PersonaBase {
  readonly kind: 'user'
  readonly givenName: string
  readonly familyName: string
  readonly upn: string
  readonly client: ClientRegistration
  /** Object ids of groups; more than 200 do not fit into a token. */
  readonly groups: readonly string[]
  /** Where a guest comes from; absent for members. */
  readonly homeTenant?: Tenant
  /** How a sign-in on a page ends until told otherwise; absent: well. */
  readonly refusal?: Refusal
}

/** An application that acts for itself. */
export interface AppPersona extends PersonaBase {
  readonly kind: 'app'
  readonly appId: string
  /** How the client proved itself: 1 secret, 2 certificate or federation. */
  readonly proof: '1' | '2'
  /** Absent where the token carries no `idtyp`. */
  readonly idtyp?: 'app'
  /** Token lifetime; absent: the usual 60 to 90 minutes. */
  readonly lifetimeSeconds?: number
}

export type Persona = UserPersona | AppPersona

/** The group that the documentation's examples admit. */
const ordersStaffGroup = '44444444-4444-4444-8444-444444444444'

const agentId = 'a9999999-9999-4999-8999-999999999999'
const blueprintId = 'ab999999-9999-4999-8999-999999999999'

function createGroups(count: number): string[] {
  return Array.from(
    { length: count },
    (_, index) => `40000000-0000-4000-8000-${String(index + 1).padStart(12, '0')}`,
  )
}

function createUser(
  user: Pick<UserPersona, 'name' | 'about' | 'familyName' | 'oid'> & Partial<UserPersona>,
): UserPersona {
  const tenant = user.tenant ?? contoso
  return {
    kind: 'user',
    tenant,
    givenName: user.name.charAt(0).toUpperCase() + user.name.slice(1),
    upn: `${user.name}@${tenant.domain}`,
    client: clients.desktop,
    scopes: ['Orders.Read'],
    roles: [],
    groups: [],
    ...user,
  }
}

/** The personas, with fixed ids so that configurations and tests can name them. */
export const personas: readonly Persona[] = [
  createUser({
    name: 'alice',
    about: 'user with scope Orders.Read, in the group of the orders staff',
    familyName: 'Anders',
    oid: 'a1111111-1111-4111-8111-111111111111',
    groups: [ordersStaffGroup],
  }),
  createUser({
    name: 'bob',
    about: 'user with another scope, Profile.Read',
    familyName: 'Brandt',
    oid: 'a2222222-2222-4222-8222-222222222222',
    scopes: ['Profile.Read'],
  }),
  createUser({
    name: 'carol',
    about: 'administrator: role Orders.Admin, scope Orders.Read, a confidential client',
    familyName: 'Castell',
    oid: 'a3333333-3333-4333-8333-333333333333',
    client: clients.web,
    roles: ['Orders.Admin'],
  }),
  createUser({
    name: 'gina',
    about: 'guest from fabrikam with scope Orders.Read',
    familyName: 'Gallo',
    oid: 'a4444444-4444-4444-8444-444444444444',
    upn: 'gina@fabrikam.onmicrosoft.com',
    homeTenant: fabrikam,
  }),
  createUser({
    name: 'mallory',
    about: 'user of the other tenant, fabrikam, with scope Orders.Read',
    familyName: 'Mora',
    oid: 'a5555555-5555-4555-8555-555555555555',
    tenant: fabrikam,
  }),
  createUser({
    name: 'groups200',
    about: 'user in exactly 200 groups: all of them are in the token',
    givenName: 'Greta',
    familyName: 'Grupp',
    oid: 'a6666666-6666-4666-8666-666666666666',
    groups: createGroups(200),
  }),
  createUser({
    name: 'many',
    about: 'user in 201 groups: the token has _claim_names instead of groups',
    givenName: 'Manuel',
    familyName: 'Menge',
    oid: 'a7777777-7777-4777-8777-777777777777',
    groups: createGroups(201),
  }),
  createUser({
    name: 'uwe',
    about: 'user with an umlaut and a sharp s in the name',
    givenName: 'Uwe',
    familyName: 'Müller-Weiß',
    oid: 'e1111111-1111-4111-8111-111111111111',
  }),
  createUser({
    name: 'layla',
    about: 'user with a name written from right to left',
    givenName: 'ليلى',
    familyName: 'حداد',
    oid: 'e2222222-2222-4222-8222-222222222222',
  }),
  createUser({
    name: 'dora',
    about: 'sign-in: not assigned to the application (AADSTS50105)',
    familyName: 'Dorn',
    oid: 'e3333333-3333-4333-8333-333333333333',
    refusal: 'not-assigned',
  }),
  createUser({
    name: 'cora',
    about: 'sign-in: has to consent first (AADSTS65001 without a page)',
    familyName: 'Conti',
    oid: 'e4444444-4444-4444-8444-444444444444',
    refusal: 'consent-missing',
  }),
  createUser({
    name: 'kurt',
    about: 'sign-in: an administrator has to consent (AADSTS90094)',
    familyName: 'Kern',
    oid: 'e5555555-5555-4555-8555-555555555555',
    refusal: 'admin-consent-missing',
  }),
  createUser({
    name: 'erik',
    about: 'sign-in: blocked by Conditional Access (AADSTS53003)',
    familyName: 'Ebert',
    oid: 'e6666666-6666-4666-8666-666666666666',
    refusal: 'conditional-access',
  }),
  createUser({
    name: 'mona',
    about: 'sign-in: needs a second factor (AADSTS50076 without a page)',
    familyName: 'Mohr',
    oid: 'e7777777-7777-4777-8777-777777777777',
    refusal: 'multi-factor',
  }),
  createUser({
    name: 'nina',
    about: 'sign-in: has to enrol a second factor (AADSTS50079 without a page)',
    familyName: 'Noll',
    oid: 'e8888888-8888-4888-8888-888888888888',
    refusal: 'multi-factor-registration',
  }),
  {
    kind: 'app',
    name: 'robot',
    about: 'application with role Orders.Process',
    tenant: contoso,
    oid: 'b1111111-1111-4111-8111-111111111111',
    appId: clients.robot.appId,
    scopes: [],
    roles: ['Orders.Process'],
    proof: '1',
    idtyp: 'app',
  },
  {
    kind: 'app',
    name: 'idle',
    about: 'application without a role',
    tenant: contoso,
    oid: 'b2222222-2222-4222-8222-222222222222',
    appId: clients.idle.appId,
    scopes: [],
    roles: [],
    proof: '1',
    idtyp: 'app',
  },
  {
    kind: 'app',
    name: 'managed-identity',
    about: 'managed identity: v1.0 token for 24 hours, no idtyp, role Orders.Process',
    tenant: contoso,
    oid: 'b3333333-3333-4333-8333-333333333333',
    appId: 'c4444444-4444-4444-8444-444444444444',
    scopes: [],
    roles: ['Orders.Process'],
    proof: '2',
    version: '1.0',
    lifetimeSeconds: 24 * 3600,
    extraClaims: {
      xms_mirid:
        '/subscriptions/d1111111-1111-4111-8111-111111111111/resourcegroups/orders/providers/Microsoft.ManagedIdentity/userAssignedIdentities/orders-worker',
    },
  },
  createUser({
    name: 'agent',
    about: 'agent on behalf of a user, with scope Orders.Read',
    givenName: 'Alice',
    familyName: 'Anders',
    oid: 'a1111111-1111-4111-8111-111111111111',
    upn: 'alice@contoso.onmicrosoft.com',
    client: { name: 'orders-agent', appId: agentId, secret: '' },
    extraClaims: {
      idtyp: 'user',
      xms_act_fct: '3 9 11',
      xms_sub_fct: '3',
      xms_par_app_azp: blueprintId,
    },
  }),
  createUser({
    name: 'agent-user',
    about: "agent with an agent's user account, with scope Orders.Read",
    givenName: 'Orders',
    familyName: 'Agent',
    oid: 'a8888888-8888-4888-8888-888888888888',
    client: { name: 'orders-agent', appId: agentId, secret: '' },
    extraClaims: {
      idtyp: 'user',
      xms_act_fct: '11 3 9',
      xms_sub_fct: '13 3',
      xms_par_app_azp: blueprintId,
    },
  }),
  {
    kind: 'app',
    name: 'agent-autonomous',
    about: 'agent for itself: role Orders.Process, scp is "/"',
    tenant: contoso,
    oid: agentId,
    appId: agentId,
    scopes: ['/'],
    roles: ['Orders.Process'],
    proof: '2',
    idtyp: 'app',
    extraClaims: {
      xms_act_fct: '3 9 11',
      xms_sub_fct: '9 3 11',
      xms_par_app_azp: blueprintId,
    },
  },
]

const aliases: Readonly<Record<string, string>> = { admin: 'carol' }

/** The name of the persona that a mistyped one most likely stands for; undefined where none is close. */
export function nearPersona(name: string): string | undefined {
  return nearest(
    name,
    personas.map((one) => one.name),
  )
}

/** That there is no such persona, and which one was meant, most likely. */
export function noPersona(name: string): string {
  const near = nearPersona(name)
  return `There is no persona "${name}"${near === undefined ? '.' : `; did you mean "${near}"?`}`
}

/** Finds a persona by name, alias or user principal name; undefined when there is none. */
export function findPersona(wanted: string): Persona | undefined {
  const name = Object.hasOwn(aliases, wanted) ? aliases[wanted] : wanted
  return (
    personas.find((persona) => persona.name === name) ??
    personas.find((persona) => persona.kind === 'user' && persona.upn === wanted.toLowerCase())
  )
}

/** The claim `login_hint` of a person: opaque, good for `login_hint` and `logout_hint`. */
export function shapeLoginHint(persona: UserPersona): string {
  return `O.${Buffer.from(`${persona.tenant.id} ${persona.oid}`).toString('base64url')}`
}

/**
 * Finds the user that a `login_hint` or `logout_hint` means: a name, a user principal name, or the
 * claim `login_hint`; undefined when there is none.
 */
export function findUser(hint: string): UserPersona | undefined {
  const persona =
    findPersona(hint) ??
    personas.find((candidate) => candidate.kind === 'user' && shapeLoginHint(candidate) === hint)
  return persona?.kind === 'user' ? persona : undefined
}

/** The refusals that personas are made for, by name. */
export function listInitialRefusals(): ReadonlyMap<string, Refusal> {
  return new Map(
    personas.flatMap((persona) =>
      persona.kind === 'user' && persona.refusal ? [[persona.name, persona.refusal] as const] : [],
    ),
  )
}
