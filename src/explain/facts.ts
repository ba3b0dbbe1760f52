import type { FailureCode } from '../failure.ts'
import type { Authority } from '../keys/authority.ts'
import type { Grant, Policy } from '../policy/compile.ts'
import { type AccessToken, readClaims, readOrigin, type TokenOrigin } from '../token/claims.ts'
import { decodeToken, type JsonObject } from '../token/decode.ts'
import type { Rules } from '../verify/rules.ts'
import type { Said } from './explanation.ts'

/** What an explanation is made from. */
export interface Facts {
  readonly rules: Rules
  readonly policy: Policy
  readonly nowMs: number
  /** What came after the word Bearer; only its length and form are ever shown. */
  readonly credentials: string
  readonly header: JsonObject
  readonly payload: JsonObject
  readonly origin: TokenOrigin | undefined
  readonly claims: AccessToken | undefined
  /** The configured authority of the token's tenant. */
  readonly authority: Authority | undefined
  /** The grant that the advice is about. */
  readonly grant?: Grant
}

/** The step that failed. */
export interface FailedStep {
  readonly failure: FailureCode
  readonly claim: string | undefined
}

/** Reads whatever of a token can be read, verified or not, with the functions of the verification. */
export function collectFacts(
  rules: Rules,
  policy: Policy,
  authorization: string | undefined,
  nowMs: number,
): Facts {
  const credentials = (authorization ?? '').replace(/^bearer +/i, '')
  const decoded = decodeToken(credentials)
  const { header, payload } = decoded.ok ? decoded.value : { header: {}, payload: {} }
  const origin = readOrigin(payload)
  const claims = readClaims(payload)
  return {
    rules,
    policy,
    nowMs,
    credentials,
    header,
    payload,
    origin: origin.ok ? origin.value : undefined,
    claims: claims.ok ? claims.value : undefined,
    authority: origin.ok ? rules.authorities.get(origin.value.tenantId) : undefined,
  }
}

/** Takes claims out of a payload or header; absent ones too, so that the gap is seen. */
export function quoteClaims(from: JsonObject, ...names: readonly string[]): Said[] {
  return names.map((claim) =>
    Object.hasOwn(from, claim) ? { claim, value: from[claim] } : { claim },
  )
}

/** Those of the claims that are there. */
export function quotePresent(from: JsonObject, ...names: readonly string[]): Said[] {
  return quoteClaims(from, ...names.filter((name) => Object.hasOwn(from, name)))
}

/** A claim in seconds since the epoch, with its distance from now. */
export function quoteTime({ payload, nowMs }: Facts, claim: string): Said {
  const [said] = quoteClaims(payload, claim)
  const value = payload[claim]
  if (!said || typeof value !== 'number' || !Number.isSafeInteger(value * 1000)) {
    return said ?? { claim }
  }
  const date = new Date(value * 1000)
  if (Number.isNaN(date.getTime())) return said
  return { ...said, note: `${date.toISOString()}, ${describeDistance(value - nowMs / 1000)}` }
}

/** A span of time from now: "in 5 min", "12 min ago". */
export function describeDistance(seconds: number): string {
  const span = describeSpan(Math.abs(seconds))
  return seconds < 0 ? `${span} ago` : `in ${span}`
}

/** A length of time, rounded for people. */
export function describeSpan(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(1).replace('.0', '')} h`
  return `${Math.round(seconds / 86400)} days`
}

/** The configured name of a tenant with its id. */
export function nameTenant(rules: Rules, id: string): string {
  const tenant = rules.authorities.get(id)?.tenant
  return tenant && tenant.name !== id ? `${tenant.name} (${id})` : id
}
