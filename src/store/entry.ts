import { parseStored, type StoredRevocation } from '../revocation/revocation.ts'

/** A revocation as the store has it, with its history. Times in µs of the store's clock. */
export interface Entry {
  readonly revocation: StoredRevocation
  /** It was ended before its time, which must not be forgotten before that. */
  readonly removed: boolean
  /** When it was last changed. Of two states the later counts. */
  readonly changedUs: number
  /** When the store last announced it. */
  readonly announcedUs: number
}

/** An entry in the form `STAMP JSON` in which store and disk keep it. */
export function formatValue({ revocation, removed, changedUs }: Entry): string {
  return `${changedUs} ${JSON.stringify(removed ? { ...revocation, removed } : revocation)}`
}

/** When a value was changed; -1 where it says nothing of the kind. */
export function stampOf(value: string): number {
  const stamp = Number.parseInt(value, 10)
  return stamp >= 0 ? stamp : -1
}

/** Reads the form `STAMP JSON`; undefined for whatever else stands there. */
export function readValue(value: string): Omit<Entry, 'announcedUs'> | undefined {
  const changedUs = stampOf(value)
  try {
    const { removed = false, ...rest } = JSON.parse(value.slice(value.indexOf(' ') + 1))
    const revocation = parseStored(rest)
    if (typeof revocation === 'string' || changedUs < 0) return undefined
    return { revocation, removed: removed === true, changedUs }
  } catch {
    return undefined
  }
}
