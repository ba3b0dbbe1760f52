import { fail, pass, type Result } from '../failure.ts'
import type { Authorities } from '../keys/authority.ts'
import type { IssuerKeys } from '../keys/issuer-keys.ts'
import type { Key } from '../keys/key.ts'
import { type AccessToken, readClaims, readOrigin, type TokenOrigin } from './claims.ts'
import { checkHeader, decodeToken } from './decode.ts'
import type { SignatureEngine } from './signature.ts'

/** A token whose signature was verified, with the key that did it. */
export interface VerifiedToken {
  readonly claims: AccessToken
  readonly key: Key
}

/**
 * Verifies everything about a token that does not depend on the policy or on the time: form,
 * origin, key, signature and claims. What the token says of its issuer only picks among the
 * configured authorities; nothing is ever fetched from an address in a token.
 */
export async function verifyToken(
  token: string,
  authorities: Authorities,
  engine: SignatureEngine,
): Promise<Result<VerifiedToken>> {
  const decoded = decodeToken(token)
  if (!decoded.ok) return decoded
  const { header, payload } = decoded.value
  const keyId = checkHeader(header)
  if (!keyId.ok) return keyId
  const origin = readOrigin(payload)
  if (!origin.ok) return origin
  const issuerKeys = findIssuerKeys(origin.value, authorities)
  if (!issuerKeys.ok) return issuerKeys
  const key = issuerKeys.value.find(keyId.value) ?? (await issuerKeys.value.lookUp(keyId.value))
  if (!key.ok) return key
  if (!(await engine.verify(key.value, token))) return fail('signature_invalid')
  const claims = readClaims(payload)
  return claims.ok ? pass({ claims: claims.value, key: key.value }) : claims
}

function findIssuerKeys(origin: TokenOrigin, authorities: Authorities): Result<IssuerKeys> {
  const authority = authorities.get(origin.tenantId)
  if (!authority) return fail('tenant_not_allowed')
  const issuerKeys = authority.issuerKeys(origin.version)
  if (issuerKeys.issuer === undefined) {
    return fail(issuerKeys.state().state === 'absent' ? 'issuer_mismatch' : 'keys_unavailable')
  }
  return issuerKeys.issuer === origin.issuer ? pass(issuerKeys) : fail('issuer_mismatch')
}
