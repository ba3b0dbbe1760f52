import { type FailureCode, failures, type Observe } from '../failure.ts'
import { encodeValue } from '../identity/encode.ts'
import {
  type HeaderSet,
  type Identity,
  identityBytes,
  maxIdentityBytes,
} from '../identity/headers.ts'
import type { Key } from '../keys/key.ts'
import type { Policy } from '../policy/compile.ts'
import { evaluatePolicy, type PolicyStep, policySteps } from '../policy/evaluate.ts'
import type { AccessToken } from '../token/claims.ts'

/** What a policy says of a verified token as long as its times and its key hold. */
export type PolicyOutcome = Allowance | Refusal

/** An allow with what its reply says of the token. */
export interface Allowance {
  readonly allow: true
  /** Headers of the identity, as Node's flat list of names and values. */
  readonly headers: readonly string[]
  /** The reply as text, made by the route when first needed. */
  lines: string | undefined
  /** The same with the prepared value in place of its headers. */
  preparedLines?: string | undefined
}

/** A refusal with what its challenge needs. */
export interface Refusal {
  readonly allow: false
  readonly failure: FailureCode
  readonly scope?: string | undefined
  readonly claims?: string | undefined
  readonly authContext?: string | undefined
  /** Where a browser can sign in so that the answer becomes another one: path and query. */
  readonly signIn?: string | undefined
}

/** Status of the answer: for a session a stronger sign-in is possible, for a token it is not. */
export function statusOf({ failure, signIn }: Refusal): number {
  return signIn ? 401 : failures[failure].status
}

/** The steps of `createOutcome`, in order. */
export const outcomeSteps = [...policySteps, 'identity'] as const

export type OutcomeStep = PolicyStep | 'identity'

/** Works out the outcome once, so that a repeated request only copies it. */
export function createOutcome(
  policy: Policy,
  { claims, key }: { readonly claims: AccessToken; readonly key: Pick<Key, 'id'> },
  headerSet: HeaderSet,
  observe?: Observe<OutcomeStep>,
): PolicyOutcome {
  const verdict = evaluatePolicy(policy, claims, observe)
  if (!verdict.allow) return verdict
  const identity: Identity = { token: claims, groups: visibleGroups(policy, claims) }
  const values = headerSet.values(identity)
  const fits = identityBytes(headerSet.names, values) <= maxIdentityBytes
  observe?.('identity', fits ? undefined : 'identity_too_large')
  if (!fits) return { allow: false, failure: 'identity_too_large' }
  const headers = [
    'X-Entra-Auth-User',
    claims.userId,
    'X-Entra-Auth-Tenant',
    claims.tenantId,
    'X-Entra-Auth-Client',
    claims.clientId,
    'X-Entra-Auth-Actor',
    claims.actor,
    'X-Entra-Auth-Token-Id',
    encodeValue(claims.tokenId ?? ''),
    'X-Entra-Auth-Issued-At',
    String(claims.issuedAt),
    'X-Entra-Auth-Key-Id',
    encodeValue(key.id),
  ]
  for (const [i, name] of headerSet.names.entries()) headers.push(name, values[i] ?? '')
  return { allow: true, headers, lines: undefined }
}

/** The groups that may reach the application. */
export function visibleGroups(policy: Policy, claims: AccessToken): readonly string[] {
  const { namedGroups } = policy
  return namedGroups ? claims.groups.filter((group) => namedGroups.has(group)) : claims.groups
}
