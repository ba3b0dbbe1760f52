/** What can be revoked, and the form of its id. */
export const revocationKinds = {
  user: '<tenant id>/<object id>',
  client: '<tenant id>/<application id>',
  token: '<token id, claim uti>',
  session: '<session id, or the claim sid of Entra>',
  tenant: '<tenant id>',
  key: '<key id, kid>',
} as const

export type RevocationKind = keyof typeof revocationKinds

/** One revocation. Times in seconds since the epoch. */
export interface Revocation {
  readonly kind: RevocationKind
  readonly id: string
  /** Tokens issued before this are revoked; without meaning for the kinds token, session and key. */
  readonly before: number
  /** When the revocation ends: no token issued before it can be valid any more. */
  readonly until: number
  readonly reason?: string
}

/** A revocation as it is kept, with what only the service needs to know. */
export interface StoredRevocation extends Revocation {
  /** When it was made, in seconds; absent where another program wrote it. */
  readonly madeAt?: number
  /** Nobody said until when: it lasts as long as the longest token lifetime of the configuration. */
  readonly untilDefault?: true
}

/** Most revocations at a time: each HAProxy thread keeps them all. */
export const maxRevocations = 10_000

const guid = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
const pair = new RegExp(`^${guid}/${guid}$`)
const single = new RegExp(`^${guid}$`)
// No quotation mark and no backslash: the reader in HAProxy takes no JSON escapes.
const opaque = /^[!#-[\]-~]{1,256}$/

const forms: Readonly<Record<RevocationKind, RegExp>> = {
  user: pair,
  client: pair,
  tenant: single,
  token: opaque,
  session: opaque,
  key: opaque,
}

/** Kinds whose id Entra writes in any case: GUIDs. In the others letters count. */
const guidKinds: ReadonlySet<RevocationKind> = new Set(['user', 'client', 'tenant'])

/** Whether a revocation of this kind counts for tokens issued before it, and for no others. */
export function isDated(kind: RevocationKind): boolean {
  return guidKinds.has(kind)
}

/** Key of a revocation in a list: there is one for each kind and id. */
export function revocationKey(kind: RevocationKind, id: string): string {
  return `${kind} ${id}`
}

/** Reads one revocation from JSON; a string says what is wrong with it. Ids get lower case. */
export function parseRevocation(value: unknown): Revocation | string {
  if (typeof value !== 'object' || value === null) return 'a revocation must be an object'
  const { kind, id, before, until, reason, ...rest } = value as Record<string, unknown>
  const [unknown] = Object.keys(rest)
  if (unknown !== undefined) return `unknown member ${JSON.stringify(unknown)}`
  if (!isKind(kind)) return `kind must be one of ${Object.keys(revocationKinds).join(', ')}`
  if (typeof id !== 'string') return 'id must be a string'
  const normal = guidKinds.has(kind) ? id.toLowerCase() : id
  if (!forms[kind].test(normal)) return `id of a ${kind} must be ${revocationKinds[kind]}`
  if (!isSeconds(before)) return 'before must be a time in whole seconds since 1970'
  if (!isSeconds(until)) return 'until must be a time in whole seconds since 1970'
  if (reason !== undefined && (typeof reason !== 'string' || reason.length > 256)) {
    return 'reason must be a text of at most 256 characters'
  }
  return { kind, id: normal, before, until, ...(reason !== undefined && { reason }) }
}

/** Default of `until` in earlier versions, whose files do not say what was the default (s). */
const formerDefaultSeconds = 25 * 3_600

/** Reads one revocation as a store wrote it, or as another program did; see parseRevocation. */
export function parseStored(value: unknown): StoredRevocation | string {
  if (typeof value !== 'object' || value === null) return parseRevocation(value) as string
  const { madeAt, untilDefault, ...rest } = value as Record<string, unknown>
  const revocation = parseRevocation(rest)
  if (typeof revocation === 'string') return revocation
  if (madeAt !== undefined && !isSeconds(madeAt)) {
    return 'madeAt must be a time in whole seconds since 1970'
  }
  if (untilDefault !== undefined && untilDefault !== true) {
    return 'untilDefault must be true where it is present'
  }
  const isDefault =
    untilDefault === true ||
    (madeAt === undefined && revocation.until - revocation.before === formerDefaultSeconds)
  return {
    ...revocation,
    ...(madeAt !== undefined && { madeAt }),
    ...(isDefault && { untilDefault: true as const }),
  }
}

/** When a revocation ends (s) while the longest lifetime of a token is `longestSeconds`. */
export function endOf(revocation: StoredRevocation, longestSeconds: number): number {
  const { before, until, madeAt = before, untilDefault } = revocation
  return untilDefault ? Math.max(until, Math.max(before, madeAt) + longestSeconds) : until
}

function isKind(value: unknown): value is RevocationKind {
  return typeof value === 'string' && Object.hasOwn(revocationKinds, value)
}

// Milliseconds by mistake would make a revocation of the year 50000.
function isSeconds(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) < 1e11
}
