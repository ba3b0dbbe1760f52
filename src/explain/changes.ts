import { type FailureCode, failures } from '../failure.ts'
import { chooseGrant, denies, findFailure } from '../policy/evaluate.ts'
import { change, isGuidLike, list, requestScope, tenantName } from './advice.ts'
import { adviseOnAudience } from './audience-advice.ts'
import {
  adviseOnAuthority,
  adviseOnIssuer,
  adviseOnTenant,
  adviseOnUnknownKey,
} from './authority-advice.ts'
import type { Change } from './explanation.ts'
import { describeDistance, describeSpan, type Facts, type FailedStep, nameTenant } from './facts.ts'

type Advice = (facts: Facts, claim: string | undefined) => readonly Change[]

/** What to change so that a token passes the check that it failed. */
export function adviseChanges(facts: Facts, { failure, claim }: FailedStep): readonly Change[] {
  const changes = advice[failure]?.(facts, claim) ?? []
  return changes.length > 0 ? changes : [change('request', failures[failure].text)]
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

const shrinkGroups = change(
  'registration',
  'Entra ID leaves groups out of a token when there are more than 200. Emit only the groups assigned to the application: App registrations > API > Token configuration > groups > "Groups assigned to the application" (groupMembershipClaims: ApplicationGroup), assign the groups that the policy names to the API, and request a new token.',
)

const advice: Readonly<Partial<Record<FailureCode, Advice>>> = {
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
  token_encrypted: () => [
    change(
      'registration',
      'Turn token encryption of the API off: remove tokenEncryptionKeyId in its manifest (App registrations > API > Manifest).',
    ),
  ],
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
  claim_missing: (facts, claim) =>
    isWithoutServicePrincipal(facts, claim)
      ? adviseOnServicePrincipal(facts)
      : isMissingClient(facts, claim) || claim === 'oid'
        ? adviseOnKind(facts, claim)
        : [
            change(
              'request',
              `Send an access token of Entra ID; each one has the claim ${claim}. If a claims mapping policy of the API removes it, change that policy.`,
            ),
          ],
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
      'Send the token exactly as it was issued. If it is complete, it was altered, or it comes from a test authority whose keys were made anew: request a new one.',
    ),
  ],
  token_expired: adviseOnExpiry,
  token_not_yet_valid: adviseOnFuture,
  audience_mismatch: adviseOnAudience,
  token_lifetime_too_long: ({ policy, claims }) => [
    change(
      'policy',
      `Raise maxTokenLifetimeMinutes of ${policy.name} to ${claims ? Math.ceil((claims.expiresAt - claims.issuedAt) / 60) : 'what the authority issues'}, if that long a token is meant.`,
    ),
    change(
      'registration',
      'Or shorten the tokens: look for a token lifetime policy of the API, or have the client declare that it handles continuous access evaluation only where it does (such tokens last up to 28 h).',
    ),
  ],
  denied_by_rule: ({ policy, claims }) => {
    const rules = policy.deny.flatMap((rule, index) =>
      claims && denies(rule, claims) ? [`policies.${policy.name}.deny[${index}]`] : [],
    )
    return [
      change('policy', `Meant like this by ${rules.join(', ')}; change the rule if it is wrong.`),
    ]
  },
  actor_not_allowed: ({ policy, claims }) => {
    const actors = [...new Set(policy.allow.map((grant) => grant.actor))].join(', ')
    const actor = claims?.actor
    return [
      change(
        'client',
        actor === 'app'
          ? `The policy has grants for: ${actors}. The client used its own identity (client credentials or managed identity); let it act for a signed-in user (authorization code or on-behalf-of), if that is meant.`
          : `The policy has grants for: ${actors}. Request the token as one of these.`,
      ),
      change('policy', `Or add a grant with "actor: ${actor}" to ${policy.name}.`),
    ]
  },
  client_not_allowed: ({ claims, policy }) => [
    change(
      'policy',
      `Add the client ${claims?.clientId} to the list "clients" of the grant in ${policy.name}, if it is meant.`,
    ),
    change('client', 'Or request the token with a client that the policy names.'),
  ],
  client_not_confidential: () => [
    change(
      'client',
      'The client is a public one (azpacr or appidacr 0: desktop, mobile, single page). Request the token with a client that proves itself with a certificate, federation or secret.',
    ),
    change('policy', 'Or remove "confidential: true" from the grant.'),
  ],
  scope_missing: adviseOnScope,
  role_missing: adviseOnRole,
  group_missing: adviseOnGroup,
  groups_overage: () => [
    shrinkGroups,
    change(
      'policy',
      'Or use app roles in place of groups: assign the group to an app role of the API and write "roles" in the grant.',
    ),
  ],
  guest_not_allowed: ({ claims }) =>
    claims?.guest === undefined
      ? [
          change(
            'registration',
            'The token does not say whether its user is a guest, so the user counts as one. Add the optional claim acct for access tokens (App registrations > API > Token configuration > Add optional claim > Access > acct) and request a new token.',
          ),
        ]
      : [
          change(
            'policy',
            'The user is a guest (acct 1). Remove "guests: false" from the grant, or add a grant for guests, if they are meant.',
          ),
        ],
  step_up_required: (facts) => [
    change(
      'client',
      `The grant wants the authentication context ${facts.grant?.authContext}. Declare that the client answers claims challenges (MSAL: client capability cp1), so that it is sent one; its token has no xms_cc with cp1.`,
    ),
    requireContext(facts),
  ],
  step_up_possible: (facts) => [
    change(
      'client',
      `The client was sent a claims challenge for ${facts.grant?.authContext}; let it request a token with these claims (MSAL: withClaims or claimsRequest) and try again.`,
    ),
    requireContext(facts),
  ],
  identity_too_large: () => [
    change(
      'registration',
      'Emit fewer groups and roles: only the groups assigned to the application (groupMembershipClaims: ApplicationGroup).',
    ),
    change(
      'policy',
      'Or leave "groups: all" out of the policy, so that only groups that it names are passed on.',
    ),
  ],
}

function adviseOnForm({ credentials }: Facts): Change[] {
  if (/^["'{[]/.test(credentials)) {
    return [
      change(
        'request',
        'This is JSON or quoted text with a token in it. Send only the token: jq -r .access_token, or az account get-access-token --query accessToken -o tsv.',
      ),
    ]
  }
  const parts = credentials.split('.').length
  if (parts === 1 || (parts === 2 && /^[01]\./.test(credentials))) {
    return [
      change(
        'request',
        'This is an opaque string: a refresh token, an authorization code, a client secret or a token of a personal account. Send the member access_token of the reply for a scope of this API.',
      ),
    ]
  }
  return [
    change(
      'request',
      parts === 3
        ? 'The token has three parts, but one of them is not what an issuer writes: it was cut, re-encoded or edited. Request a new one and send it as it is.'
        : `A token has three parts, this has ${parts}. Send the access token as it was issued.`,
    ),
  ]
}

/** ID tokens and whatever else is no access token. */
function adviseOnKind(facts: Facts, claim: string | undefined): Change[] {
  const { payload, origin, header } = facts
  if (claim === 'typ') {
    return [
      change(
        'request',
        `Entra ID writes typ JWT, this token has ${JSON.stringify(header.typ)}; send an access token of Entra ID.`,
      ),
    ]
  }
  const client = origin?.version === '1.0' ? 'appid' : 'azp'
  if (!Object.hasOwn(payload, client) && !Object.hasOwn(payload, 'scp')) {
    return [
      change(
        'request',
        `This is an ID token: no ${client}, no scp. It tells the client who signed in and is for no API. Request an access token with scope=${requestScope(facts)} and send the member access_token (MSAL: accessToken, not idToken).`,
      ),
    ]
  }
  if (facts.policy.requireIdtyp && facts.claims?.appOnly) {
    return [
      change(
        'registration',
        'The policy wants apps to say that they are one. Add the optional claim idtyp for access tokens (App registrations > API > Token configuration) and request a new token.',
      ),
      change('policy', 'Or remove "requireIdtyp: true" from the policy.'),
    ]
  }
  return [
    change(
      'request',
      `The token has no scope and is not app-only (its sub is not its oid, or idtyp says something else), so it gives nobody access. Request it with scope=${requestScope(facts)}.`,
    ),
  ]
}

/** Entra issues app-only tokens without oid to a client that is not registered in the tenant. */
function isWithoutServicePrincipal({ payload }: Facts, claim: string | undefined): boolean {
  const hasClient = Object.hasOwn(payload, 'azp') || Object.hasOwn(payload, 'appid')
  return (claim === 'oid' || claim === 'sub') && hasClient && !Object.hasOwn(payload, 'scp')
}

function adviseOnServicePrincipal({ payload, rules, origin }: Facts): Change[] {
  const client = String(payload.azp ?? payload.appid)
  const tenant = origin ? nameTenant(rules, origin.tenantId) : 'this tenant'
  return [
    change(
      'directory',
      `The client ${client} has no service principal in ${tenant}, so its token has no oid and can have no role. Create it with "az ad sp create --id ${client}" in that tenant, or let an administrator consent to the client; then assign the role and request a new token.`,
    ),
    change(
      'request',
      'Or request the token from the tenant that the client belongs to, if that one is meant.',
    ),
  ]
}

function isMissingClient({ payload }: Facts, claim: string | undefined): boolean {
  return (claim === 'azp' || claim === 'appid') && !Object.hasOwn(payload, 'scp')
}

function adviseOnExpiry({ claims, nowMs, rules }: Facts): Change[] {
  const seconds = nowMs / 1000 - (claims?.expiresAt ?? 0)
  return [
    change(
      'request',
      `The token expired ${describeDistance(-seconds)} (${describeSpan(rules.clockSkewSeconds)} of clock skew are admitted already). Request a new one; a client that sends expired tokens should ask its library for a token before each call (MSAL: acquireTokenSilent) and keep none itself.`,
    ),
    change(
      'clock',
      `If it is a fresh token, the clock of this machine is fast by ${describeSpan(seconds)} or more: "haproxy-entra-auth check" compares it with the clock of the authority.`,
    ),
  ]
}

function adviseOnFuture({ claims, nowMs }: Facts): Change[] {
  const start = Math.max(claims?.issuedAt ?? 0, claims?.notBefore ?? 0)
  return [
    change(
      'clock',
      `The token begins ${describeDistance(start - nowMs / 1000)}, and Entra ID dates tokens five minutes back: the clock of this machine is slow. Compare clocks ("haproxy-entra-auth check" does, or "chronyc tracking") and run a time service.`,
    ),
  ]
}

function adviseOnScope(facts: Facts): Change[] {
  const { claims } = facts
  const hint = facts.grant?.scopeHint
  return [
    change(
      'request',
      `Request the token with scope=${hint ?? requestScope(facts)}; it has ${list(claims?.scopes, 'no scope')}. A token from a cache has the scopes of its own request.`,
    ),
    change(
      'registration',
      'If Entra ID refuses that scope: add it to the API (Expose an API), give it to the client (API permissions > Delegated permissions), and have it consented to.',
    ),
  ]
}

function adviseOnRole(facts: Facts): Change[] {
  const { claims } = facts
  const wanted = facts.grant?.roles
  const roles = wanted === 'any' || wanted === undefined ? 'an app role' : [...wanted].join(' or ')
  const held = `The token has ${list(claims?.roles, 'no roles')}.`
  if (claims?.appOnly) {
    return [
      change(
        'directory',
        `Assign the application permission ${roles} of the API to the client ${claims.clientId}: App registrations > client > API permissions > Application permissions, then "Grant admin consent". A managed identity has no such page: use New-MgServicePrincipalAppRoleAssignment. ${held}`,
      ),
      change(
        'request',
        'Then request a new token; a managed identity caches its tokens for up to 24 h.',
      ),
    ]
  }
  return [
    change(
      'directory',
      `Assign ${roles} to the user ${claims?.userId}: Enterprise applications > API > Users and groups (of the API, not of the client). A nested group does not count. ${held}`,
    ),
    change('request', 'Then request a new token: roles are written when it is issued.'),
    change(
      'registration',
      `If the role cannot be chosen there: create it (App registrations > API > App roles) with the value as the policy has it, for ${claims?.actor === 'agent' ? 'agents' : 'users or groups'}.`,
    ),
  ]
}

function adviseOnGroup({ payload, claims }: Facts): Change[] {
  if (!Object.hasOwn(payload, 'groups')) {
    return [
      change(
        'registration',
        'The token has no groups at all. Let the API emit them: App registrations > API > Token configuration > Add groups claim (groupMembershipClaims), as group ids for access tokens; then request a new token.',
      ),
    ]
  }
  if (claims?.groups.some((group) => !isGuidLike(group))) {
    return [
      change(
        'registration',
        'The token has names in place of group ids. Let the API emit "Group ID" for access tokens (App registrations > API > Token configuration > groups).',
      ),
    ]
  }
  return [
    change(
      'directory',
      `Add the user ${claims?.userId} to the group, then request a new token. With groupMembershipClaims ApplicationGroup the group must be assigned to the API as well, and nested groups do not count.`,
    ),
  ]
}

function requireContext(facts: Facts): Change {
  return change(
    'directory',
    `A Conditional Access policy must offer the authentication context ${facts.grant?.authContext} (Protection > Conditional Access > Authentication contexts, "Publish to apps").`,
  )
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
