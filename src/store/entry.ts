import { parseStored, revocationKey, type StoredRevocation } from '../revocation/revocation.ts'

/** A revocation as the store has it, with its history. Times in µs of the store's clock. */
export interface Entry {
  readonly revocation: StoredRevocation
  /** It was ended before its time, which must not be forgotten before that. */
  readonly removed: boolean
  /**
   * The end of an earlier state (s), where that is later: a replica or a copy on disk may still have that
   * state, so this one must be remembered for as long.
   */
  readonly keptUntil?: number
  /** When it was last changed. Of two states the later counts. */
  readonly changedUs: number
  /** When the store last announced it. */
  readonly announcedUs: number
}

/** The latest time that counts (µs), in the year 2223: beyond 2^53 times can no longer go up by one. */
export const maxStampUs = 8e15

/** An entry in the form `STAMP JSON` in which store and disk keep it. */
export function formatValue({ revocation, removed, keptUntil, changedUs }: Entry): string {
  const more = { ...(keptUntil !== undefined && { keptUntil }), ...(removed && { removed }) }
  return `${changedUs} ${JSON.stringify({ ...revocation, ...more })}`
}

/** When a value was changed; -1 where it says nothing of the kind. */
export function stampOf(value: string): number {
  const stamp = Number.parseInt(value, 10)
  return stamp >= 0 ? stamp : -1
}

/**
 * Reads the form `STAMP JSON`; undefined for whatever else stands there, and for the revocation of somebody
 * other than the key names: HAProxy would hear of one, and the verifier refuse the other.
 */
export function readValue(key: string, value: string): Omit<Entry, 'announcedUs'> | undefined {
  const changedUs = stampOf(value)
  try {
    const { removed = false, keptUntil, ...rest } = JSON.parse(value.slice(value.indexOf(' ') + 1))
    const revocation = parseStored(rest)
    if (typeof revocation === 'string' || changedUs < 0 || changedUs > maxStampUs) return undefined
    if (revocationKey(revocation.kind, revocation.id) !== key) return undefined
    const kept = Number.isSafeInteger(keptUntil) && { keptUntil: Number(keptUntil) }
    return { revocation, removed: removed === true, ...kept, changedUs }
  } catch {
    return undefined
  }
}
