import { isUtf8 } from 'node:buffer'
import { fail, pass, type Result } from '../failure.ts'

/** A JSON object as it came, before its members were looked at. */
export type JsonObject = Readonly<Record<string, unknown>>

/** A header and payload that are one JSON object each, without any rule on their members. */
export interface RawToken {
  readonly header: JsonObject
  readonly payload: JsonObject
}

// Matches only what an encoder produces: no padding, no other characters, and only zero bits after
// the last byte. Otherwise one signature would have several spellings (RFC 4648 sections 3.3 and
// 3.5, RFC 7515 section 2).
const canonicalBase64url =
  /^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?$/

const maxDepth = 16

/**
 * Splits a compact JWS, more strictly than libraries do (RFC 7515 section 7.1): three canonical
 * base64url parts, one JSON object in each of the first two, no member twice.
 */
export function decodeToken(token: string): Result<RawToken> {
  const parts = token.split('.', 6)
  // A JWE in compact form has five parts (RFC 7516 section 7.1).
  if (parts.length === 5) return fail('token_encrypted')
  const [header, payload, signature] = parts
  // An empty signature goes on to the header, whose algorithm is the better reason to refuse.
  if (parts.length !== 3 || !header || !payload || signature === undefined) {
    return fail('token_malformed')
  }
  if (!canonicalBase64url.test(signature)) return fail('token_malformed')
  const decodedHeader = decodePart(header)
  const decodedPayload = decodePart(payload)
  if (!decodedHeader || !decodedPayload) return fail('token_malformed')
  return pass({ header: decodedHeader, payload: decodedPayload })
}

/**
 * Checks the JOSE header and returns the key id. Whatever tries to bring its own key, or means
 * something that is not understood here, is refused, and nothing is ever fetched for it.
 */
export function checkHeader(header: JsonObject): Result<string> {
  // Entra signs tokens for Microsoft Graph over a hashed nonce, so nobody else can verify them.
  if (Object.hasOwn(header, 'nonce')) return fail('token_for_graph', 'nonce')
  for (const name of ['enc', 'zip']) {
    if (Object.hasOwn(header, name)) return fail('token_encrypted', name)
  }
  if (header.alg !== 'RS256') return fail('algorithm_not_allowed', 'alg')
  for (const name of ['crit', 'b64', 'jwk', 'jku', 'x5u', 'x5c']) {
    if (Object.hasOwn(header, name)) return fail('header_not_allowed', name)
  }
  if (header.typ !== undefined && header.typ !== 'JWT') return fail('not_an_access_token', 'typ')
  const kid = header.kid
  if (typeof kid !== 'string' || kid === '' || kid.length > 256)
    return fail('key_id_missing', 'kid')
  return pass(kid)
}

function decodePart(part: string): JsonObject | undefined {
  if (!canonicalBase64url.test(part)) return undefined
  const bytes = Buffer.from(part, 'base64url')
  // JSON.parse would see U+FFFD for broken UTF-8, and another parser something else.
  if (!isUtf8(bytes)) return undefined
  const text = bytes.toString('utf8')
  const members = countMembers(text)
  if (members === undefined) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isObject(value)) return undefined
  // JSON.parse keeps the last of two members with one name, and other parsers keep the first. The
  // colons outside strings are the members written; the keys are the members kept. The two numbers
  // must be equal.
  if (countKeys(value) !== members) return undefined
  if (hasNamesAlikeButForCase(value)) return undefined
  return value
}

/** Number of members in a JSON text; undefined where it nests deeper than 16 levels. */
function countMembers(text: string): number | undefined {
  let members = 0
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: // "
        i = endOfString(text, i)
        break
      case 0x3a: // :
        members++
        break
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > maxDepth) return undefined
        break
      case 0x5d: // ]
      case 0x7d: // }
        depth--
        break
    }
  }
  return members
}

/** Index of the quotation mark that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x22) return i
    if (code === 0x5c) i++
  }
  return text.length
}

function countKeys(value: unknown): number {
  if (Array.isArray(value)) {
    let keys = 0
    for (const item of value) keys += countKeys(item)
    return keys
  }
  if (!isObject(value)) return 0
  let keys = 0
  for (const name of Object.keys(value)) keys += 1 + countKeys(value[name])
  return keys
}

/** `tid` beside `TID`: two answers where one is expected. */
function hasNamesAlikeButForCase(object: JsonObject): boolean {
  const names = Object.keys(object)
  // Up and down again, as Go's encoding/json folds: a long s (U+017F) and a Kelvin sign (U+212A)
  // become plain letters too.
  const folded = names.map((name) => name.toUpperCase().toLowerCase())
  return new Set(folded).size !== names.length
}

/** Whether a JSON value is an object, and neither null nor an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
