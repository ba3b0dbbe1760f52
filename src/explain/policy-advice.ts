import { denies } from '../policy/evaluate.ts'
import { type Advice, change, isGuidLike, list, requestScope } from './advice.ts'
import type { Change } from './explanation.ts'
import type { Facts } from './facts.ts'

/** What to change where a policy refuses a token that is right. */
export const policyAdvice = {
  denied_by_rule: ({ policy, claims }) => {
    const rules = policy.deny.flatMap((rule, index) =>
      claims && denies(rule, claims) ? [`policies.${policy.name}.deny[${index}]`] : [],
    )
    return [
      change('policy', `Meant like this by ${rules.join(', ')}; change the rule if it is wrong.`),
      ...(namesGroups(claims) ? [emitGroupIds] : []),
    ]
  },
  actor_not_allowed: ({ policy, claims }) => {
    const actors = [...new Set(policy.allow.map((grant) => grant.actor))].join(', ')
    const actor = claims?.actor
    return [
      change(
        'client',
        actor === 'app'
          ? `The policy has grants for: ${actors}. The client used its own identity (client credentials or managed identity); let it act for a signed-in user (authorization code or on-behalf-of), if that is intended.`
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
  groups_overage: ({ claims }) => [
    shrinkGroups,
    // A session does not say which of the two it was.
    ...(claims?.session ? [emitGroupIds] : []),
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
  token_lifetime_too_long: ({ policy, claims }) => [
    change(
      'policy',
      `Raise maxTokenLifetimeMinutes of ${policy.name} to ${claims ? Math.ceil((claims.expiresAt - claims.issuedAt) / 60) : 'what the authority issues'}, if such a long lifetime is intended.`,
    ),
    change(
      'registration',
      'Or shorten the tokens: look for a token lifetime policy of the API, or have the client declare that it handles continuous access evaluation only where it does (such tokens last up to 28 h).',
    ),
  ],
  scope_missing: adviseOnScope,
  role_missing: adviseOnRole,
  group_missing: adviseOnGroup,
} satisfies Readonly<Record<string, Advice>>

/** When a token is too long or has too many groups to name. */
export const shrinkGroups = change(
  'registration',
  'Entra ID leaves groups out of a token when there are more than 200. Emit only the groups assigned to the application: App registrations > API > Token configuration > groups > "Groups assigned to the application" (groupMembershipClaims: ApplicationGroup), assign the groups that the policy names to the API, and request a new token.',
)

/** When groups come by their names, which rules cannot compare. */
const emitGroupIds = change(
  'registration',
  'The token has names in place of group ids. Let the API emit "Group ID" for access tokens (App registrations > API > Token configuration > groups).',
)

function namesGroups(claims: Facts['claims']): boolean {
  return claims?.groups.some((group) => !isGuidLike(group)) === true
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
  if (namesGroups(claims)) return [emitGroupIds]
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
