import { generateKeyPairSync, type KeyObject } from 'node:crypto'

/** A key pair of an authority, or of an attacker. */
export interface SigningKey {
  readonly id: string
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

export type Jwk = Readonly<Record<string, unknown>>

const known = new Map<string, SigningKey>()

/** The RSA key of this name, made at its first use; the name is its `kid`. */
export function signingKey(id: string, modulusLength = 2048): SigningKey {
  let key = known.get(id)
  if (!key) {
    key = { id, ...generateKeyPairSync('rsa', { modulusLength }) }
    known.set(id, key)
  }
  return key
}

/** Another key under the `kid` of `key`. */
export function impostorOf(key: SigningKey): SigningKey {
  return { ...signingKey(`impostor of ${key.id}`), id: key.id }
}

/** The public part as Entra publishes it. */
export function jwkOf(key: SigningKey, members: Record<string, unknown> = {}): Jwk {
  const { n, e } = key.publicKey.export({ format: 'jwk' })
  return { kty: 'RSA', use: 'sig', kid: key.id, x5t: key.id, n, e, ...members }
}
