import { createHash } from 'node:crypto'

/** The code challenge of a verifier (RFC 7636 section 4.2, method S256). */
export function hashOf(verifier: string): string {
  return createHash('sha256').update(verifier).digest('base64url')
}
