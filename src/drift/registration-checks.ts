import type { Config, IdentityHeaderSet, PolicyConfig } from '../config/config.ts'
import { isGuid } from '../config/guid.ts'
import { quote } from '../config/problems.ts'
import { type Finding, finding } from './finding.ts'
import { collectNeeds, type Needs, takingTokens } from './needs.ts'
import type { Registration } from './registration.ts'

/** Compares a registration with the policies whose tokens are issued for it. */
export function checkRegistration(
  app: Registration,
  policies: readonly PolicyConfig[],
  config: Config,
): Finding[] {
  const needs = collectNeeds(policies)
  const ofTokens = takingTokens(policies)
  /** A check of what the file lacks would take a missing member for an empty one. */
  const where = (paths: readonly string[], check: () => Finding[]) =>
    paths.some((path) => app.missing.includes(path)) ? [] : check()
  const audience = ['identifierUris', 'api.requestedAccessTokenVersion', 'optionalClaims']
  return [
    ...checkPartial(app),
    ...where(['api.oauth2PermissionScopes'], () => checkScopes(app, needs)),
    ...where(['appRoles'], () => checkRoles(app, needs)),
    ...checkClash(app, needs),
    ...ofTokens.flatMap((policy) => [
      ...where(audience, () => [...checkAudiences(app, policy), ...checkResource(app, policy)]),
      ...where(['optionalClaims'], () => [
        ...checkIdtyp(app, policy),
        ...checkGuests(app, policy),
        ...checkAgentRules(app, policy),
      ]),
    ]),
    ...policies.flatMap((policy) =>
      where(['optionalClaims', 'groupMembershipClaims'], () => checkGroups(app, policy)),
    ),
    ...where(['optionalClaims'], () =>
      ofTokens.length === 0
        ? []
        : [...checkAgentClaims(app, ofTokens), ...checkEmail(app, config.identityHeaders)],
    ),
    ...checkSignInAudience(app, tenantsOf(policies, config)),
  ]
}

function checkPartial(app: Registration): Finding[] {
  if (app.missing.length === 0) return []
  return [
    finding(
      'registration-partial',
      placeOf(app),
      `does not hold ${app.missing.join(', ')}, or not whole, so that was not compared`,
      `Print all of it, without --query or $select: az ad app show --id ${app.appId}.`,
    ),
  ]
}

const placeOf = ({ appId }: Registration) => ({ app: appId })

function list(names: readonly string[]): string {
  return `${names.length === 1 ? 'policy' : 'policies'} ${names.join(', ')}`
}

const fixHint = 'drift --fix prints the change.'

function checkScopes(app: Registration, { scopes, anyScope }: Needs): Finding[] {
  const findings: Finding[] = []
  for (const [value, policies] of scopes) {
    const registered = app.scopes.find((scope) => scope.value === value)
    if (!registered) {
      findings.push(
        finding(
          'scope-missing',
          placeOf(app),
          `has no scope ${quote(value)}, wanted by ${list(policies)}${similar(value, app.scopes)}`,
          `Add it under "Expose an API", or correct the policy; ${fixHint}`,
        ),
      )
    } else if (!registered.isEnabled) {
      findings.push(
        finding(
          'scope-disabled',
          placeOf(app),
          `has the scope ${quote(value)} of ${list(policies)} disabled, so no new token holds it`,
          `Enable it; ${fixHint}`,
        ),
      )
    }
  }
  if (anyScope) return findings
  const unused = app.scopes.filter(({ value, isEnabled }) => isEnabled && !scopes.has(value))
  return [
    ...findings,
    ...unused.map(({ value }) =>
      finding(
        'scope-unused',
        placeOf(app),
        `offers the scope ${quote(value)}, which no policy names`,
        'Disable and then delete it, or use it in a policy.',
      ),
    ),
  ]
}

function checkRoles(app: Registration, { roles, anyRole }: Needs): Finding[] {
  const findings: Finding[] = []
  for (const [value, { policies, members }] of roles) {
    const registered = app.roles.find((role) => role.value === value)
    if (!registered) {
      findings.push(
        finding(
          'role-missing',
          placeOf(app),
          `has no role ${quote(value)}, wanted by ${list(policies)}${similar(value, app.roles)}`,
          `Add it under "App roles", or correct the policy; ${fixHint}`,
        ),
      )
      continue
    }
    if (!registered.isEnabled) {
      findings.push(
        finding(
          'role-disabled',
          placeOf(app),
          `has the role ${quote(value)} of ${list(policies)} disabled, so it can be given to nobody`,
          `Enable it; ${fixHint}`,
        ),
      )
    }
    const lacking = members.filter((member) => !registered.allowedMemberTypes.includes(member))
    if (lacking.length > 0) {
      findings.push(
        finding(
          'role-member-type',
          placeOf(app),
          `does not give the role ${quote(value)} to ${lacking.map((member) => (member === 'User' ? 'users and groups' : 'applications')).join(' and ')}, as wanted by ${list(policies)}`,
          `Add ${lacking.join(' and ')} to its allowedMemberTypes; ${fixHint}`,
        ),
      )
    }
  }
  if (anyRole) return findings
  const unused = app.roles.filter(({ value, isEnabled }) => isEnabled && value && !roles.has(value))
  return [
    ...findings,
    ...unused.map(({ value }) =>
      finding(
        'role-unused',
        placeOf(app),
        `offers the role ${quote(value)}, which no policy names`,
        'Disable and then delete it, or use it in a policy.',
      ),
    ),
  ]
}

function similar(value: string, registered: readonly { readonly value: string }[]): string {
  const other = registered.find((one) => one.value.toLowerCase() === value.toLowerCase())
  return other ? ` (it has ${quote(other.value)}: letter case counts)` : ''
}

/** Scopes and roles of a registration share one namespace: Entra refuses a value that is in both. */
export function clashes(app: Registration, { scopes, roles }: Needs): string[] {
  const asScope = new Set([...app.scopes.map(({ value }) => value), ...scopes.keys()])
  const asRole = new Set([...app.roles.map(({ value }) => value), ...roles.keys()])
  const wanted = new Set([...scopes.keys(), ...roles.keys()])
  return [...wanted].filter((value) => asScope.has(value) && asRole.has(value))
}

function checkClash(app: Registration, needs: Needs): Finding[] {
  const both = (value: string) =>
    app.scopes.some((scope) => scope.value === value) &&
    app.roles.some((role) => role.value === value)
  return clashes(app, needs)
    .filter((value) => !both(value))
    .map((value) =>
      finding(
        'value-clash',
        placeOf(app),
        `would need ${quote(value)} as a scope and as a role, which Entra refuses`,
        'Give the role another name, such as one that ends in .All.',
      ),
    )
}

function checkAudiences(app: Registration, { name, audiences }: PolicyConfig): Finding[] {
  const known = (audience: string) =>
    audience === app.appId || app.identifierUris.includes(audience)
  const findings = audiences
    .filter((audience) => !known(audience))
    .map((audience) =>
      finding(
        'audience-unknown',
        { policy: name },
        `admits the audience ${quote(audience)}, which is neither the client id nor an identifier URI of ${app.appId}`,
        `Write ${[app.appId, ...app.identifierUris].join(' or ')} in its audiences.`,
      ),
    )
  const holdsId = holdsClientId(app)
  const fits = holdsId ? isGuid : (audience: string) => !isGuid(audience)
  if (audiences.some((audience) => known(audience) && fits(audience))) return findings
  const wanted = holdsId ? app.appId : app.identifierUris.join(' or ')
  return [
    ...findings,
    finding(
      'audience-version',
      { policy: name },
      `does not admit the audience of v${app.tokenVersion}.0 tokens, which ${app.appId} is issued (${
        holdsId ? 'the client id' : 'an identifier URI'
      })`,
      `${wanted === '' ? 'Give the registration an identifier URI' : `Add ${wanted} to its audiences`}${
        app.tokenVersion === 1 && holdsId
          ? ', or remove use_guid from the optional claim aud.'
          : `, or set api.requestedAccessTokenVersion to ${app.tokenVersion === 2 ? 1 : 2}.`
      }`,
    ),
  ]
}

/** Whether tokens have the client id as aud: v2.0 always, v1.0 with the optional claim aud and use_guid. */
function holdsClientId(app: Registration): boolean {
  const asGuid = app.accessTokenClaims.some(
    ({ name, additionalProperties }) => name === 'aud' && additionalProperties.includes('use_guid'),
  )
  return app.tokenVersion === 2 || asGuid
}

function checkResource(app: Registration, policy: PolicyConfig): Finding[] {
  const { name, resource, audiences } = policy
  if (resource === undefined) return []
  if (!app.identifierUris.includes(resource)) {
    return [
      finding(
        'resource-unknown',
        { policy: name },
        `has the resource ${quote(resource)}, which is no identifier URI of ${app.appId}: Entra refuses clients that ask for it (RFC 8707)`,
        'Add it to the identifier URIs of the registration, letter by letter.',
      ),
    ]
  }
  if (holdsClientId(app) || audiences.includes(resource)) return []
  return [
    finding(
      'resource-audience',
      { policy: name },
      `does not admit its own resource ${quote(resource)} as the audience that v1.0 tokens for it have`,
      'Add the resource to its audiences.',
    ),
  ]
}

const hasClaim = (app: Registration, name: string) =>
  app.accessTokenClaims.some((claim) => claim.name === name)

function checkIdtyp(app: Registration, { name, requireIdtyp, allow }: PolicyConfig): Finding[] {
  if (hasClaim(app, 'idtyp')) return []
  const hint = `Add the optional claim idtyp for access tokens; ${fixHint}`
  if (requireIdtyp) {
    return [
      finding(
        'idtyp-required',
        { policy: name },
        `has requireIdtyp, and tokens of ${app.appId} do not hold idtyp: apps are refused`,
        hint,
      ),
    ]
  }
  if (!allow.some(({ actor }) => actor === 'app')) return []
  return [
    finding(
      'idtyp-recommended',
      { policy: name },
      `admits apps, and without idtyp only sub and oid tell them from users`,
      hint,
    ),
  ]
}

function checkGuests(app: Registration, { name, allow, deny }: PolicyConfig): Finding[] {
  const asks = allow.some(({ guests }) => guests === false) || deny.some(({ guests }) => guests)
  if (!asks || hasClaim(app, 'acct')) return []
  return [
    finding(
      'acct-missing',
      { policy: name },
      `refuses guests, and tokens of ${app.appId} do not hold acct: every user counts as a guest`,
      `Add the optional claim acct for access tokens; ${fixHint}`,
    ),
  ]
}

/**
 * Optional claims that tell an agent from an app or a user ("Token claims reference for agents").
 * Without them an agent is admitted as what it looks like, and a rule on agents never holds.
 */
export const agentClaims = ['xms_act_fct', 'xms_sub_fct', 'xms_par_app_azp']

const namesAgents = ({ allow, deny }: PolicyConfig) =>
  [...allow, ...deny].some(({ actor }) => actor === 'agent')

function missingAgentClaims(app: Registration): string {
  return agentClaims.filter((name) => !hasClaim(app, name)).join(', ')
}

const agentHint = (missing: string) =>
  `Add the optional claims ${missing} for access tokens; ${fixHint}`

function checkAgentRules(app: Registration, policy: PolicyConfig): Finding[] {
  const missing = missingAgentClaims(app)
  if (missing === '' || !namesAgents(policy)) return []
  return [
    finding(
      'agent-claims-missing',
      { policy: policy.name },
      `has rules on agents, but tokens of ${app.appId} do not hold ${missing}: an agent can count as an app or a user`,
      agentHint(missing),
    ),
  ]
}

function checkAgentClaims(app: Registration, policies: readonly PolicyConfig[]): Finding[] {
  const missing = missingAgentClaims(app)
  if (missing === '' || policies.some(namesAgents)) return []
  return [
    finding(
      'agent-claims-recommended',
      placeOf(app),
      `does not put ${missing} into access tokens, so an agent can count as an app or a user`,
      agentHint(missing),
    ),
  ]
}

const groupKinds = ['SecurityGroup', 'ApplicationGroup', 'All']
const groupNames = new Set([
  'sam_account_name',
  'dns_domain_and_sam_account_name',
  'netbios_domain_and_sam_account_name',
  'cloud_displayname',
  'emit_as_roles',
])

function checkGroups(app: Registration, { name, allow, deny }: PolicyConfig): Finding[] {
  if (![...allow, ...deny].some(({ groups }) => groups)) return []
  const findings: Finding[] = []
  if (!app.groupMembershipClaims.some((kind) => groupKinds.includes(kind))) {
    findings.push(
      finding(
        'groups-claim-missing',
        { policy: name },
        `names groups, and tokens of ${app.appId} hold none (groupMembershipClaims)`,
        'Set groupMembershipClaims to ApplicationGroup (assigned groups, no overage) or SecurityGroup.',
      ),
    )
  }
  const format = app.accessTokenClaims
    .filter((claim) => claim.name === 'groups')
    .flatMap(({ additionalProperties }) => additionalProperties)
    .find((property) => groupNames.has(property))
  if (format !== undefined) {
    findings.push(
      finding(
        'groups-claim-format',
        { policy: name },
        `names groups by object id, and the optional claim groups of ${app.appId} has ${format}`,
        `Remove ${format} from the optional claim groups for access tokens.`,
      ),
    )
  }
  return findings
}

function checkEmail(app: Registration, set: IdentityHeaderSet): Finding[] {
  const shows =
    typeof set === 'string'
      ? set !== 'app-service'
      : Object.values(set).some((claim) => claim === 'email')
  const lacking = ['email', 'xms_edov'].filter((name) => !hasClaim(app, name))
  if (!shows || lacking.length === 0) return []
  return [
    finding(
      'email-claim-missing',
      placeOf(app),
      `puts no ${lacking.join(' and no ')} into access tokens, so the e-mail header stays empty`,
      'Add email and xms_edov as optional claims if applications show the address.',
    ),
  ]
}

/** The tenants of tokens that policies admit, and the one of sessions. */
function tenantsOf(policies: readonly PolicyConfig[], { signIn }: Config): ReadonlySet<string> {
  const takesSessions = policies.some(({ allow }) => allow.some(({ session }) => session))
  return new Set([
    ...takingTokens(policies).flatMap(({ tenants }) => tenants),
    ...(signIn && takesSessions ? [signIn.tenantId] : []),
  ])
}

function checkSignInAudience(app: Registration, tenants: ReadonlySet<string>): Finding[] {
  const single = app.signInAudience === 'AzureADMyOrg'
  if (app.signInAudience === '') return []
  if (single && tenants.size > 1) {
    return [
      finding(
        'sign-in-audience-narrow',
        placeOf(app),
        `is for its own tenant only, and the policies admit ${tenants.size} tenants`,
        'Set signInAudience to AzureADMultipleOrgs, or use a registration for each tenant (--app POLICY=FILE).',
      ),
    ]
  }
  if (single || tenants.size !== 1) return []
  return [
    finding(
      'sign-in-audience-wide',
      placeOf(app),
      `lets users of other tenants sign in (${app.signInAudience}), and the policies admit one tenant`,
      'Set signInAudience to AzureADMyOrg.',
    ),
  ]
}
