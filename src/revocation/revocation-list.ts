import type { FailureCode } from '../failure.ts'
import type { AccessToken } from '../token/claims.ts'
import {
  endOf,
  isDated,
  type Revocation,
  type RevocationKind,
  revocationKey,
  type StoredRevocation,
} from './revocation.ts'

/** A revocation that HAProxy has to know of. Times in seconds. */
export interface RecentRevocation {
  readonly revocation: StoredRevocation
  readonly ending: number
  /** Until when HAProxy has to know it: a verdict from before is in no cache after that. */
  readonly listedUntil: number
}

/** The revocations at one moment; another object takes its place when anything changes. */
export interface RevocationList {
  readonly size: number
  /** As the admin listener shows them. */
  readonly entries: readonly Revocation[]
  /** As they are kept. */
  readonly stored: readonly StoredRevocation[]
  get(kind: RevocationKind, id: string): StoredRevocation | undefined
  /** Those in force at a time (s), as the admin listener shows them, one by one: there may be a million. */
  inForce(nowSeconds: number): Iterable<Revocation>
  /** How many are in force at a time (s). */
  countAt(nowSeconds: number): number
  /** When a revocation of this list ends (s). */
  endOf(revocation: StoredRevocation): number
  /**
   * The revocations that a verdict in HAProxy's cache may not know yet. The array is the same
   * object until its content changes. Absent if these are all revocations.
   */
  recent?(): readonly RecentRevocation[]
}

/**
 * Creates a list; of two entries with one kind and id the last counts. `longestSeconds` is the
 * longest lifetime of a token: a revocation with the default end lasts as long.
 */
export function createRevocationList(
  entries: readonly StoredRevocation[],
  longestSeconds = 0,
): RevocationList {
  const byKey = new Map(entries.map((entry) => [revocationKey(entry.kind, entry.id), entry]))
  let shown: readonly Revocation[] | undefined
  return {
    size: byKey.size,
    stored: [...byKey.values()],
    get entries() {
      shown ??= [...byKey.values()].map((entry) => show(entry, longestSeconds))
      return shown
    },
    get: (kind, id) => byKey.get(revocationKey(kind, id)),
    *inForce(nowSeconds) {
      for (const entry of byKey.values()) {
        if (endOf(entry, longestSeconds) > nowSeconds) yield show(entry, longestSeconds)
      }
    },
    countAt(nowSeconds) {
      let count = 0
      for (const entry of byKey.values()) if (endOf(entry, longestSeconds) > nowSeconds) count++
      return count
    },
    endOf: (entry) => endOf(entry, longestSeconds),
  }
}

/** A revocation as the admin listener shows it. */
export function show(entry: StoredRevocation, longestSeconds: number): Revocation {
  const { madeAt: _, untilDefault: __, ...revocation } = entry
  return { ...revocation, until: endOf(entry, longestSeconds) }
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
  if (list.size === 0) return []
  const found: RevokedToken[] = []
  const look = (kind: RevocationKind, id: string | undefined, failure: FailureCode) => {
    const entry = id === undefined ? undefined : list.get(kind, id)
    if (!entry) return
    if (isDated(kind) && token.issuedAt >= entry.before) return
    const until = list.endOf(entry)
    if (kind === 'user' && token.canAnswerClaimsChallenge && !token.appOnly) {
      found.push({ failure: 'sign_in_again', until, signInAfter: entry.before })
    } else {
      found.push({ failure, until })
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
