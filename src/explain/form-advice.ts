import { change, requestScope } from './advice.ts'
import type { Change } from './explanation.ts'
import { type Facts, nameTenant } from './facts.ts'

/** When what was sent is no signed JSON Web Token. */
export function adviseOnForm({ credentials }: Facts): Change[] {
  if (/^["'{[]/.test(credentials)) {
    return [
      change(
        'request',
        'This is JSON or quoted text with a token in it. Send only the token: jq -r .access_token, or az account get-access-token --query accessToken -o tsv.',
      ),
    ]
  }
  const parts = credentials.split('.').length
  if (parts === 1 || isOpaque(credentials)) {
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

/** Refresh tokens and codes begin with their version; those of personal accounts with a letter. */
function isOpaque(credentials: string): boolean {
  return /^(?:[01]\.A|M\.[A-Z])/.test(credentials)
}

/** When the token is encrypted, or has as many parts as if it were. */
export function adviseOnEncryption(facts: Facts): Change[] {
  if (isOpaque(facts.credentials)) return adviseOnForm(facts)
  return [
    change(
      'registration',
      'Turn token encryption of the API off: remove tokenEncryptionKeyId in its manifest (App registrations > API > Manifest).',
    ),
  ]
}

/** ID tokens and whatever else is no access token. */
export function adviseOnKind(facts: Facts, claim: string | undefined): Change[] {
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

/** When a claim is missing that each access token has. */
export function adviseOnMissingClaim(facts: Facts, claim: string | undefined): Change[] {
  if (isWithoutServicePrincipal(facts, claim)) return adviseOnServicePrincipal(facts)
  if (isMissingClient(facts, claim) || claim === 'oid') return adviseOnKind(facts, claim)
  return [
    change(
      'request',
      `Send an access token of Entra ID; each one has the claim ${claim}. If a claims mapping policy of the API removes it, change that policy.`,
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
      'Or request the token from the tenant that the client belongs to, if that is the right one.',
    ),
  ]
}

function isMissingClient({ payload }: Facts, claim: string | undefined): boolean {
  return (claim === 'azp' || claim === 'appid') && !Object.hasOwn(payload, 'scp')
}
