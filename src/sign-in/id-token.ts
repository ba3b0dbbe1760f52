import { fail, pass, type Result } from '../failure.ts'
import type { Authorities } from '../keys/authority.ts'
import {
  agentClaims,
  checkTimes,
  isObjectId,
  readAgent,
  readDisplay,
  readGuest,
  reading,
  readOverage,
  readString,
  readStrings,
  readTimes,
  requireGuid,
  requireString,
} from '../token/claims.ts'
import type { JsonObject } from '../token/decode.ts'
import type { SignatureEngine } from '../token/signature.ts'
import { verifySignature } from '../token/verify-token.ts'

/** What an ID token says of who signed in. */
export interface IdToken {
  readonly tenantId: string
  readonly userId: string
  readonly subject: string
  readonly keyId: string
  /** When Entra issued it, by its own clock (s). */
  readonly issuedAt: number
  readonly roles: readonly string[]
  readonly groups: readonly string[]
  /** There are more groups than those above, whose ids are not known. */
  readonly groupsOverage: boolean
  readonly guest: boolean | undefined
  readonly authContexts: readonly string[]
  readonly name: string | undefined
  readonly preferredUsername: string | undefined
  readonly email: string | undefined
  readonly entraSessionId: string | undefined
  readonly loginHint: string | undefined
}

/** What an ID token must match. */
export interface IdTokenExpectation {
  readonly authorities: Authorities
  readonly engine: SignatureEngine
  readonly tenantId: string
  readonly clientId: string
  readonly nonce: string
  readonly nowMs: number
  readonly clockSkewSeconds: number
}

/**
 * Verifies an ID token (OpenID Connect Core section 3.1.3.7): the signature by our keys, the exact
 * issuer of the tenant, this client as the only audience and, where one is named, as the authorised party,
 * the nonce of this sign-in, and the times.
 * The failure names the wrong claim, for the log.
 */
export async function verifyIdToken(
  token: string,
  expected: IdTokenExpectation,
): Promise<Result<IdToken>> {
  const signed = await verifySignature(token, expected.authorities, expected.engine)
  if (!signed.ok) return signed
  const { payload, key } = signed.value
  const read = readIdToken(payload, key.id)
  if (!read.ok) return read
  const { tenantId, audience, party, nonce, version, times, isAgent, ...idToken } = read.value
  // Access tokens of version 1.0 come from another issuer, and no ID token of this flow does.
  if (version !== '2.0') return fail('version_unknown', 'ver')
  if (tenantId !== expected.tenantId) return fail('tenant_not_allowed', 'tid')
  if (audience !== expected.clientId) return fail('audience_mismatch', 'aud')
  if (party !== undefined && party !== expected.clientId) return fail('audience_mismatch', 'azp')
  if (nonce !== expected.nonce) return fail('claim_malformed', 'nonce')
  // Sessions count as those of a person, and rules on agents must not end there.
  if (isAgent) return fail('actor_not_allowed', agentClaims.join(', '))
  const failure = checkTimes(times, expected.nowMs / 1000, expected.clockSkewSeconds)
  return failure ? fail(failure, 'exp') : pass({ tenantId, issuedAt: times.issuedAt, ...idToken })
}

function readIdToken(payload: JsonObject, keyId: string) {
  return reading(() => {
    const groups = readStrings(payload, 'groups')
    const { preferredUsername, name, email } = readDisplay(payload)
    return {
      version: requireString(payload, 'ver'),
      tenantId: requireGuid(payload, 'tid'),
      audience: requireString(payload, 'aud'),
      party: readString(payload, 'azp'),
      nonce: requireString(payload, 'nonce'),
      times: readTimes(payload),
      isAgent: readAgent(payload),
      userId: requireGuid(payload, 'oid'),
      subject: requireString(payload, 'sub'),
      keyId,
      roles: readStrings(payload, 'roles') ?? [],
      groups: groups ?? [],
      // A session keeps ids only. Where groups come by their names, nobody can tell which these are.
      groupsOverage:
        readOverage(payload, groups !== undefined) || !(groups ?? []).every(isObjectId),
      guest: readGuest(payload),
      authContexts: readStrings(payload, 'acrs') ?? [],
      name,
      preferredUsername,
      email,
      entraSessionId: readString(payload, 'sid'),
      loginHint: readString(payload, 'login_hint'),
    }
  })
}
