/** The tour: who calls, and what has to come of it. */
import { clients, contoso, ordersApi } from '../../src/dev-entra/directory.ts'
import { findPersona, personas } from '../../src/dev-entra/personas.ts'
import type { Answer, HeaderField } from './call.ts'
import type { Expectation } from './check.ts'
import type { Identity } from './identity.ts'
import type { VerifierControl } from './stack.ts'
import type { Visitor } from './visitor.ts'

/** What dev-entra is asked for, the body of `POST /dev/token`. */
export interface TokenOrder {
  readonly persona: string
  readonly audience?: string
  readonly version?: '1.0'
  readonly idToken?: boolean
  readonly expiresInSeconds?: number
  readonly key?: 'unpublished'
}

/** One row of the tour before it happened. */
export interface Step {
  readonly who: string
  readonly call: string
  readonly why: string
  readonly path?: string
  /** Absent: no token. Each step gets a new one, so none was ever answered from a cache. */
  readonly token?: TokenOrder
  /** Changes the token before it is sent. */
  readonly alter?: (token: string) => string
  /** Sent besides the token, untouched. */
  readonly headers?: readonly HeaderField[]
  /** What a person does with a browser at the portal, in place of a call. */
  readonly visit?: (visitor: Visitor) => Promise<Answer>
  readonly expected: Expectation
}

export interface Section {
  readonly title: string
  /** Happens before the rows. */
  readonly prepare?: (verifier: VerifierControl) => Promise<void> | void
  readonly steps: readonly Step[]
}

/** The identity headers that a persona's token leads to. */
export function identityOf(name: string, actor: 'user' | 'app' | 'agent'): Identity {
  const persona = findPersona(name)
  if (!persona) throw new Error(`there is no persona ${name}`)
  return {
    user: persona.oid,
    tenant: persona.tenant.id,
    actor,
    client: persona.kind === 'user' ? persona.client.appId : persona.appId,
    roles: persona.roles.join(','),
    // The policy names no groups, and only those that it names are passed on.
    groups: '',
    scopes: persona.scopes.join(' '),
  }
}

/** An identity for the table: `alice (user)`, or the bare id of somebody unknown. */
export function describeIdentity({ user, actor }: Identity): string {
  const nameOf = (id: string) => personas.find(({ oid }) => oid === id)?.name ?? id
  return `${user.split(', ').map(nameOf).join(', ') || 'nobody'} (${actor || 'no actor'})`
}

const admitted = (name: string, actor: 'user' | 'app' | 'agent'): Expectation => ({
  status: 200,
  application: identityOf(name, actor),
})
const refused = (status: number, reason: string): Expectation => ({ status, reason })

const alice: TokenOrder = { persona: 'alice' }
const asAlice = { who: 'alice', token: alice, expected: admitted('alice', 'user') } as const
const unavailable = refused(503, 'verifier_unavailable')

const admission: Section = {
  title: 'Who gets in',
  steps: [
    {
      who: 'nobody',
      call: 'no token',
      why: 'nothing to verify',
      expected: refused(401, 'no_credentials'),
    },
    {
      who: 'nobody',
      call: 'GET resource metadata (RFC 9728)',
      path: '/.well-known/oauth-protected-resource/orders',
      why: 'public: which token this API wants',
      expected: { status: 200 },
    },
    { ...asAlice, call: 'token with scope Orders.Read', why: 'grant: user with that scope' },
    {
      ...asAlice,
      call: 'the same as a v1.0 token',
      why: 'same grant, older form of token',
      // A v1.0 token has the identifier URI as its audience.
      token: { ...alice, version: '1.0', audience: 'api://orders' },
    },
    {
      who: 'bob',
      call: 'token with scope Profile.Read',
      why: 'not the scope of the policy',
      token: { persona: 'bob' },
      expected: refused(403, 'scope_missing'),
    },
    {
      who: 'gina',
      call: 'guest, scope Orders.Read',
      why: 'grant with guests: false',
      token: { persona: 'gina' },
      expected: refused(403, 'guest_not_allowed'),
    },
    {
      who: 'robot',
      call: 'app with role Orders.Process',
      why: 'grant: app with that role',
      token: { persona: 'robot' },
      expected: admitted('robot', 'app'),
    },
    {
      who: 'idle',
      call: 'app without a role',
      why: 'any app can get such a token',
      token: { persona: 'idle' },
      expected: refused(403, 'role_missing'),
    },
    {
      who: 'agent',
      call: 'agent on behalf of alice',
      why: 'grant: agent with scope Orders.Read',
      token: { persona: 'agent' },
      expected: admitted('agent', 'agent'),
    },
    {
      who: 'agent',
      call: 'agent for itself, with a role',
      why: 'agents have their own grant',
      token: { persona: 'agent-autonomous' },
      expected: refused(403, 'scope_missing'),
    },
  ],
}

const badTokens: Section = {
  title: 'Tokens that are not good enough',
  steps: [
    {
      who: 'somebody',
      call: 'garbage',
      why: 'not a JSON Web Token',
      token: alice,
      alter: () => 'garbage',
      expected: refused(401, 'token_malformed'),
    },
    {
      who: 'alice',
      call: 'token of an hour ago',
      why: 'its time is over',
      token: { ...alice, expiresInSeconds: -3600 },
      expected: refused(401, 'token_expired'),
    },
    {
      who: 'mallory',
      call: 'token of another tenant',
      why: 'fabrikam is no tenant',
      token: { persona: 'mallory' },
      expected: refused(401, 'tenant_not_allowed'),
    },
    {
      who: 'alice',
      call: 'token for another API',
      why: 'issued for api://billing',
      token: { ...alice, audience: 'api://billing' },
      expected: refused(401, 'audience_mismatch'),
    },
    {
      who: 'alice',
      call: 'ID token for this client id',
      why: 'it grants no access',
      token: { ...alice, idToken: true, audience: ordersApi.appId },
      expected: refused(401, 'not_an_access_token'),
    },
    {
      who: 'bob',
      call: 'token changed to have the scope',
      why: 'not what was signed',
      token: { persona: 'bob' },
      alter: (token) => replaceClaims(token, { scp: 'Orders.Read' }),
      expected: refused(401, 'signature_invalid'),
    },
    {
      who: 'somebody',
      call: 'token signed with another key',
      why: 'Entra ID has no such key',
      token: { ...alice, key: 'unpublished' },
      expected: refused(401, 'key_unknown'),
    },
    {
      who: 'somebody',
      call: 'unsigned token, alg none',
      why: 'only RS256 is',
      token: alice,
      alter: removeSignature,
      expected: refused(401, 'algorithm_not_allowed'),
    },
    {
      who: 'alice',
      call: 'two Authorization headers',
      why: 'which one counts?',
      token: alice,
      headers: [['Authorization', 'Bearer another.one.here']],
      expected: refused(400, 'ambiguous_credentials'),
    },
  ],
}

const forgedHeaders: Section = {
  title: 'Identity headers sent by the client (the application must see the verified ones only)',
  steps: [
    {
      who: 'nobody',
      call: 'no token, X-Auth-Request-User',
      why: 'a header is no credential',
      headers: [['X-Auth-Request-User', findOid('carol')]],
      expected: refused(401, 'no_credentials'),
    },
    ...['X-Auth-Request-User', 'X_Auth_Request_User', 'x-auth.request-user'].map((name) => ({
      ...asAlice,
      call: `${name}: carol`,
      why: 'removed, then set from the token',
      headers: [[name, findOid('carol')] as const],
    })),
    {
      ...asAlice,
      call: 'X-Auth-Request-Roles: Orders.Admin',
      why: 'removed: the token has no role',
      headers: [['X-Auth-Request-Roles', 'Orders.Admin']],
    },
    {
      ...asAlice,
      call: 'Connection: X-Auth-Request-User',
      why: 'or the application would drop it',
      headers: [['Connection', 'X-Auth-Request-User']],
    },
  ],
}

const outage: readonly Section[] = [
  {
    title: 'The verifier is stopped (SIGTERM)',
    prepare: (verifier) => verifier.stop('SIGTERM'),
    steps: [
      { ...asAlice, call: 'good token', why: 'no verdict, no access', expected: unavailable },
      {
        who: 'nobody',
        call: 'no token',
        why: 'HAProxy knows that by itself',
        expected: refused(401, 'no_credentials'),
      },
    ],
  },
  {
    title: 'The verifier is back',
    prepare: (verifier) => verifier.start(),
    steps: [{ ...asAlice, call: 'good token', why: 'HAProxy found out by itself' }],
  },
  {
    title: 'The verifier hangs (SIGSTOP)',
    prepare: (verifier) => verifier.freeze(),
    steps: [
      { ...asAlice, call: 'good token', why: 'HAProxy gives up on it', expected: unavailable },
    ],
  },
  {
    title: 'The verifier is killed (SIGKILL)',
    prepare: (verifier) => verifier.stop('SIGKILL'),
    steps: [
      { ...asAlice, call: 'good token', why: 'no verdict, no access', expected: unavailable },
    ],
  },
  {
    title: 'The verifier is back again',
    prepare: (verifier) => verifier.start(),
    steps: [
      { ...asAlice, call: 'good token', why: 'as before' },
      {
        who: 'carol',
        call: 'good token, issued before',
        why: 'a restart forgets nothing',
        token: { persona: 'carol' },
        expected: refused(401, 'user_revoked'),
      },
    ],
  },
]

const revocation: Section = {
  title: 'Carol leaves the company: her access is revoked, and only hers',
  prepare: (verifier) => verifier.revoke('user', `${contoso.id}/${findOid('carol')}`),
  steps: [
    {
      who: 'carol',
      call: 'good token, issued before',
      why: 'a second ago it was good',
      token: { persona: 'carol' },
      expected: refused(401, 'user_revoked'),
    },
    { ...asAlice, call: 'good token', why: 'nobody revoked hers' },
  ],
}

/** Alice as a session says it: with the client of the portal, and without scopes. */
const signedIn: Expectation = {
  status: 200,
  application: { ...identityOf('alice', 'user'), client: clients.portal.appId, scopes: '' },
}

const signIn: Section = {
  title: 'People sign in with a browser (policy portal, the lines that haproxy-config prints)',
  steps: [
    {
      who: 'nobody',
      call: 'opens a page',
      why: 'sent to sign in',
      visit: (visitor) => visitor.open('/reports?month=7'),
      expected: { status: 302, reason: 'no_session' },
    },
    {
      who: 'nobody',
      call: 'fetch by a script',
      why: 'no redirect, JSON',
      visit: (visitor) => visitor.fetch('/api'),
      expected: refused(401, 'no_session'),
    },
    {
      who: 'alice',
      call: 'opens a page and signs in',
      why: 'by dev-entra and back to the page',
      visit: (visitor) => visitor.signIn('/reports?month=7', 'alice'),
      expected: signedIn,
    },
    {
      who: 'alice',
      call: 'opens another page',
      why: 'the session, without a redirect',
      visit: (visitor) => visitor.open('/next'),
      expected: signedIn,
    },
    {
      who: 'another',
      call: 'form of another site, her cookie',
      why: 'nothing is sent on',
      visit: (visitor) => visitor.sendForeignForm('/transfer'),
      expected: refused(403, 'cross_site_request'),
    },
    {
      who: 'alice',
      call: 'signs out; a copied cookie',
      why: 'worth nothing any more',
      visit: (visitor) => visitor.signOutAndTryCopy(),
      expected: refused(401, 'no_session'),
    },
  ],
}

/** The sections in their order; the last one leaves the verifier running. */
export const tour: readonly Section[] = [
  admission,
  badTokens,
  forgedHeaders,
  signIn,
  revocation,
  ...outage,
]

function findOid(name: string): string {
  return findPersona(name)?.oid ?? name
}

function replaceClaims(token: string, changes: object): string {
  const [header = '', payload = '', signature = ''] = token.split('.')
  const claims = { ...JSON.parse(Buffer.from(payload, 'base64url').toString()), ...changes }
  return [header, encode(claims), signature].join('.')
}

function removeSignature(token: string): string {
  const [header = '', payload = ''] = token.split('.')
  const fields = JSON.parse(Buffer.from(header, 'base64url').toString())
  return [encode({ ...fields, alg: 'none' }), payload, ''].join('.')
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
