import { fail, pass, type Result } from '../failure.ts'

/** Longest token that is looked at, in characters. */
export const maxTokenLength = 16 * 1024

/**
 * Takes the token out of the value of an `Authorization` header (RFC 6750 section 2.1). Another
 * scheme is no attempt to use a bearer token, so it counts as no credentials.
 */
export function parseBearer(authorization: string | undefined): Result<string> {
  if (authorization === undefined) return fail('no_credentials')
  const scheme = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?= |$)/.exec(authorization)?.[0]
  if (scheme === undefined) return fail('malformed_credentials')
  if (scheme.toLowerCase() !== 'bearer') return fail('no_credentials')
  const token = authorization.slice(scheme.length).replace(/^ +/, '')
  // A comma or a space means a second token or a parameter: two answers where one is expected.
  if (token === '' || /[\s,]/.test(token)) return fail('malformed_credentials')
  if (token.length > maxTokenLength) return fail('token_too_long')
  return pass(token)
}
