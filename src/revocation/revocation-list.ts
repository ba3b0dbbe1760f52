import type { FailureCode } from '../failure.ts'
import type { AccessToken } from '../token/claims.ts'
import { type Revocation, type RevocationKind, revocationKey } from './revocation.ts'

/** An immutable set of revocations; another one takes its place when something changes. */
export interface RevocationList {
  readonly entries: readonly Revocation[]
  get(kind: RevocationKind, id: string): Revocation | undefined
}

/** Creates a list; of two entries with one kind and id the last counts. */
export function createRevocationList(entries: readonly Revocation[]): RevocationList {
  const byKey = new Map(entries.map((entry) => [revocationKey(entry.kind, entry.id), entry]))
  return {
    entries: [...byKey.values()],
    get: (kind, id) => byKey.get(revocationKey(kind, id)),
  }
}

/** A token that was revoked: the reason, and when the revocation ends (s). */
export interface RevokedToken {
  readonly failure: FailureCode
  readonly until: number
  /** Where the client can answer it: the time before which a sign-in does not count (s). */
  readonly signInAfter?: number
}

/** The revocations that apply to a token, at whatever time; most of the time none. */
export function findRevocations(
  list: RevocationList,
  token: AccessToken,
  keyId: string,
): readonly RevokedToken[] {
  if (list.entries.length === 0) return []
  const found: RevokedToken[] = []
  const look = (kind: RevocationKind, id: string | undefined, failure: FailureCode) => {
    const entry = id === undefined ? undefined : list.get(kind, id)
    if (!entry) return
    const isDated = kind !== 'token' && kind !== 'session' && kind !== 'key'
    if (isDated && token.issuedAt >= entry.before) return
    if (kind === 'user' && token.canAnswerClaimsChallenge && !token.appOnly) {
      found.push({ failure: 'sign_in_again', until: entry.until, signInAfter: entry.before })
    } else {
      found.push({ failure, until: entry.until })
    }
  }
  look('key', keyId, 'key_revoked')
  look('tenant', token.tenantId, 'tenant_revoked')
  look('client', `${token.tenantId}/${token.clientId}`, 'client_revoked')
  look('token', token.tokenId, 'token_revoked')
  look('session', token.session?.id, 'session_revoked')
  look('session', token.session?.entraSessionId, 'session_revoked')
  look('user', `${token.tenantId}/${token.userId}`, 'user_revoked')
  return found
}
