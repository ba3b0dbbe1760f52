import { type FailureCode, failures, type Observe } from '../failure.ts'
import type { Policy } from '../policy/compile.ts'
import { type AccessToken, checkTimes, readClaims, readOrigin } from '../token/claims.ts'
import type { JsonObject } from '../token/decode.ts'
import { createOutcome } from '../verify/outcome.ts'
import type { Rules } from '../verify/rules.ts'
import type { VerifyStep } from '../verify/verifier.ts'

/** Claims that stand for a token nobody has: of an API test, of a table in a pipeline. */
export interface ClaimsToJudge {
  readonly payload: JsonObject
  /** They stand for a session of a browser and not for a token. */
  readonly session?: boolean
}

/** What became of them. */
export type ClaimsVerdict =
  | { readonly allow: true; readonly token: AccessToken }
  | { readonly allow: false; readonly failure: FailureCode; readonly token?: AccessToken }

/**
 * Judges claims as the verification judges those of a token whose signature is right. What only a
 * real token has (form, issuer, key, signature, revocation) is not looked at.
 */
export function judgeClaims(
  rules: Rules,
  policy: Policy,
  { payload, session = false }: ClaimsToJudge,
  nowMs: number,
  observe?: Observe<VerifyStep>,
): ClaimsVerdict {
  const origin = readOrigin(payload)
  observe?.('origin', origin.ok ? undefined : origin.failure, origin.ok ? undefined : origin.claim)
  if (!origin.ok) return { allow: false, failure: origin.failure }
  const isKnown = rules.authorities.has(origin.value.tenantId)
  observe?.('tenant', isKnown ? undefined : 'tenant_not_allowed')
  if (!isKnown) return { allow: false, failure: 'tenant_not_allowed' }
  const read = readClaims(session ? { ...payload, idtyp: 'user', scp: 'session' } : payload)
  observe?.('claims', read.ok ? undefined : read.failure, read.ok ? undefined : read.claim)
  if (!read.ok) return { allow: false, failure: read.failure }
  const token = session ? asSession(read.value) : read.value
  const late = checkTimes(token, nowMs / 1000, rules.clockSkewSeconds)
  observe?.('validity', late)
  if (late) return { allow: false, failure: late, token }
  const keyed = { claims: token, key: { id: 'no-key' } }
  const outcome = createOutcome(policy, keyed, rules.headerSet, observe)
  return outcome.allow ? { allow: true, token } : { ...outcome, token }
}

function asSession(token: AccessToken): AccessToken {
  return { ...token, session: { id: 'no-session', entraSessionId: undefined }, scopes: [] }
}

const nobody = '00000000-0000-4000-8000-000000000001'
const noClient = '00000000-0000-4000-8000-000000000002'

/** Claims with what each token of Entra has, where they do not say it themselves. */
export interface CompletedClaims {
  readonly payload: JsonObject
  /** Names of the claims that were filled in. */
  readonly filled: readonly string[]
}

/**
 * Fills in what a test case may omit: tenant and audience of the policy, times around now, and ids
 * that belong to nobody. Claims without `scp` and `idtyp` are those of an app, as with Entra.
 */
export function completeClaims(
  claims: JsonObject,
  policy: Policy,
  nowMs: number,
  session = false,
): CompletedClaims {
  const now = Math.floor(nowMs / 1000)
  const version = claims.ver ?? '2.0'
  const tenant = claims.tid ?? [...policy.tenants][0] ?? nobody
  const object = claims.oid ?? nobody
  const isApp = !session && claims.scp === undefined && claims.idtyp === undefined
  const defaults: JsonObject = {
    ver: '2.0',
    tid: tenant,
    iss: `https://login.microsoftonline.com/${tenant}/v2.0`,
    aud: [...policy.audiences][0] ?? noClient,
    oid: nobody,
    sub: isApp || claims.idtyp === 'app' ? object : 'subject',
    [version === '1.0' ? 'appid' : 'azp']: noClient,
    ...(isApp && { idtyp: 'app' }),
    iat: now,
    nbf: now,
    exp: now + 3_600,
  }
  const filled = Object.keys(defaults).filter((name) => !Object.hasOwn(claims, name))
  return { payload: { ...defaults, ...claims }, filled }
}

/** Whether a text is the reason code of a refusal. */
export function isReason(text: string): text is FailureCode {
  return Object.hasOwn(failures, text)
}
