import { fail, type Observe, pass, type Result } from '../failure.ts'
import type { Authorities, Authority } from '../keys/authority.ts'
import type { IssuerKeys } from '../keys/issuer-keys.ts'
import type { Key } from '../keys/key.ts'
import { type AccessToken, readClaims, readOrigin, type TokenOrigin } from './claims.ts'
import { checkHeader, decodeToken, type JsonObject } from './decode.ts'
import type { SignatureEngine } from './signature.ts'

/** A token whose signature was verified, with the key that did it. */
export interface VerifiedToken {
  readonly claims: AccessToken
  readonly key: Key
}

/** The steps of `verifyToken`, in order. */
export const tokenSteps = [
  'form',
  'header',
  'origin',
  'tenant',
  'issuer',
  'key',
  'signature',
  'claims',
] as const

export type TokenStep = (typeof tokenSteps)[number]

/** A token whose signature was verified, its claims not yet read. */
export interface SignedPayload {
  readonly payload: JsonObject
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
  observe?: Observe<TokenStep>,
): Promise<Result<VerifiedToken>> {
  const signed = await verifySignature(token, authorities, engine, observe)
  if (!signed.ok) return signed
  const { payload, key } = signed.value
  const claims = note('claims', readClaims(payload), observe)
  return claims.ok ? pass({ claims: claims.value, key }) : claims
}

/** The part of `verifyToken` that holds for each token of Entra, also for an ID token. */
export async function verifySignature(
  token: string,
  authorities: Authorities,
  engine: SignatureEngine,
  observe?: Observe<TokenStep>,
): Promise<Result<SignedPayload>> {
  const decoded = note('form', decodeToken(token), observe)
  if (!decoded.ok) return decoded
  const { header, payload } = decoded.value
  const keyId = note('header', checkHeader(header), observe)
  if (!keyId.ok) return keyId
  const origin = note('origin', readOrigin(payload), observe)
  if (!origin.ok) return origin
  const authority = note('tenant', findAuthority(origin.value, authorities), observe)
  if (!authority.ok) return authority
  const issuerKeys = note('issuer', findIssuerKeys(origin.value, authority.value), observe)
  if (!issuerKeys.ok) return issuerKeys
  const key = note('key', await findKey(keyId.value, issuerKeys.value), observe)
  if (!key.ok) return key
  const signature = note('signature', await checkSignature(token, key.value, engine), observe)
  return signature.ok ? pass({ payload, key: key.value }) : signature
}

/** Passes a result on, and tells whoever observes. */
function note<R extends Result<unknown>>(
  step: TokenStep,
  result: R,
  observe: Observe<TokenStep> | undefined,
): R {
  if (observe) {
    if (result.ok) observe(step, undefined)
    else observe(step, result.failure, result.claim)
  }
  return result
}

function findAuthority(origin: TokenOrigin, authorities: Authorities): Result<Authority> {
  const authority = authorities.get(origin.tenantId)
  return authority ? pass(authority) : fail('tenant_not_allowed', 'tid')
}

function findIssuerKeys(origin: TokenOrigin, authority: Authority): Result<IssuerKeys> {
  const issuerKeys = authority.issuerKeys(origin.version)
  if (issuerKeys.issuer === undefined) {
    return fail(issuerKeys.state().state === 'absent' ? 'issuer_mismatch' : 'keys_unavailable')
  }
  return issuerKeys.issuer === origin.issuer ? pass(issuerKeys) : fail('issuer_mismatch', 'iss')
}

function findKey(id: string, issuerKeys: IssuerKeys): Result<Key> | Promise<Result<Key>> {
  return issuerKeys.find(id) ?? issuerKeys.lookUp(id)
}

async function checkSignature(
  token: string,
  key: Key,
  engine: SignatureEngine,
): Promise<Result<undefined>> {
  return (await engine.verify(key, token)) ? pass(undefined) : fail('signature_invalid')
}
