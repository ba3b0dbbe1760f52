import { EntraError } from './entra-error.ts'

/** The parameters of an OAuth request, each at most once. */
export interface Parameters {
  /** The value; undefined when it is missing or empty. */
  get(name: string): string | undefined
  /** The value; throws AADSTS900144 when it is missing or empty. */
  require(name: string): string
  /** All of them as a query, without the question mark. */
  encode(): string
}

/**
 * Reads a parsed query or form; throws AADSTS9000411 where a parameter is repeated
 * (RFC 6749 section 3.1) and AADSTS900144 for anything but an object.
 */
export function readParameters(source: unknown): Parameters {
  const values = new Map<string, string>()
  for (const [name, value] of Object.entries(source ?? {})) {
    if (typeof value !== 'string') {
      throw new EntraError(
        400,
        'invalid_request',
        9000411,
        `The request is not properly formatted. The parameter '${name}' is duplicated.`,
      )
    }
    values.set(name, value)
  }
  const get = (name: string) => values.get(name) || undefined
  return {
    get,
    encode: () => new URLSearchParams([...values]).toString(),
    require(name) {
      const value = get(name)
      if (value !== undefined) return value
      throw new EntraError(
        400,
        'invalid_request',
        900144,
        `The request body must contain the following parameter: '${name}'.`,
      )
    },
  }
}

/** Parses an `application/x-www-form-urlencoded` body; repeated parameters become lists. */
export function parseForm(body: string): Readonly<Record<string, string | string[]>> {
  const form = new URLSearchParams(body)
  const entries = [...new Set(form.keys())].map((name): [string, string | string[]] => {
    const [first = '', ...others] = form.getAll(name)
    return [name, others.length === 0 ? first : [first, ...others]]
  })
  return Object.fromEntries(entries)
}
