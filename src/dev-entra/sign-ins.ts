import { LRUCache } from 'lru-cache'
import type { Random } from './keys.ts'

/** A sign-in that waits for its code to be redeemed. */
export interface SignIn {
  readonly persona: string
  readonly tenantId: string
  readonly clientId: string
  readonly redirectUri: string
  readonly scope: string
  /** Base64url SHA-256 of the code verifier (RFC 7636); absent for confidential clients without PKCE. */
  readonly codeChallenge?: string
  readonly nonce?: string
}

/** Authorization codes: each is good once, for ten minutes. */
export interface SignIns {
  /** Keeps a sign-in and returns its code. */
  add(signIn: SignIn): string
  /** The sign-in of a code, once; undefined when the code is unknown, used or too old. */
  redeem(code: string): SignIn | undefined
}

const codeLifetimeMs = 10 * 60 * 1000
const maxCodes = 1000

/** Creates the store of authorization codes. */
export function createSignIns(now: () => number, random: Random): SignIns {
  const waiting = new LRUCache<string, { signIn: SignIn; expiresAtMs: number }>({ max: maxCodes })
  return {
    add(signIn) {
      const code = `1.${random(48).toString('base64url')}`
      waiting.set(code, { signIn, expiresAtMs: now() + codeLifetimeMs })
      return code
    },
    redeem(code) {
      const entry = waiting.get(code)
      waiting.delete(code)
      return entry && now() < entry.expiresAtMs ? entry.signIn : undefined
    },
  }
}
