/** What the verdict depends on in a request's headers; nothing else is looked at for it. */
export interface VerifyRequest {
  /** Value of the `Authorization` header; undefined where there is none. */
  readonly authorization: string | undefined
  /** More than one `Authorization` header. */
  readonly ambiguous: boolean
  /** Value of `X-Entra-Auth-Key`; undefined where there is none or more than one. */
  readonly callerKey: string | undefined
  readonly hasBody: boolean
  /** Whether an allow is wanted as one prepared value; see `formatPrepared`. */
  readonly wantsPrepared?: boolean | undefined
}

/**
 * Reads Node's list of header names and values as they came. Node itself joins or drops
 * duplicates, and two programs that pick different ones of two `Authorization` headers are a known
 * way past a gateway, so they are counted here. One pass, since it runs for each request.
 */
export function readRequest(rawHeaders: readonly string[]): VerifyRequest {
  let authorization: string | undefined
  let ambiguous = false
  let callerKey: string | undefined
  let callerKeys = 0
  let hasBody = false
  let wantsPrepared = false
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    const value = rawHeaders[i + 1] as string
    // The length rules out most names before any of them is put in lower case.
    switch (name.length) {
      case 13:
        if (name.toLowerCase() === 'authorization') {
          ambiguous = authorization !== undefined
          authorization = value
        }
        break
      case 14:
        if (name.toLowerCase() === 'content-length' && value !== '0') hasBody = true
        break
      case 16:
        if (name.toLowerCase() === 'x-entra-auth-key') {
          callerKey = value
          callerKeys++
        }
        break
      case 17:
        if (name.toLowerCase() === 'transfer-encoding') hasBody = true
        break
      case 21:
        if (name.toLowerCase() === 'x-entra-auth-prepared')
          wantsPrepared = value === '2' || value.startsWith('2\t')
        break
    }
  }
  if (callerKeys !== 1) callerKey = undefined
  return { authorization, ambiguous, callerKey, hasBody, wantsPrepared }
}
