/**
 * Every way to refuse, in one table: the reason code is the same in the reply, the log, the
 * metric and the documentation.
 */

/** OAuth error codes of RFC 6750 section 3.1, and Entra's own for a claims challenge. */
export type OAuthError =
  | 'invalid_request'
  | 'invalid_token'
  | 'insufficient_scope'
  | 'insufficient_claims'

interface FailureRow {
  readonly status: 400 | 401 | 403 | 404 | 405 | 500 | 503
  /** Absent where RFC 6750 wants none: no credentials, or not the token's fault. */
  readonly error?: OAuthError
  /** One sentence for whoever holds the token: what is wrong and what to change. */
  readonly text: string
}

const table = {
  no_credentials: {
    status: 401,
    text: 'No access token was sent; send one in the header Authorization: Bearer <token>.',
  },
  ambiguous_credentials: {
    status: 400,
    error: 'invalid_request',
    text: 'More than one Authorization header was sent; send exactly one.',
  },
  malformed_credentials: {
    status: 400,
    error: 'invalid_request',
    text: 'The Authorization header must be the word Bearer, a space and one token, nothing else.',
  },
  body_not_allowed: {
    status: 400,
    error: 'invalid_request',
    text: 'A request to /verify has no body; send the token in the Authorization header.',
  },
  malformed_request: {
    status: 400,
    error: 'invalid_request',
    text: 'The HTTP request could not be read; check its headers and their size.',
  },
  method_not_allowed: {
    status: 405,
    text: 'Only GET and HEAD are answered here.',
  },
  not_found: {
    status: 404,
    text: 'There is nothing at this path; the verifier answers /verify/{policy}.',
  },
  unknown_policy: {
    status: 404,
    text: 'No policy of this name is configured; names are exact, letter case included.',
  },
  caller_not_allowed: {
    status: 403,
    text: 'The caller key is missing or wrong; HAProxy must send it in X-Entra-Auth-Key.',
  },
  admin_key_missing: {
    status: 403,
    text: 'The admin key is missing or wrong; send it in the header Authorization: Bearer <key>.',
  },
  internal_error: {
    status: 500,
    text: 'The verifier failed on this request; its log has the cause under the request id.',
  },
  keys_unavailable: {
    status: 503,
    text: "The signing keys of the token's authority could not be read yet; try again shortly.",
  },
  key_unconfirmed: {
    status: 503,
    text: "The signing key could not be confirmed with the token's authority for a day; the verifier cannot reach it.",
  },
  overloaded: {
    status: 503,
    text: 'The verifier has more to do than it can do in time; try again shortly.',
  },
  token_too_long: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is longer than is accepted here; ask for fewer group or role claims.',
  },
  token_malformed: {
    status: 401,
    error: 'invalid_token',
    text: 'This is not a JSON Web Token: three base64url parts with one JSON object each in the first two. Send the access token as it was issued.',
  },
  token_encrypted: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is encrypted and cannot be read here; turn token encryption off in the registration of the API.',
  },
  algorithm_not_allowed: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is not signed with RS256, the only algorithm that Entra ID signs access tokens with.',
  },
  header_not_allowed: {
    status: 401,
    error: 'invalid_token',
    text: 'The token header carries a key, a key address or a critical extension, which Entra ID never sends.',
  },
  key_id_missing: {
    status: 401,
    error: 'invalid_token',
    text: 'The token header names no signing key (kid).',
  },
  token_for_graph: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is for Microsoft Graph, and no other API can verify it; request a token for this API, with a scope such as api://<app id>/<scope>.',
  },
  version_unknown: {
    status: 401,
    error: 'invalid_token',
    text: 'The token has no ver claim of 1.0 or 2.0, so it is not an access token of Entra ID.',
  },
  claim_missing: {
    status: 401,
    error: 'invalid_token',
    text: 'A claim that each access token of Entra ID has is missing, so this is another kind of token.',
  },
  claim_malformed: {
    status: 401,
    error: 'invalid_token',
    text: 'A claim has the wrong type or form, or stands in the token twice.',
  },
  tenant_not_allowed: {
    status: 401,
    error: 'invalid_token',
    text: 'The token comes from a tenant that is not admitted here; sign in to the right tenant.',
  },
  issuer_mismatch: {
    status: 401,
    error: 'invalid_token',
    text: 'The issuer of the token is not the one of its tenant, version and cloud.',
  },
  key_unknown: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is signed with a key that its authority does not publish for this API; request a new token.',
  },
  key_not_for_issuer: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is signed with a key that belongs to another issuer.',
  },
  key_unusable: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is signed with a key that is not an RSA signing key of at least 2048 bits.',
  },
  key_withdrawn: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is signed with a key that its authority no longer publishes; request a new token.',
  },
  signature_invalid: {
    status: 401,
    error: 'invalid_token',
    text: 'The signature does not match the token; it was altered or cut on its way.',
  },
  token_expired: {
    status: 401,
    error: 'invalid_token',
    text: 'The token has expired; request a new one.',
  },
  token_not_yet_valid: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is not valid yet; compare the clocks of both machines.',
  },
  token_lifetime_too_long: {
    status: 401,
    error: 'invalid_token',
    text: 'The token was issued for longer than is admitted here.',
  },
  token_revoked: {
    status: 401,
    error: 'invalid_token',
    text: 'The token was revoked; request a new one.',
  },
  user_revoked: {
    status: 401,
    error: 'invalid_token',
    text: 'The access of this user or service principal was revoked; tokens issued before that no longer count.',
  },
  sign_in_again: {
    status: 401,
    error: 'insufficient_claims',
    text: 'The access of this user was revoked; sign in again for a token with the claims of this challenge.',
  },
  client_revoked: {
    status: 401,
    error: 'invalid_token',
    text: 'The access of this client application was revoked; tokens issued before that no longer count.',
  },
  tenant_revoked: {
    status: 401,
    error: 'invalid_token',
    text: 'The access of this tenant was revoked; tokens issued before that no longer count.',
  },
  key_revoked: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is signed with a key that was revoked here.',
  },
  audience_mismatch: {
    status: 401,
    error: 'invalid_token',
    text: 'The token was issued for another API; request it for this one, with a scope such as api://<app id>/<scope> or <app id>/.default.',
  },
  not_an_access_token: {
    status: 401,
    error: 'invalid_token',
    text: 'This is an ID token or another token that no API may accept; send the access token.',
  },
  sender_constrained: {
    status: 401,
    error: 'invalid_token',
    text: 'The token is bound to a key of its client (cnf) and cannot be used as a plain bearer token.',
  },
  actor_not_allowed: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is good, but this kind of caller (user, app or agent) is not admitted here.',
  },
  client_not_allowed: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is good, but the client application that requested it is not admitted here.',
  },
  client_not_confidential: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is good, but its client did not prove itself with a secret or certificate.',
  },
  scope_missing: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is good, but lacks the scope; request it and have it consented to.',
  },
  role_missing: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is good, but lacks the app role; have it assigned and request a new token.',
  },
  group_missing: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is good, but lacks the group; have the membership granted and request a new token.',
  },
  groups_overage: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is valid, but its user is in more groups than fit into it; emit only the groups assigned to the application, or use app roles.',
  },
  guest_not_allowed: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is good, but guests of the tenant are not admitted here.',
  },
  denied_by_rule: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is good, but a rule here denies its holder.',
  },
  step_up_required: {
    status: 403,
    error: 'insufficient_scope',
    text: 'A stronger sign-in is required: a browser can sign in again, but the client of this token cannot ask for it.',
  },
  step_up_possible: {
    status: 401,
    error: 'insufficient_claims',
    text: 'The token is good, but a stronger sign-in is required; request a token with the claims of this challenge.',
  },
  no_session: {
    status: 401,
    text: 'Nobody is signed in here, or not at this host; sign in with the browser.',
  },
  session_ended: {
    status: 401,
    text: 'The session has ended; sign in again with the browser.',
  },
  session_revoked: {
    status: 401,
    text: 'The session was ended by a sign-out or by an administrator; sign in again with the browser.',
  },
  session_recheck: {
    status: 401,
    text: 'The session lacks groups that the policy now needs; sign in again with the browser, usually without a click.',
  },
  cross_site_request: {
    status: 403,
    text: 'The request comes from a page of another site and was not passed on; send it from a page of this site.',
  },
  identity_too_large: {
    status: 403,
    error: 'insufficient_scope',
    text: 'The token is good, but its identity does not fit into the headers; emit fewer groups or roles.',
  },
} as const satisfies Record<string, FailureRow>

/** Stable reason code of a refusal. */
export type FailureCode = keyof typeof table

/** The failure table: reason code → HTTP status, OAuth error, sentence. */
export const failures: Readonly<Record<FailureCode, FailureRow>> = table

/** Result of a step of the verification: a value, or the reason of the refusal. */
export type Result<T> = { readonly ok: true; readonly value: T } | Failed

/** A step that went wrong. */
export interface Failed {
  readonly ok: false
  readonly failure: FailureCode
  /** The claim or header member that was looked at, where it was one; its name, never its value. */
  readonly claim?: string
}

/**
 * Is told how each step of the verification went, in order; the failure is undefined for a step
 * that went well. Only `explain` listens: the hot path passes none.
 */
export type Observe<Step extends string> = (
  step: Step,
  failure: FailureCode | undefined,
  claim?: string,
) => void

/** A refusal with its reason code. */
export function fail(failure: FailureCode, claim?: string): Failed {
  return claim === undefined ? { ok: false, failure } : { ok: false, failure, claim }
}

/** A step that went well, with its value. */
export function pass<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value }
}
