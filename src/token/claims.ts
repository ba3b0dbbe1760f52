import type { Actor } from '../config/config.ts'
import { type FailureCode, fail, pass, type Result } from '../failure.ts'
import { isObject, type JsonObject } from './decode.ts'

/** What a token says about where it comes from, read before its signature is verified. */
export interface TokenOrigin {
  readonly version: TokenVersion
  readonly tenantId: string
  readonly issuer: string
}

export type TokenVersion = '1.0' | '2.0'

/**
 * The claims of an Entra access token, checked for type and form, or those of a session: the one shape
 * that policies judge. All times in seconds.
 */
export interface AccessToken extends TokenOrigin {
  /** Present where a session and no token says so: its own id, and Entra's (`sid`). */
  readonly session?: { readonly id: string; readonly entraSessionId: string | undefined }
  readonly audience: string
  readonly issuedAt: number
  readonly notBefore: number
  readonly expiresAt: number
  readonly actor: Actor
  /** Known to be app-only from `idtyp`, not from `sub` being equal to `oid`. */
  readonly appByIdtyp: boolean
  /** Has no user: an application, a managed identity or an autonomous agent. */
  readonly appOnly: boolean
  /** `oid` of the user or service principal; an identity only together with `tenantId`. */
  readonly userId: string
  /** `sub`: of a user another one for each API; of an app the same as `oid`. */
  readonly subject: string
  readonly clientId: string
  /** How the client proved itself (`azpacr`, `appidacr`): 0 not at all, 1 secret, 2 certificate. */
  readonly clientAuthentication: '0' | '1' | '2' | undefined
  readonly tokenId: string | undefined
  readonly scopes: readonly string[]
  readonly roles: readonly string[]
  readonly groups: readonly string[]
  /** The user is in more groups than Entra puts into a token. */
  readonly groupsOverage: boolean
  /** From the optional claim `acct`; undefined where the token does not say. */
  readonly guest: boolean | undefined
  readonly authContexts: readonly string[]
  /** The client said that it can answer a claims challenge (`xms_cc` with `cp1`). */
  readonly canAnswerClaimsChallenge: boolean
  readonly preferredUsername: string | undefined
  readonly name: string | undefined
  /** Only where `xms_edov` says that the domain owner was verified. */
  readonly email: string | undefined
}

/** One for all tokens, of which many are kept. */
const none: readonly string[] = []

const guid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Reads version, tenant and issuer, which tell whose keys to verify the token with. */
export function readOrigin(payload: JsonObject): Result<TokenOrigin> {
  return reading(() => {
    const version = payload.ver
    if (version !== '1.0' && version !== '2.0') throw new Refusal('version_unknown', 'ver')
    return { version, tenantId: requireGuid(payload, 'tid'), issuer: requireString(payload, 'iss') }
  })
}

/**
 * Reads the claims of an access token and refuses what is not one.
 *
 * Source: "Access token claims reference" of the Microsoft identity platform. A claim that is
 * present has the documented type or the token is refused: a loose reading is another one than
 * that of the application behind.
 */
export function readClaims(payload: JsonObject): Result<AccessToken> {
  const origin = readOrigin(payload)
  if (!origin.ok) return origin
  return reading(() => {
    // A sender-constrained token is worth nothing as a plain bearer token (RFC 7800, RFC 9449).
    if (Object.hasOwn(payload, 'cnf')) throw new Refusal('sender_constrained', 'cnf')
    const userId = requireGuid(payload, 'oid')
    const subject = requireString(payload, 'sub')
    const scopes = readScopes(payload)
    const { actor, appOnly, appByIdtyp } = readKind(payload, scopes, subject === userId)
    const { expiresAt, issuedAt, notBefore } = readTimes(payload)
    const groups = readStrings(payload, 'groups')
    const { preferredUsername, name, email } = readDisplay(payload)
    return {
      version: origin.value.version,
      tenantId: origin.value.tenantId,
      issuer: origin.value.issuer,
      actor,
      appOnly,
      appByIdtyp,
      expiresAt,
      issuedAt,
      notBefore,
      audience: requireString(payload, 'aud'),
      userId,
      subject,
      clientId: readClient(payload, origin.value.version),
      clientAuthentication: readClientAuthentication(payload, origin.value.version),
      tokenId: readTokenId(payload),
      scopes,
      roles: readStrings(payload, 'roles') ?? none,
      groups: groups ?? none,
      groupsOverage: readOverage(payload, groups !== undefined),
      guest: readGuest(payload),
      authContexts: readStrings(payload, 'acrs') ?? none,
      canAnswerClaimsChallenge: (readStrings(payload, 'xms_cc') ?? none).some(
        (capability) => capability.toLowerCase() === 'cp1',
      ),
      preferredUsername,
      name,
      email,
    }
  })
}

/** Whether the token is inside its validity, give or take the clock skew (RFC 7519 section 4.1). */
export function checkTimes(
  token: Pick<AccessToken, 'issuedAt' | 'notBefore' | 'expiresAt'>,
  nowSeconds: number,
  clockSkewSeconds: number,
): FailureCode | undefined {
  if (nowSeconds >= token.expiresAt + clockSkewSeconds) return 'token_expired'
  if (token.notBefore > nowSeconds + clockSkewSeconds) return 'token_not_yet_valid'
  // Not in RFC 7519: a token from the future means a wrong clock or a wrong issuer.
  if (token.issuedAt > nowSeconds + clockSkewSeconds) return 'token_not_yet_valid'
  return undefined
}

/** Leaves the reading of claims; never leaves this file. */
class Refusal extends Error {
  readonly failure: FailureCode
  readonly claim: string
  constructor(failure: FailureCode, claim: string) {
    super(failure)
    this.failure = failure
    this.claim = claim
  }
}

export function reading<T>(read: () => T): Result<T> {
  try {
    return pass(read())
  } catch (error) {
    if (error instanceof Refusal) return fail(error.failure, error.claim)
    throw error
  }
}

/** The times of a token; refused where they contradict each other. */
export function readTimes(payload: JsonObject) {
  const expiresAt = requireSeconds(payload, 'exp')
  const issuedAt = requireSeconds(payload, 'iat')
  const notBefore = payload.nbf === undefined ? issuedAt : requireSeconds(payload, 'nbf')
  if (expiresAt <= issuedAt) throw new Refusal('claim_malformed', 'exp')
  // A token that ends before it begins is never valid; the clock skew would make it so.
  if (notBefore >= expiresAt) throw new Refusal('claim_malformed', 'nbf')
  return { expiresAt, issuedAt, notBefore }
}

/**
 * Tells users, apps and agents apart.
 *
 * `idtyp` decides where the API asked for it. Without it, a token with no scope and with `sub`
 * equal to `oid` is app-only, since a user's `sub` is pairwise. All else without a scope is an
 * ID token or worse.
 */
function readKind(payload: JsonObject, scopes: readonly string[], subjectIsObject: boolean) {
  const agent = readAgent(payload)
  const idtyp = readString(payload, 'idtyp')
  const hasScopes = scopes.length > 0
  if (idtyp !== undefined && idtyp !== 'app' && idtyp !== 'user') {
    throw new Refusal('not_an_access_token', 'idtyp')
  }
  if (idtyp === 'app' && hasScopes) throw new Refusal('claim_malformed', 'scp')
  const appOnly = idtyp === 'app' || (idtyp === undefined && !hasScopes && subjectIsObject)
  if (!appOnly && !hasScopes) throw new Refusal('not_an_access_token', 'scp')
  const actor: Actor = agent ? 'agent' : appOnly ? 'app' : 'user'
  return { actor, appOnly, appByIdtyp: idtyp === 'app' }
}

/**
 * Claims that tell an agent from an app or a user. Entra puts them into a token for an API of one's
 * own only where its registration asks for them as optional claims; each alone makes an agent.
 */
export const agentClaims = ['xms_act_fct', 'xms_sub_fct', 'xms_par_app_azp'] as const

/** Agent identity (11) or agent user (13) in a facet, or the blueprint that an agent comes from. */
export function readAgent(payload: JsonObject): boolean {
  const actor = hasAgentFacet(payload, 'xms_act_fct')
  const subject = hasAgentFacet(payload, 'xms_sub_fct')
  const blueprint = payload.xms_par_app_azp !== undefined
  if (blueprint) requireGuid(payload, 'xms_par_app_azp')
  return actor || subject || blueprint
}

function hasAgentFacet(payload: JsonObject, claim: string): boolean {
  const facet = readString(payload, claim)
  if (facet === undefined) return false
  if (!/^(?:0|[1-9]\d{0,8})(?: (?:0|[1-9]\d{0,8}))*$/.test(facet)) {
    throw new Refusal('claim_malformed', claim)
  }
  return facet.split(' ').some((number) => number === '11' || number === '13')
}

/** A token id; it goes into headers and logs, so its length is bounded. */
function readTokenId(payload: JsonObject): string | undefined {
  const tokenId = readString(payload, 'uti')
  if (tokenId !== undefined && tokenId.length > 256) throw new Refusal('claim_malformed', 'uti')
  return tokenId
}

/** Scopes of a user token; an autonomous agent's `/` and the empty string are none. */
function readScopes(payload: JsonObject): readonly string[] {
  const scp = readString(payload, 'scp', { orEmpty: true })
  if (scp === undefined) return []
  return scp.split(' ').filter((scope) => scope !== '' && scope !== '/')
}

function readClient(payload: JsonObject, version: TokenVersion): string {
  const [own, other] = version === '1.0' ? ['appid', 'azp'] : ['azp', 'appid']
  const clientId = requireGuid(payload, own)
  if (payload[other] !== undefined && payload[other] !== clientId) {
    throw new Refusal('claim_malformed', other)
  }
  return clientId
}

function readClientAuthentication(payload: JsonObject, version: TokenVersion) {
  const claim = version === '1.0' ? 'appidacr' : 'azpacr'
  const value = readString(payload, claim)
  if (value === undefined || value === '0' || value === '1' || value === '2') return value
  throw new Refusal('claim_malformed', claim)
}

/**
 * Whether the groups are missing because there are too many. The address in `_claim_sources` is
 * never looked at: it is the token's word on where to send a credential.
 */
export function readOverage(payload: JsonObject, hasGroups: boolean): boolean {
  const names = payload._claim_names
  if (names !== undefined && !isObject(names)) {
    throw new Refusal('claim_malformed', '_claim_names')
  }
  const hasgroups = payload.hasgroups
  if (hasgroups !== undefined && typeof hasgroups !== 'boolean') {
    throw new Refusal('claim_malformed', 'hasgroups')
  }
  const overage = hasgroups === true || (names !== undefined && Object.hasOwn(names, 'groups'))
  if (overage && hasGroups) throw new Refusal('claim_malformed', 'groups')
  return overage
}

export function readGuest(payload: JsonObject): boolean | undefined {
  if (payload.acct === undefined) return undefined
  if (payload.acct === 0) return false
  if (payload.acct === 1) return true
  throw new Refusal('claim_malformed', 'acct')
}

export function readDisplay(payload: JsonObject) {
  const preferred = readString(payload, 'preferred_username', { orEmpty: true })
  const upn = readString(payload, 'upn', { orEmpty: true })
  const uniqueName = readString(payload, 'unique_name', { orEmpty: true })
  const email = readString(payload, 'email', { orEmpty: true })
  const verified = payload.xms_edov
  const emailVerified =
    verified === true || verified === 1 || verified === '1' || verified === 'true'
  return {
    preferredUsername: preferred || upn || uniqueName || undefined,
    name: readString(payload, 'name', { orEmpty: true }) || undefined,
    email: (emailVerified && email) || undefined,
  }
}

export function requireString(payload: JsonObject, claim: string): string {
  const value = readString(payload, claim)
  if (value === undefined) throw new Refusal('claim_missing', claim)
  return value
}

/** A string claim; undefined where absent, refused where it has another type or is empty. */
export function readString(
  payload: JsonObject,
  claim: string,
  { orEmpty = false } = {},
): string | undefined {
  const value = payload[claim]
  if (value === undefined) return undefined
  // A lone surrogate has no UTF-8, so no header could carry it.
  if (typeof value !== 'string' || !value.isWellFormed())
    throw new Refusal('claim_malformed', claim)
  if (value === '' && !orEmpty) throw new Refusal('claim_malformed', claim)
  return value
}

/** Whether a text is an object id as Entra writes it; groups can also come by their names. */
export function isObjectId(text: string): boolean {
  return guid.test(text)
}

/** Ids are compared byte by byte, so only the form that Entra writes is one. */
export function requireGuid(payload: JsonObject, claim: string): string {
  const value = requireString(payload, claim)
  if (!isObjectId(value)) throw new Refusal('claim_malformed', claim)
  return value
}

function requireSeconds(payload: JsonObject, claim: string): number {
  const value = payload[claim]
  if (value === undefined) throw new Refusal('claim_missing', claim)
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new Refusal('claim_malformed', claim)
  }
  return value
}

export function readStrings(payload: JsonObject, claim: string): readonly string[] | undefined {
  const value = payload[claim]
  if (value === undefined) return undefined
  if (!Array.isArray(value)) throw new Refusal('claim_malformed', claim)
  for (const item of value) {
    if (typeof item !== 'string' || item === '' || !item.isWellFormed()) {
      throw new Refusal('claim_malformed', claim)
    }
  }
  return value
}
