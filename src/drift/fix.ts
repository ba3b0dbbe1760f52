import { createHash } from 'node:crypto'
import type { PolicyConfig } from '../config/config.ts'
import { collectNeeds, type Needs, takingTokens } from './needs.ts'
import { isObject, type JsonObject, objectsOf, type Registration } from './registration.ts'
import { agentClaims, clashes } from './registration-checks.ts'

/**
 * The part of an application object that brings the registration in line with the policies; empty
 * where nothing is to change. Microsoft Graph replaces whole lists, so each list is complete: what
 * exists stays, ids included. Nothing is taken away: that is a decision, and it revokes consent. A list
 * that the file lacks, or does not hold whole, is left alone.
 */
export function fixRegistration(app: Registration, policies: readonly PolicyConfig[]): JsonObject {
  const needs = collectNeeds(policies)
  const refused = new Set(clashes(app, needs))
  const isWhole = (...paths: readonly string[]) => !paths.some((path) => app.missing.includes(path))
  // Scopes and roles share their names, so neither is added where the other is unknown.
  const knowsNames = isWhole('appRoles', 'api.oauth2PermissionScopes')
  return {
    ...(knowsNames && fixRoles(app, needs, refused)),
    ...(knowsNames && fixScopes(app, needs, refused)),
    ...(isWhole('optionalClaims') && fixClaims(app, takingTokens(policies))),
  }
}

function fixRoles(app: Registration, { roles }: Needs, refused: ReadonlySet<string>): JsonObject {
  const old = objectsOf(app.raw.appRoles).map(withoutOrigin)
  const kept = old.map((role) => {
    const need = roles.get(String(role.value))
    if (!need) return role
    const members = Array.isArray(role.allowedMemberTypes) ? role.allowedMemberTypes : []
    const lacking = need.members.filter((member) => !members.includes(member))
    const enabled = role.isEnabled === true ? role : { ...role, isEnabled: true }
    return lacking.length === 0
      ? enabled
      : { ...enabled, allowedMemberTypes: [...members, ...lacking] }
  })
  const known = new Set(old.map(({ value }) => value))
  const added = [...roles]
    .filter(([value]) => !known.has(value) && !refused.has(value))
    .map(([value, { policies, members }]) => ({
      id: idFor(app.appId, 'role', value),
      value,
      displayName: value,
      description: `${value}, asked for by ${policies.join(', ')}`,
      allowedMemberTypes: members.length > 0 ? [...members] : ['User', 'Application'],
      isEnabled: true,
    }))
  const isSame = added.length === 0 && kept.every((role, index) => role === old[index])
  return isSame ? {} : { appRoles: [...kept, ...added] }
}

function fixScopes(app: Registration, { scopes }: Needs, refused: ReadonlySet<string>): JsonObject {
  const api = isObject(app.raw.api) ? app.raw.api : {}
  const old = objectsOf(api.oauth2PermissionScopes).map(withoutOrigin)
  const kept = old.map((scope) =>
    scopes.has(String(scope.value)) && scope.isEnabled !== true
      ? { ...scope, isEnabled: true }
      : scope,
  )
  const known = new Set(old.map(({ value }) => value))
  const added = [...scopes]
    .filter(([value]) => !known.has(value) && !refused.has(value))
    .map(([value, policies]) => ({
      id: idFor(app.appId, 'scope', value),
      value,
      // Users cannot consent by themselves: the safe choice, and easy to change.
      type: 'Admin',
      adminConsentDisplayName: value,
      adminConsentDescription: `${value}, asked for by ${policies.join(', ')}`,
      userConsentDisplayName: value,
      userConsentDescription: value,
      isEnabled: true,
    }))
  const isSame = added.length === 0 && kept.every((scope, index) => scope === old[index])
  return isSame ? {} : { api: { oauth2PermissionScopes: [...kept, ...added] } }
}

function fixClaims(app: Registration, policies: readonly PolicyConfig[]): JsonObject {
  const wanted = new Set<string>(policies.length === 0 ? [] : agentClaims)
  for (const { requireIdtyp, allow, deny } of policies) {
    if (requireIdtyp || allow.some(({ actor }) => actor === 'app')) wanted.add('idtyp')
    if (allow.some(({ guests }) => guests === false) || deny.some(({ guests }) => guests)) {
      wanted.add('acct')
    }
  }
  const added = [...wanted]
    .filter((name) => !app.accessTokenClaims.some((claim) => claim.name === name))
    .map((name) => ({ name, source: null, essential: false, additionalProperties: [] }))
  if (added.length === 0) return {}
  const old = isObject(app.raw.optionalClaims) ? app.raw.optionalClaims : {}
  const { accessToken, idToken, saml2Token } = old
  return {
    optionalClaims: {
      idToken: objectsOf(idToken),
      accessToken: [...objectsOf(accessToken), ...added],
      ...(saml2Token !== undefined && { saml2Token: objectsOf(saml2Token) }),
    },
  }
}

/** Graph prints `origin` and refuses it in a PATCH. */
function withoutOrigin({ origin: _, ...entry }: JsonObject): JsonObject {
  return entry
}

/**
 * The id of a new role or scope: a UUID of version 5 (RFC 9562) from client id, kind and value, so
 * that two runs print the same.
 */
function idFor(appId: string, kind: 'role' | 'scope', value: string): string {
  const hash = createHash('sha1')
    .update(Buffer.from(appId.replaceAll('-', ''), 'hex'))
    .update(`${kind}:${value}`)
    .digest()
    .subarray(0, 16)
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x50, 6)
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = hash.toString('hex')
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join('-')
}
