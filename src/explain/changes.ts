import { type FailureCode, failures } from '../failure.ts'
import { chooseGrant, findFailure } from '../policy/evaluate.ts'
import { type Advice, change, requestScope, tenantName } from './advice.ts'
import { adviseOnAudience } from './audience-advice.ts'
import {
  adviseOnAuthority,
  adviseOnIssuer,
  adviseOnTenant,
  adviseOnUnknownKey,
} from './authority-advice.ts'
import type { Change } from './explanation.ts'
import type { Facts, FailedStep } from './facts.ts'
import {
  adviseOnEncryption,
  adviseOnForm,
  adviseOnKind,
  adviseOnMissingClaim,
} from './form-advice.ts'
import { policyAdvice, shrinkGroups } from './policy-advice.ts'
import { adviseOnExpiry, adviseOnFuture } from './time-advice.ts'

/** What to change so that a token passes the check that it failed. */
export function adviseChanges(facts: Facts, { failure, claim }: FailedStep): readonly Change[] {
  return advice[failure](facts, claim)
}

/** What to change so that a grant holds: the nearest one first, then the others for this actor. */
export function adviseOnGrants(facts: Facts, failed: FailedStep): readonly Change[] {
  const { policy, claims } = facts
  const chosen = claims && chooseGrant(policy, claims).grant
  if (!chosen) return adviseChanges(facts, failed)
  const others = policy.allow.filter(
    (grant) => grant !== chosen && grant.actor === chosen.actor && grant.actor === claims.actor,
  )
  if (others.length === 0) return adviseChanges({ ...facts, grant: chosen }, failed)
  return [chosen, ...others].flatMap((grant) => {
    const failure = findFailure(grant, claims) ?? failed.failure
    const rule = `policies.${policy.name}.allow[${policy.allow.indexOf(grant)}]`
    const changes = adviseChanges({ ...facts, grant }, { failure, claim: undefined })
    return changes.map((item) => ({ ...item, rule }))
  })
}

/** Where the sentence of the refusal says it all; a token alone does not lead to most of these. */
const asRefused =
  (failure: FailureCode): Advice =>
  () => [change('request', failures[failure].text)]

/** The advice on each failure; the compiler refuses a failure without any. */
const advice: Readonly<Record<FailureCode, Advice>> = {
  ...policyAdvice,
  no_credentials: () => [
    change('request', 'Send the access token in the header "Authorization: Bearer TOKEN".'),
  ],
  malformed_credentials: () => [
    change(
      'request',
      'Send exactly one token without spaces, line breaks or commas; copying it from a terminal adds line breaks, so pipe it.',
    ),
  ],
  token_too_long: () => [shrinkGroups],
  token_malformed: adviseOnForm,
  token_encrypted: adviseOnEncryption,
  algorithm_not_allowed: () => [
    change(
      'request',
      'Send an access token of Entra ID, which signs with RS256 only; this one was made by something else.',
    ),
  ],
  header_not_allowed: (_facts, claim) => [
    change(
      'request',
      `Send an access token of Entra ID, which never has "${claim}" in its header; treat this one as an attack or as the token of another issuer.`,
    ),
  ],
  key_id_missing: () => [
    change('request', 'Send an access token of Entra ID, which names its signing key in kid.'),
  ],
  token_for_graph: (facts) => [
    change(
      'request',
      `The client asked for Microsoft Graph (its tokens have a nonce in the header and nobody else can verify them). Ask for ${requestScope(facts)} instead, in a token request of its own: one token is for one API.`,
    ),
    change(
      'registration',
      'If the API has no scope to ask for yet, add one (App registrations > API > Expose an API) and give the client permission to it.',
    ),
  ],
  not_an_access_token: adviseOnKind,
  version_unknown: () => [
    change(
      'request',
      'Send an access token of Entra ID; each one has ver 1.0 or 2.0. Azure AD B2C, AD FS and other issuers are not supported.',
    ),
  ],
  claim_missing: adviseOnMissingClaim,
  claim_malformed: (_facts, claim) => [
    change(
      'registration',
      `Entra ID never issues the claim ${claim} in this form. If a claims mapping policy or a custom claims provider of the API sets it, let it set another claim; else the token is not from Entra ID.`,
    ),
  ],
  sender_constrained: () => [
    change(
      'client',
      'The token is bound to a key of its client (cnf): turn proof of possession off in the client (MSAL: no WithProofOfPossession, no SHR or mTLS PoP) and request a bearer token.',
    ),
  ],
  tenant_not_allowed: adviseOnTenant,
  issuer_mismatch: adviseOnIssuer,
  keys_unavailable: adviseOnAuthority,
  key_unconfirmed: adviseOnAuthority,
  key_unknown: adviseOnUnknownKey,
  key_withdrawn: () => [
    change('request', 'Request a new token: the authority withdrew the key of this one.'),
  ],
  token_revoked: adviseOnRevocation,
  user_revoked: adviseOnRevocation,
  sign_in_again: adviseOnRevocation,
  client_revoked: adviseOnRevocation,
  tenant_revoked: adviseOnRevocation,
  key_revoked: adviseOnRevocation,
  key_not_for_issuer: (facts) => [
    change(
      'request',
      `The key belongs to another issuer, so the token is not one of ${tenantName(facts)}; sign in to this tenant.`,
    ),
  ],
  key_unusable: () => [
    change(
      'registration',
      'The authority publishes this key in a form that is not used (no RSA, below 2048 bits, not for signatures, or twice under one id). Where the API has its own signing key, upload an RSA key of 2048 bits or more.',
    ),
  ],
  signature_invalid: () => [
    change(
      'request',
      'Send the token exactly as it was issued. If it is complete, it was altered, or it comes from a test authority that has new keys: request a new one.',
    ),
  ],
  token_expired: adviseOnExpiry,
  token_not_yet_valid: adviseOnFuture,
  audience_mismatch: adviseOnAudience,
  ambiguous_credentials: asRefused('ambiguous_credentials'),
  body_not_allowed: asRefused('body_not_allowed'),
  malformed_request: asRefused('malformed_request'),
  method_not_allowed: asRefused('method_not_allowed'),
  not_found: asRefused('not_found'),
  unknown_policy: asRefused('unknown_policy'),
  caller_not_allowed: asRefused('caller_not_allowed'),
  admin_key_missing: asRefused('admin_key_missing'),
  internal_error: asRefused('internal_error'),
  overloaded: asRefused('overloaded'),
  no_session: asRefused('no_session'),
  session_ended: asRefused('session_ended'),
  session_revoked: asRefused('session_revoked'),
  session_recheck: asRefused('session_recheck'),
  cross_site_request: asRefused('cross_site_request'),
}

function adviseOnRevocation(): readonly Change[] {
  return [
    change(
      'request',
      'If access was given back, request a new token; Entra dates tokens up to five minutes back, so one fetched right after a revocation may be refused for that long.',
    ),
    change(
      'policy',
      'If the revocation was a mistake, end it: haproxy-entra-auth revocations list shows them, haproxy-entra-auth revocations remove ends one.',
    ),
  ]
}
