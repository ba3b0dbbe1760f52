import { identityBytes, maxIdentityBytes } from '../identity/headers.ts'
import { metadataUrl } from '../keys/discovery.ts'
import type { Policy } from '../policy/compile.ts'
import { maxTokenLength } from '../token/bearer.ts'
import { agentClaims } from '../token/claims.ts'
import { visibleGroups } from '../verify/outcome.ts'
import type { VerifyStep } from '../verify/verifier.ts'
import type { Said } from './explanation.ts'
import {
  describeSpan,
  type Facts,
  type FailedStep,
  nameTenant,
  quoteClaims,
  quotePresent,
  quoteTime,
} from './facts.ts'

/** How a step is described to people. */
export interface StepDescription<F extends Facts = Facts> {
  readonly title: string
  expected(facts: F): readonly string[]
  said(facts: F, failed: FailedStep | undefined): readonly Said[]
}

/** The description of each step. */
export const stepDescriptions: Readonly<Record<VerifyStep, StepDescription>> = {
  credentials: {
    title: 'one bearer token was sent',
    expected: () => [`Authorization: Bearer TOKEN, with at most ${maxTokenLength} characters`],
    said: ({ credentials }) => [{ claim: 'length', value: credentials.length, note: 'characters' }],
  },
  form: {
    title: 'it is a signed JSON Web Token',
    expected: () => ['three base64url parts; one JSON object each in the first two, no name twice'],
    said: ({ credentials }) => [{ claim: 'parts', value: credentials.split('.').length }],
  },
  header: {
    title: 'its header is one of Entra ID',
    expected: () => ['alg RS256, a kid, typ JWT or none, no nonce, no key or extension of its own'],
    said: ({ header, payload }, failed) => [
      ...quoteClaims(header, 'alg', 'kid'),
      ...quotePresent(header, 'typ'),
      ...quoteFailed(header, failed, ['alg', 'kid', 'typ']),
      ...(failed ? quotePresent(payload, 'aud') : []),
    ],
  },
  origin: {
    title: 'it says where it comes from',
    expected: () => ['ver 1.0 or 2.0, tid a GUID in lower case, iss'],
    said: ({ payload }) => quoteClaims(payload, 'ver', 'tid', 'iss'),
  },
  tenant: {
    title: 'its tenant is configured',
    expected: ({ rules }) => [...rules.authorities.keys()].map((id) => nameTenant(rules, id)),
    said: ({ payload }) => quoteClaims(payload, 'tid'),
  },
  issuer: {
    title: 'its issuer is that of the tenant',
    expected: (facts) => [describeIssuer(facts)],
    said: ({ payload }) => quoteClaims(payload, 'iss', 'ver'),
  },
  key: {
    title: 'its signing key is published',
    expected: (facts) => [describeKeys(facts)],
    said: ({ header }) => quoteClaims(header, 'kid'),
  },
  signature: {
    title: 'its signature is right',
    expected: () => ['RS256 over the token as it was sent'],
    said: () => [],
  },
  claims: {
    title: 'its claims are those of an access token',
    expected: ({ origin }) => [
      `oid, sub, aud, iat, exp, ${origin?.version === '1.0' ? 'appid' : 'azp'}; scp for a user; each of the right type`,
    ],
    said: (facts, failed) => {
      const { payload, origin } = facts
      const names = ['oid', origin?.version === '1.0' ? 'appid' : 'azp', 'aud']
      return [
        ...quoteClaims(payload, ...names),
        ...quotePresent(payload, 'sub', 'idtyp', ...agentClaims),
        ...quoteFailed(payload, failed, [...names, 'sub', 'idtyp', ...agentClaims]),
        ...quoteMissing(facts),
      ]
    },
  },
  validity: {
    title: 'it is valid now',
    expected: ({ nowMs, rules }) => [
      `nbf and iat before, exp after ${new Date(nowMs).toISOString()}, give or take ${rules.clockSkewSeconds} s`,
      'the signing key still published and confirmed within a day',
    ],
    said: (facts) => [
      quoteTime(facts, 'iat'),
      ...(Object.hasOwn(facts.payload, 'nbf') ? [quoteTime(facts, 'nbf')] : []),
      quoteTime(facts, 'exp'),
    ],
  },
  revocation: {
    title: 'it was not revoked',
    expected: () => ['no revocation of its key, tenant, client, user or token id'],
    said: (facts) => [
      ...quoteClaims(facts.header, 'kid'),
      ...quoteClaims(facts.payload, 'tid', 'azp', 'appid', 'oid', 'uti').filter(
        ({ value }) => value !== undefined,
      ),
      quoteTime(facts, 'iat'),
    ],
  },
  policy_tenant: {
    title: 'the policy admits its tenant',
    expected: ({ rules, policy }) => [...policy.tenants].map((id) => nameTenant(rules, id)),
    said: ({ payload }) => quoteClaims(payload, 'tid'),
  },
  audience: {
    title: 'it is for this API',
    expected: ({ policy }) => [...policy.audiences],
    said: ({ payload }) => quoteClaims(payload, 'aud', 'ver'),
  },
  lifetime: {
    title: 'it was not issued for too long',
    expected: ({ policy }) => [`at most ${describeSpan(policy.maxTokenLifetimeSeconds)}`],
    said: ({ claims }) =>
      claims
        ? [
            {
              claim: 'exp - iat',
              value: claims.expiresAt - claims.issuedAt,
              note: describeSpan(claims.expiresAt - claims.issuedAt),
            },
          ]
        : [],
  },
  app_only: {
    title: 'an app says that it is one',
    expected: ({ policy }) => [
      policy.requireIdtyp ? 'idtyp app in a token without a user' : 'nothing: requireIdtyp is off',
    ],
    said: ({ payload }) => quoteClaims(payload, 'idtyp'),
  },
  deny: {
    title: 'no deny rule holds',
    expected: ({ policy }) => (policy.deny.length === 0 ? ['nothing: the policy has none'] : []),
    said: () => [],
  },
  allow: {
    title: 'a grant holds',
    expected: () => [],
    said: () => [],
  },
  identity: {
    title: 'its identity fits into the headers',
    expected: () => [`at most ${maxIdentityBytes} bytes`],
    said: (facts) => [{ claim: 'bytes', value: countIdentityBytes(facts) }],
  },
}

/**
 * The optional claims that the token lacks and the policy depends on: Entra sends them only where the
 * registration of the API asks for them, so their absence says nothing of the caller.
 */
function quoteMissing({ payload, policy, claims }: Facts): Said[] {
  return (
    optionalClaims
      .filter(({ isWanted }) => isWanted(policy))
      // Left out by Entra because there are too many: the grants and deny rules say so.
      .filter((optional) => !(optional.claims.includes('groups') && claims?.groupsOverage))
      .flatMap(({ claims: names, without }) => {
        const missing = names.filter((claim) => !Object.hasOwn(payload, claim))
        // One of the claims on agents is enough to tell one.
        if (missing.length < names.length) return []
        return missing.map((claim) => ({ claim, note: `optional claim; ${without}` }))
      })
  )
}

const optionalClaims: readonly {
  readonly claims: readonly string[]
  readonly without: string
  isWanted(policy: Policy): boolean
}[] = [
  {
    claims: agentClaims,
    without: 'without it an agent counts as an app or a user',
    isWanted: () => true,
  },
  {
    claims: ['idtyp'],
    without: 'without it only sub and oid tell apps from users',
    isWanted: ({ requireIdtyp, allow, deny }) =>
      requireIdtyp || [...allow, ...deny].some(({ actor }) => actor === 'app'),
  },
  {
    claims: ['groups'],
    without: 'without it the user counts as a member of no group',
    isWanted: ({ groupsNamed }) => groupsNamed.size > 0,
  },
  {
    claims: ['xms_cc'],
    without: 'without it no client is asked for a stronger sign-in',
    isWanted: ({ allow }) => allow.some(({ authContext }) => authContext !== undefined),
  },
  {
    claims: ['acct'],
    without: 'without it every user counts as a guest',
    isWanted: ({ allow, deny }) =>
      allow.some((grant) => grant.guests === false) || deny.some((rule) => rule.guests === true),
  },
]

/** The claim that failed, unless it is among those shown anyway. */
function quoteFailed(
  from: Facts['payload'],
  failed: FailedStep | undefined,
  shown: readonly string[],
): Said[] {
  if (failed?.claim === undefined || shown.includes(failed.claim)) return []
  return quoteClaims(from, failed.claim)
}

function describeIssuer({ authority, origin }: Facts): string {
  if (!authority || !origin) return ''
  const issuerKeys = authority.issuerKeys(origin.version)
  if (issuerKeys.issuer !== undefined) return issuerKeys.issuer
  const url = metadataUrl(authority.tenant, origin.version)
  const { state, error } = issuerKeys.state()
  if (state === 'absent') return `no v${origin.version} tokens: this authority issues none`
  return `what ${url} says, which could not be read${error ? `: ${error}` : ' yet'}`
}

function describeKeys({ authority, origin }: Facts): string {
  if (!authority || !origin) return ''
  const { tenant } = authority
  const { keys, error } = authority.issuerKeys(origin.version).state()
  const appId = tenant.appId ? ` for appId ${tenant.appId}` : ''
  const trouble = error ? ` (last reading: ${error})` : ''
  return `one of ${keys} usable v${origin.version} keys of ${tenant.name} at ${tenant.authority}${appId}${trouble}`
}

function countIdentityBytes({ claims, policy, rules }: Facts): number {
  if (!claims) return 0
  const identity = { token: claims, groups: visibleGroups(policy, claims) }
  return identityBytes(rules.headerSet.names, rules.headerSet.values(identity))
}
