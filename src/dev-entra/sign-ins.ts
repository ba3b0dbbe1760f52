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
  /** Session id at dev-entra. */
  readonly sid: string
  /** Authentication contexts that the session has satisfied. */
  readonly contexts: readonly string[]
}

/** Authorization codes, each good once for ten minutes, and refresh tokens, good until disabled. */
export interface SignIns {
  /** Keeps a sign-in and returns its code. */
  add(signIn: SignIn): string
  /** The sign-in of a code, once; undefined when the code is unknown, used or too old. */
  redeem(code: string): SignIn | undefined
  /** Keeps a sign-in and returns a refresh token for it. */
  addRefreshToken(signIn: SignIn): string
  /** The sign-in of a refresh token, which stays good as Entra's do; undefined when unknown or revoked. */
  refresh(token: string): SignIn | undefined
  /** Revokes the refresh tokens and codes of a persona. */
  revoke(persona: string): void
}

const codeLifetimeMs = 10 * 60 * 1000
const maxCodes = 1000

/** Creates the store of authorization codes. */
export function createSignIns(now: () => number, random: Random): SignIns {
  const refreshable = new LRUCache<string, SignIn>({ max: maxCodes })
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
    addRefreshToken(signIn) {
      const token = `1.${random(96).toString('base64url')}`
      refreshable.set(token, signIn)
      return token
    },
    refresh: (token) => refreshable.get(token),
    revoke(persona) {
      for (const [code, { signIn }] of [...waiting]) {
        if (signIn.persona === persona) waiting.delete(code)
      }
      for (const [token, signIn] of [...refreshable]) {
        if (signIn.persona === persona) refreshable.delete(token)
      }
    },
  }
}
