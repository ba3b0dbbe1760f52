import { nameMicrosoftApi } from '../config/microsoft-apis.ts'
import { change, isGuidLike, requestScope } from './advice.ts'
import type { Change } from './explanation.ts'
import type { Facts } from './facts.ts'

/** Audience as GUID or URI, which the token version decides, is what people lose days over. */
export function adviseOnAudience(facts: Facts): Change[] {
  const { policy, payload, claims } = facts
  const aud = String(payload.aud)
  const audiences = [...policy.audiences]
  const api = nameMicrosoftApi(aud)
  if (api !== undefined) {
    return [
      change(
        'request',
        `The client asked for ${api}. Ask for ${requestScope(facts)} instead, in a token request of its own: one token is for one API.`,
      ),
    ]
  }
  const tenant = audiences.find((audience) => bare(audience) === bare(String(payload.tid)))
  if (tenant !== undefined && !isAlike(tenant, aud, 'form')) {
    return [
      change(
        'policy',
        `${tenant} in "audiences" of the policy ${policy.name} is the id of the tenant, and no API. Write ${aud} in its place, if that is this API.`,
      ),
    ]
  }
  const near = nearestAudience(aud, audiences)
  if (near) return adviseOnNear(facts, aud, near)
  const changes = [
    change(
      'request',
      `The token is for ${aud}. If that is another API, ask for ${requestScope(facts)}.`,
    ),
  ]
  if (claims && aud === claims.clientId) {
    changes.push(
      change(
        'request',
        'Its audience is its own client, so the client asked for itself: a scope of this API was not in the request.',
      ),
    )
  }
  const isV1 = claims?.version === '1.0'
  if (isV1 !== isGuidLike(aud)) {
    changes.push(
      isV1
        ? change(
            'registration',
            `If ${aud} is an identifier URI of this API: a v1.0 token has the URI as aud, a v2.0 token the client id (GUID). Set requestedAccessTokenVersion to 2 in the manifest of the API (App registrations > API > Manifest), and new tokens have the client id.`,
          )
        : change(
            'registration',
            `If ${aud} is the client id of this API: its registration has requestedAccessTokenVersion 2, so tokens have the client id as aud and never an identifier URI. Leave that as it is.`,
          ),
    )
  }
  changes.push(
    change(
      'policy',
      `${isV1 ? 'Or add' : 'Then add'} ${aud} to "audiences" of the policy ${policy.name}, if it is this API.`,
    ),
  )
  return changes
}

/** How an audience of the policy is like that of the token, the nearest way first. */
const likenesses = ['case', 'slash', 'prefix', 'form', 'scope'] as const

interface Near {
  readonly audience: string
  readonly likeness: (typeof likenesses)[number]
}

/** The audience of the policy that is nearest; undefined where none means the same API. */
function nearestAudience(aud: string, audiences: readonly string[]): Near | undefined {
  return likenesses
    .flatMap((likeness) => {
      const audience = audiences.find((one) => isAlike(one, aud, likeness))
      return audience === undefined ? [] : [{ audience, likeness }]
    })
    .at(0)
}

function isAlike(one: string, other: string, likeness: Near['likeness']): boolean {
  const [a, b] = [one.toLowerCase(), other.toLowerCase()]
  switch (likeness) {
    case 'case':
      return a === b
    case 'slash':
      return withoutSlash(a) === withoutSlash(b)
    case 'prefix':
      return withoutSlash(withoutSpn(a)) === withoutSlash(withoutSpn(b))
    case 'form':
      return bare(a) === bare(b)
    case 'scope':
      return bare(withoutScope(a)) === bare(b) || bare(a) === bare(withoutScope(b))
  }
}

const withoutSlash = (text: string) => text.replace(/\/+$/, '')
const withoutSpn = (text: string) => text.replace(/^spn:/, '')
/** What an audience names; the portal suggests api://CLIENT-ID, and api://TENANT-ID/CLIENT-ID too. */
const bare = (text: string) =>
  withoutSlash(withoutSpn(text.toLowerCase()))
    .replace(/^api:\/\//, '')
    .replace(tenantInFront, '')
const tenantInFront = /^[0-9a-f-]{36}\/(?=[0-9a-f-]{36}$)/
/**
 * `api://G/Orders.Read` and `G/.default` are scopes: an audience and a last part. An https identifier
 * URI may have a path of its own, so there the last part must look like a scope.
 */
function withoutScope(text: string): string {
  const [, scheme = '', rest = ''] = /^((?:[a-z][a-z0-9+.-]*:\/\/)?)(.*)$/s.exec(text) ?? []
  const [, audience, last = ''] = /^(.+?)\/+([^/]+)$/s.exec(rest) ?? []
  if (audience === undefined || (scheme === 'https://' && !/[._]/.test(last))) return text
  return `${scheme}${audience}`
}

/** The same API written another way. */
function adviseOnNear({ policy, claims }: Facts, aud: string, { audience, likeness }: Near) {
  const has = `the policy ${policy.name} has ${audience}`
  const add = (why: string) =>
    change(
      'policy',
      `Add ${aud} to "audiences" of the policy ${policy.name}: it has ${audience}, ${why}.`,
    )
  if (likeness === 'scope') {
    const isOfPolicy = isAlike(withoutScope(audience), aud, 'form')
    return [
      isOfPolicy
        ? change(
            'policy',
            `Write ${aud} in "audiences" of the policy ${policy.name} in place of ${audience}: that is a scope, and no token has one as its audience. The scope belongs into "scopes" of a grant.`,
          )
        : change(
            'request',
            `The audience ${aud} is a scope, and ${has}. Ask the v2.0 token endpoint with scope=${aud}; do not send it as "resource".`,
          ),
    ]
  }
  if (likeness === 'case' || likeness === 'slash') {
    const difference =
      likeness === 'case' ? 'only letter case differs' : 'only the slash at the end differs'
    return [
      add(`which is the same API, but audiences are compared letter by letter (${difference})`),
    ]
  }
  if (likeness === 'prefix') {
    return [
      add('which is the same API; the client requested it with spn: in front'),
      change('request', `Or let the client ask for ${audience} without spn: in front.`),
    ]
  }
  return [
    add('which is the same API in the form of the other token version'),
    claims?.version === '1.0'
      ? change(
          'registration',
          'Or set requestedAccessTokenVersion to 2 in the manifest of the API (App registrations > API > Manifest): v2.0 tokens have the client id (GUID) as aud, v1.0 tokens the identifier URI.',
        )
      : change(
          'registration',
          'Its requestedAccessTokenVersion is 2, so its tokens have the client id as aud, whatever URI the client asks for; leave that as it is.',
        ),
  ]
}
