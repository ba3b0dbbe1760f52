import { createHash, timingSafeEqual } from 'node:crypto'

/**
 * Whether a key is the expected one; no expected key means that none is asked for. Compares hashes
 * in constant time: they have one length, so not even that of the key leaks.
 */
export function isRightKey(key: string | undefined, expected: string | undefined): boolean {
  if (expected === undefined) return true
  return key !== undefined && timingSafeEqual(sha256(key), sha256(expected))
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
