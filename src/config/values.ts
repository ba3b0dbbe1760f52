// Readers for data of any shape. The schema reports wrong shapes. The later checks still run, so
// that every problem is reported at once, and skip what they cannot read.

/** The value as a mapping; undefined for anything else. */
export function mappingOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return value as Readonly<Record<string, unknown>>
}

/** The own entries of a mapping; none for anything else. */
export function entriesOf(value: unknown): readonly [string, unknown][] {
  return Object.entries(mappingOf(value) ?? {})
}

/** The items of a list; none for anything else. */
export function itemsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** The own member of a mapping; undefined where there is none. */
export function memberOf(value: unknown, key: string): unknown {
  const mapping = mappingOf(value)
  return mapping !== undefined && Object.hasOwn(mapping, key) ? mapping[key] : undefined
}

/** The value as a number; the fallback for anything else. */
export function numberOr(value: unknown, fallback: number): number {
  return typeof value === 'number' ? value : fallback
}

/** The value as text; undefined for anything else. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
