import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'

/** What is sealed. Each purpose has a key of its own, so that nothing sealed for one opens as another. */
export type SealingPurpose = 'session' | 'login' | 'state'

/** One key of the folder. */
export interface SealingKey {
  /** Derived from the key, so the same key has the same id in each replica, whatever its file is called. */
  readonly id: string
  /**
   * The AES key for a purpose, derived once (HKDF-SHA256, RFC 5869). As an object, with which Node opens
   * a text in a quarter of the time that it takes with bytes.
   */
  keyFor(purpose: SealingPurpose): KeyObject
}

/** The keys in force. */
export interface SealingKeys {
  /** The key that seals; undefined where there is none yet. */
  readonly sealing: SealingKey | undefined
  /** Each key opens what it sealed. */
  get(id: string): SealingKey | undefined
  /**
   * A short name of all keys together, the same in each replica that has them. Absent where replicas cannot have the
   * same keys.
   */
  mark?(): string
}

const idBytes = 6
const nonceBytes = 12
const tagBytes = 16
const overheadBytes = idBytes + nonceBytes + tagBytes

/** Longest text that is looked at, in characters: more than any cookie or state of ours. */
const maxCharacters = 4_096

/** Creates a key from the content of a key file. */
export function createSealingKey(material: Buffer): SealingKey {
  const derive = (info: string, bytes: number) =>
    Buffer.from(hkdfSync('sha256', material, '', `haproxy-entra-auth ${info}`, bytes))
  const keys = new Map<SealingPurpose, KeyObject>()
  return {
    id: derive('key id', idBytes).toString('base64url'),
    keyFor(purpose) {
      let key = keys.get(purpose)
      if (!key) {
        key = createSecretKey(derive(`seal ${purpose}`, 32))
        keys.set(purpose, key)
      }
      return key
    },
  }
}

/**
 * Seals a text with AES-256-GCM and returns base64url of key id, nonce, ciphertext and tag; undefined
 * without a key. The nonce is random: a key may seal 2^32 texts (NIST SP 800-38D section 8.3), which is
 * a thousand sign-ins a second for 50 days.
 */
export function seal(keys: SealingKeys, purpose: SealingPurpose, text: string): string | undefined {
  const key = keys.sealing
  if (!key) return undefined
  const id = Buffer.from(key.id, 'base64url')
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key.keyFor(purpose), nonce).setAAD(id)
  const sealed = [cipher.update(Buffer.from(text)), cipher.final()]
  return Buffer.concat([id, nonce, ...sealed, cipher.getAuthTag()]).toString('base64url')
}

/**
 * Opens a sealed text. Returns undefined if it was not sealed here for this purpose, without a
 * reason. Never throws.
 */
export function open(
  keys: SealingKeys,
  purpose: SealingPurpose,
  sealed: string,
): string | undefined {
  if (sealed.length > maxCharacters) return undefined
  const bytes = Buffer.from(sealed, 'base64url')
  if (bytes.length < overheadBytes) return undefined
  // Exactly the text that `seal` returned: Node skips strange characters, and unused bits at the end
  // would give one session several spellings.
  if (bytes.toString('base64url') !== sealed) return undefined
  const id = bytes.subarray(0, idBytes)
  const key = keys.get(id.toString('base64url'))
  if (!key) return undefined
  const nonce = bytes.subarray(idBytes, idBytes + nonceBytes)
  const end = bytes.length - tagBytes
  const decipher = createDecipheriv('aes-256-gcm', key.keyFor(purpose), nonce, {
    authTagLength: tagBytes,
  })
  decipher.setAAD(id).setAuthTag(bytes.subarray(end))
  try {
    const text = decipher.update(bytes.subarray(idBytes + nonceBytes, end))
    decipher.final()
    return text.toString('utf8')
  } catch {
    return undefined
  }
}
