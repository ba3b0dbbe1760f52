import { fail, pass, type Result } from '../failure.ts'

/** Longest token that is looked at, in characters. */
export const maxTokenLength = 16 * 1024

/**
 * Reads the one bearer token of a request (RFC 6750 section 2.1).
 *
 * `rawHeaders` is Node's list of names and values as they came: Node itself joins or drops
 * duplicates, and two programs that pick different ones of two `Authorization` headers are a
 * known way past a gateway, so they are counted here.
 */
export function parseBearer(rawHeaders: readonly string[]): Result<string> {
  let value: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (name.length === 13 && name.toLowerCase() === 'authorization') {
      if (value !== undefined) return fail('ambiguous_credentials')
      value = rawHeaders[i + 1] as string
    }
  }
  if (value === undefined) return fail('no_credentials')
  if (!/^bearer(?![!#$%&'*+.^_`|~0-9A-Za-z-])/i.test(value)) {
    // A well-formed header of another scheme is no attempt to use a bearer token.
    return fail(
      /^[!#$%&'*+.^_`|~0-9A-Za-z-]+( |$)/.test(value) ? 'no_credentials' : 'malformed_credentials',
    )
  }
  const token = value.slice(6).replace(/^ +/, '')
  if (token === '' || token.length === value.length - 6) return fail('malformed_credentials')
  if (/[\s,]/.test(token)) return fail('malformed_credentials')
  if (token.length > maxTokenLength) return fail('token_too_long')
  return pass(token)
}
