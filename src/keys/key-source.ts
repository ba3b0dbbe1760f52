import buildGetJwks from 'get-jwks'
import type { Http } from './http.ts'

/** Where the keys of one issuer come from. */
export interface KeySource {
  /** Reads the whole key set; rejects on anything that is not one. */
  fetchSet(): Promise<readonly unknown[]>
  /** Looks one key up by its id; undefined where the authority does not publish it. */
  fetchKey(id: string): Promise<unknown>
}

/**
 * Creates the source for a key address.
 *
 * get-jwks looks up single keys, with a new instance each time. The keyring decides which keys are
 * known and for how long. The stale cache of get-jwks would bring a withdrawn key back.
 */
export function createKeySource(http: Http, jwksUri: string): KeySource {
  const address = new URL(jwksUri)
  return {
    async fetchSet() {
      const document = (await http.fetchJson(jwksUri)) as { keys?: unknown } | null
      if (!Array.isArray(document?.keys)) throw new Error(`${jwksUri} answered no key set`)
      return document.keys
    },
    async fetchKey(id) {
      try {
        // Entra's keys have no `alg`, and get-jwks takes a key without one for any.
        const { getJwk } = buildGetJwks({
          max: 1,
          jwksPath: address.pathname + address.search,
          fetchOptions: http.fetchOptions() as object,
        })
        return await getJwk({ domain: address.origin, alg: 'RS256', kid: id })
      } catch (error) {
        if ((error as { code?: unknown }).code === 'JWK_NOT_FOUND') return undefined
        throw error
      }
    },
  }
}
