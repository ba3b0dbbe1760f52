import { createHash, timingSafeEqual } from 'node:crypto'

/**
 * Whether a key is one of the expected ones; no expected key means that none is asked for. Compares
 * hashes in constant time: they have one length, so not even that of the key leaks.
 */
export function isRightKey(key: string | undefined, expected: readonly string[]): boolean {
  if (expected.length === 0) return true
  if (key === undefined) return false
  const hash = sha256(key)
  // Each is compared, so that the time does not tell which one it is.
  return expected.map((one) => timingSafeEqual(hash, sha256(one))).includes(true)
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** The keys that count: the current one, and the next one while it is being replaced. */
export function keysThatCount(...keys: readonly (string | undefined)[]): readonly string[] {
  return keys.filter((key) => key !== undefined)
}
