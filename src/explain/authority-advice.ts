import { CLOUD_AUTHORITIES } from '../config/authority.ts'
import { metadataUrl } from '../keys/discovery.ts'
import { change, isGuidLike, tenantName } from './advice.ts'
import type { Change } from './explanation.ts'
import { type Facts, nameTenant } from './facts.ts'

/** Tenant of personal Microsoft accounts. */
const consumerTenant = '9188040d-6c67-4c5b-b112-36a304b66dad'

/** When the tenant of the token is not admitted. */
export function adviseOnTenant(facts: Facts): Change[] {
  const { rules, policy, payload } = facts
  const tid = String(payload.tid)
  const configured = rules.authorities.has(tid)
  const mistaken = configured ? undefined : tenantThatIsNone(facts)
  if (mistaken) {
    return [
      change(
        'configuration',
        `The id of the tenant ${mistaken.name} in "tenants" is ${mistaken.what} of the token, and no tenant. Write ${tid} in its place, if you trust that tenant.`,
      ),
    ]
  }
  const admitted = (configured ? [...policy.tenants] : [...rules.authorities.keys()]).map((id) =>
    nameTenant(rules, id),
  )
  const personal =
    tid === consumerTenant
      ? ' The token comes from a personal Microsoft account; a work or school account is needed.'
      : ''
  return [
    change(
      'request',
      `Sign in to ${admitted.join(' or ')}: ask the token endpoint of that tenant, not /common or /organizations.${personal} A user of another organization can be invited as a guest, and then asks there too.`,
    ),
    configured
      ? change(
          'policy',
          `Or add the tenant ${rules.authorities.get(tid)?.tenant.name} to "tenants" of the policy ${policy.name}.`,
        )
      : change(
          'configuration',
          `Or add the tenant ${tid} to "tenants", if you trust whoever runs it.`,
        ),
    ...adviseOnOtherAuthority(facts),
  ]
}

/** A configured tenant whose id is another id that stands beside it in the portal. */
function tenantThatIsNone({ rules, payload }: Facts): { name: string; what: string } | undefined {
  const others = [
    ['aud', 'the client id of the API (aud)'],
    ['azp', 'the client id (azp)'],
    ['appid', 'the client id (appid)'],
    ['oid', 'the object id (oid)'],
  ] as const
  for (const [claim, what] of others) {
    const id = String(payload[claim]).replace(/^(?:spn:|api:\/\/)/, '')
    const tenant = rules.authorities.get(id)?.tenant
    if (tenant) return { name: tenant.name, what }
  }
  return undefined
}

/** When the issuer of the token is not the one of its tenant. */
export function adviseOnIssuer(facts: Facts): Change[] {
  const { authority, origin } = facts
  if (authority && origin && authority.issuerKeys(origin.version).state().state === 'absent') {
    return [
      change(
        'registration',
        `This authority issues v2.0 tokens only, and the token is v${origin.version}. Set requestedAccessTokenVersion to 2 in the manifest of the API, and check "authority" of the tenant.`,
      ),
    ]
  }
  const other = adviseOnOtherAuthority(facts)
  if (other.length > 0) return other
  if (/^https:\/\/[^/]+\.b2clogin\.com\//.test(String(facts.payload.iss))) {
    return [
      change(
        'request',
        'The token comes from Azure AD B2C, which is not supported. Request one from Entra ID or Entra External ID.',
      ),
    ]
  }
  return [
    change(
      'configuration',
      `The issuer of the token is not that of ${tenantName(facts)}. Check "cloud" or "authority" of the tenant: a national cloud, External ID and a test authority have issuers of their own.`,
    ),
    change('request', 'Or request the token from the configured authority.'),
  ]
}

/** When the authority gave no keys. */
export function adviseOnAuthority(facts: Facts): Change[] {
  const { authority, origin } = facts
  const url = authority && origin ? metadataUrl(authority.tenant, origin.version) : 'its metadata'
  return [
    ...adviseOnOtherAuthority(facts),
    change(
      'network',
      `The authority could not be read. Try "curl ${url}" from this machine: DNS, firewall, HTTPS_PROXY and NODE_EXTRA_CA_CERTS are the usual causes. The service answers again by itself once it is back; "haproxy-entra-auth check" shows the details.`,
    ),
  ]
}

/** When the authority does not publish the key of the token. */
export function adviseOnUnknownKey(facts: Facts): Change[] {
  const appId = facts.authority?.tenant.appId
  const audience = facts.claims?.audience
  return [
    ...adviseOnOtherAuthority(facts),
    appId === undefined
      ? change(
          'configuration',
          `If the API has a custom signing key (claims mapping, a custom claims provider or "Attributes & Claims" of its enterprise application), its keys are published only under its own id: set "appId: ${audience && isGuidLike(audience) ? audience : 'CLIENT-ID-OF-THE-API'}" at the tenant.`,
        )
      : change(
          'configuration',
          `Check "appId: ${appId}" of the tenant: it must be the client id of the API that the token is for${audience ? ` (aud ${audience})` : ''}.`,
        ),
    change(
      'request',
      'Else request a new token: this one is old, or comes from another authority or a test authority that has new keys. A key that was published just now is looked up at most once in 5 minutes.',
    ),
  ]
}

/**
 * The line to add where the token says that it comes from another authority of Microsoft than the
 * tenant has: a national cloud or External ID. The token is not verified, so a host counts only if
 * Microsoft alone issues there, for this tenant.
 */
function adviseOnOtherAuthority({ payload, origin, authority }: Facts): Change[] {
  const named = origin && authorityNamedBy(payload.iss, origin.tenantId)
  if (named === undefined || named === (authority?.tenant.authority ?? CLOUD_AUTHORITIES.public)) {
    return []
  }
  const tenant = authority
    ? `the tenant ${authority.tenant.name}`
    : `the tenant ${origin?.tenantId}`
  return [
    change(
      'configuration',
      `The token says that it comes from ${new URL(named).host}. If that is right, add to ${tenant}: authority: ${named} (without a file: ENTRA_AUTH_AUTHORITY=${named}).`,
    ),
  ]
}

function authorityNamedBy(issuer: unknown, tenantId: string): string | undefined {
  if (typeof issuer !== 'string' || !URL.canParse(issuer)) return undefined
  const { protocol, host } = new URL(issuer)
  if (protocol !== 'https:') return undefined
  const national = Object.values(CLOUD_AUTHORITIES).find((one) => new URL(one).host === host)
  if (national !== undefined) return national
  if (host === 'sts.chinacloudapi.cn') return CLOUD_AUTHORITIES.china
  return host === `${tenantId}.ciamlogin.com` ? `https://${host}` : undefined
}
