import { createPublicKey } from 'node:crypto'
import type { FailureCode } from '../failure.ts'

/** A public signing key of an authority. Its last three fields change as the key set is read again. */
export interface Key {
  readonly id: string
  /** SubjectPublicKeyInfo as PEM, the form that the signature engine caches verifiers for. */
  readonly pem: string
  /** When the authority last published it, in ms. */
  lastSeenMs: number
  /** In how many replies in a row it has been missing. */
  missingReplies: number
  withdrawn: boolean
}

/** Whom a key must belong to. */
export interface KeyOwner {
  readonly issuer: string
  readonly tenantId: string
  readonly cloudInstanceName: string | undefined
}

/** A key of a key set, or why it is not used. */
export type ImportedKey =
  | { readonly id: string; readonly pem: string }
  | { readonly id: string | undefined; readonly failure: FailureCode }

/**
 * Checks a JSON Web Key (RFC 7517) for use with RS256: RSA, for signatures, 2048 bits or more
 * (RFC 7518 section 3.3), and published for this issuer. A key set that serves several tenants
 * names the issuer of each key, possibly with `{tenantid}`; without that check a key of the
 * consumer tenant would sign for all.
 */
export function importKey(jwk: unknown, owner: KeyOwner): ImportedKey {
  const key = (jwk ?? {}) as Record<string, unknown>
  const id = typeof key.kid === 'string' && key.kid !== '' ? key.kid : undefined
  if (id === undefined || key.kty !== 'RSA') return { id, failure: 'key_unusable' }
  if (key.use !== undefined && key.use !== 'sig') return { id, failure: 'key_unusable' }
  if (key.alg !== undefined && key.alg !== 'RS256') return { id, failure: 'key_unusable' }
  if (
    key.key_ops !== undefined &&
    !(Array.isArray(key.key_ops) && key.key_ops.includes('verify'))
  ) {
    return { id, failure: 'key_unusable' }
  }
  if (!belongsTo(key, owner)) return { id, failure: 'key_not_for_issuer' }
  try {
    const publicKey = createPublicKey({
      key: { kty: 'RSA', n: key.n as string, e: key.e as string },
      format: 'jwk',
    })
    const { modulusLength } = publicKey.asymmetricKeyDetails as { modulusLength: number }
    if (!(modulusLength >= 2048)) return { id, failure: 'key_unusable' }
    return { id, pem: publicKey.export({ type: 'spki', format: 'pem' }) as string }
  } catch {
    return { id, failure: 'key_unusable' }
  }
}

function belongsTo(key: Record<string, unknown>, owner: KeyOwner): boolean {
  if (key.issuer !== undefined) {
    if (typeof key.issuer !== 'string') return false
    if (key.issuer.replaceAll('{tenantid}', owner.tenantId) !== owner.issuer) return false
  }
  return (
    key.cloud_instance_name === undefined || key.cloud_instance_name === owner.cloudInstanceName
  )
}
