import { createHash } from 'node:crypto'
import type { AccessToken } from '../token/claims.ts'
import { open, type SealingKeys, seal } from './sealing.ts'

/** What a browser has after signing in: all that policies and headers need, and no token. Times in seconds. */
export interface Session {
  /** 128 bits, new at each sign-in; a re-check keeps it. */
  readonly id: string
  /** The host that it was made for, port included where there is one. */
  readonly host: string
  /** The registration that it was made with. */
  readonly clientId: string
  readonly tenantId: string
  readonly userId: string
  readonly subject: string
  /** The key that signed the ID token. */
  readonly keyId: string
  readonly signedInAt: number
  /** When Entra last said who this is: at the sign-in, or at the last re-check. */
  readonly checkedAt: number
  /** From here on navigations go to a re-check. */
  readonly softEnd: number
  readonly hardEnd: number
  readonly roles: readonly string[]
  /** Of the groups that were looked at, those that the person is in. */
  readonly groups: readonly string[]
  /** Which groups were looked at. */
  readonly groupsLookedAt: string
  readonly groupsOverage: boolean
  readonly guest: boolean | undefined
  readonly authContexts: readonly string[]
  readonly name: string | undefined
  readonly preferredUsername: string | undefined
  readonly email: string | undefined
  /** Entra's own id of its session, claim `sid`. */
  readonly entraSessionId: string | undefined
  /** Opaque, claim `login_hint`: tells Entra whom to re-check and whom to sign out. */
  readonly loginHint: string | undefined
}

/** Longest value of the cookie, in characters, so that name, value and attributes stay below 3 KB. */
export const maxSessionCharacters = 2_900

/** Seals a session; undefined where it does not fit into its cookie or where there is no key. */
export function sealSession(keys: SealingKeys, session: Session): string | undefined {
  const sealed = seal(keys, 'session', encode(session))
  return sealed !== undefined && sealed.length <= maxSessionCharacters ? sealed : undefined
}

/** Opens the value of a cookie; undefined for whatever is no session of this version. */
export function openSession(keys: SealingKeys, value: string): Session | undefined {
  const text = open(keys, 'session', value)
  return text === undefined ? undefined : decode(text)
}

/** A short name of a set of groups: whether a session looked at the groups that the policies name now. */
export function fingerprintOf(groups: Iterable<string>): string {
  const text = [...groups].sort().join(' ')
  return createHash('sha256').update(text).digest('base64url').slice(0, 12)
}

/** The one shape that policies judge. */
export function claimsOf(session: Session, issuer: string): AccessToken {
  return {
    session: { id: session.id, entraSessionId: session.entraSessionId },
    version: '2.0',
    tenantId: session.tenantId,
    issuer,
    audience: session.clientId,
    // What revocations of a user, a tenant or a client compare with. In whole seconds, so one of the
    // same second counts.
    issuedAt: session.checkedAt - 1,
    notBefore: session.signedInAt,
    expiresAt: session.hardEnd,
    actor: 'user',
    appByIdtyp: false,
    appOnly: false,
    userId: session.userId,
    subject: session.subject,
    clientId: session.clientId,
    clientAuthentication: undefined,
    tokenId: undefined,
    scopes: none,
    roles: session.roles,
    groups: session.groups,
    groupsOverage: session.groupsOverage,
    guest: session.guest,
    authContexts: session.authContexts,
    canAnswerClaimsChallenge: false,
    preferredUsername: session.preferredUsername,
    name: session.name,
    email: session.email,
  }
}

const none: readonly string[] = []

/** Changes with each change of the form, so that a session of another version is none. */
const formVersion = 1

function encode(session: Session): string {
  const { guest } = session
  return JSON.stringify([
    formVersion,
    session.id,
    session.host,
    session.clientId,
    session.tenantId,
    session.userId,
    session.subject,
    session.keyId,
    session.signedInAt,
    session.checkedAt,
    session.softEnd,
    session.hardEnd,
    session.roles,
    packGuids(session.groups),
    session.groupsLookedAt,
    session.groupsOverage ? 1 : 0,
    guest === undefined ? 0 : guest ? 2 : 1,
    session.authContexts,
    session.name ?? 0,
    session.preferredUsername ?? 0,
    session.email ?? 0,
    session.entraSessionId ?? 0,
    session.loginHint ?? 0,
  ])
}

/** Only ever given what `encode` made and `open` found unchanged. */
function decode(text: string): Session | undefined {
  const form = JSON.parse(text)
  if (!Array.isArray(form) || form[0] !== formVersion) return undefined
  const [, id, host, clientId, tenantId, userId, subject, keyId, ...more] = form
  const [signedInAt, checkedAt, softEnd, hardEnd, roles, groups, groupsLookedAt, ...rest] = more
  const [overage, guest, authContexts, name, preferredUsername, email, sid, loginHint] = rest
  return {
    id,
    host,
    clientId,
    tenantId,
    userId,
    subject,
    keyId,
    signedInAt,
    checkedAt,
    softEnd,
    hardEnd,
    roles,
    groups: unpackGuids(groups),
    groupsLookedAt,
    groupsOverage: overage === 1,
    guest: guest === 0 ? undefined : guest === 2,
    authContexts,
    name: name || undefined,
    preferredUsername: preferredUsername || undefined,
    email: email || undefined,
    entraSessionId: sid || undefined,
    loginHint: loginHint || undefined,
  }
}

/** 22 characters for each group instead of 39. */
function packGuids(guids: readonly string[]): string {
  return Buffer.from(guids.map((guid) => guid.replaceAll('-', '')).join(''), 'hex').toString(
    'base64url',
  )
}

function unpackGuids(packed: string): readonly string[] {
  const digits = Buffer.from(packed, 'base64url').toString('hex')
  const guids = digits.matchAll(/(.{8})(.{4})(.{4})(.{4})(.{12})/g)
  return Array.from(guids, ([, ...parts]) => parts.join('-'))
}
