import * as oauth from 'oauth4webapi'
import type { TenantConfig } from '../config/config.ts'
import type { Credential } from '../credential/credential.ts'
import { CredentialError } from '../credential/credential-error.ts'
import { isTrustedAddress, metadataUrl, readMetadata } from '../keys/discovery.ts'
import type { Http } from '../keys/http.ts'

/** Code exchanges at a time: anybody can begin one, and each costs a signature and a call. */
const maxExchanges = 64

/** Addresses of the tenant's authority, from its metadata. */
export interface Endpoints {
  readonly issuer: string
  readonly authorization: string
  readonly token: string
  /** Undefined where the authority has none. */
  readonly endSession: string | undefined
}

/** A code that Entra sent back, with what belongs to it. */
export interface CodeExchange {
  /** Path and query of the callback, with `code` and `state`. */
  readonly parameters: URLSearchParams
  readonly state: string
  readonly redirectUri: string
  readonly codeVerifier: string
  readonly nonce: string
  /** Told when Entra answered, in ms by its own clock, where it says so. */
  readonly onDate?: (answeredAtMs: number) => void
}

/** An answer of Entra that is no ID token. */
export class EntraRefusal extends Error {
  /**
   * The OAuth error; `entra_unavailable` where there was no answer, `credential` where we have no proof,
   * `overloaded` where Entra was not asked.
   */
  readonly error: string
  /** For the log and, number and correlation id of it, for the page. */
  readonly description: string
  constructor(error: string, description: string) {
    super(error)
    this.error = error
    this.description = description
  }
}

/** The authority of the tenant, as far as a sign-in needs it. */
export interface Entra {
  /** Rejects with EntraRefusal where the metadata cannot be had; `maxAgeMs` is how old it may be. */
  endpoints(maxAgeMs: number): Promise<Endpoints>
  /** Returns the ID token, unverified. Rejects with EntraRefusal. */
  redeem(exchange: CodeExchange): Promise<string>
}

/** What the authority is asked with. */
export interface EntraRuntime {
  /** The clock for intervals, in ms, as `createElapsedClock` makes it. */
  readonly elapsed: () => number
  readonly http: Http
}

/** Creates the access to an authority. */
export function createEntra(
  tenant: TenantConfig,
  clientId: string,
  credential: Credential,
  { elapsed, http }: EntraRuntime,
): Entra {
  let known: { readonly endpoints: Endpoints; readonly readMs: number } | undefined
  let reading: Promise<Endpoints> | undefined
  let exchanges = 0

  async function readEndpoints(): Promise<Endpoints> {
    const url = metadataUrl(tenant, '2.0')
    const document = await http.fetchJson(url)
    const { issuer } = readMetadata(tenant, '2.0', document)
    const found = document as Record<string, unknown>
    const endpoints = {
      issuer,
      authorization: trusted(tenant, found.authorization_endpoint),
      token: trusted(tenant, found.token_endpoint),
      endSession:
        found.end_session_endpoint === undefined
          ? undefined
          : trusted(tenant, found.end_session_endpoint),
    }
    known = { endpoints, readMs: elapsed() }
    return endpoints
  }

  const client: oauth.Client = {
    client_id: clientId,
    // Times are checked by our own claims stage, against the clock that was passed in.
    [oauth.clockTolerance]: 1e12,
  }

  /** The answer in the address: whatever is wrong with it, anybody can have written it. */
  function checkedAnswer(
    server: oauth.AuthorizationServer,
    parameters: URLSearchParams,
    state: string,
  ): URLSearchParams {
    try {
      return oauth.validateAuthResponse(server, client, parameters, state)
    } catch (cause) {
      throw new EntraRefusal('id_token_refused', (cause as Error).message)
    }
  }

  /** Adds who we are and the proof of it to a token request. */
  const authenticate =
    (token: string): oauth.ClientAuth =>
    async (_server, { client_id }, body) => {
      body.set('client_id', client_id)
      for (const [name, value] of Object.entries(await credential.proof(token)))
        body.set(name, value)
    }

  /** `fetch` within our limits; the library says method, body and its own headers. */
  const fetchWithin = (url: string, options: oauth.CustomFetchOptions<string, unknown>) => {
    const own = http.fetchOptions()
    return fetch(url, {
      ...own,
      method: options.method,
      body: options.body as URLSearchParams,
      headers: { ...options.headers, ...(own.headers as Record<string, string>) },
    })
  }

  async function redeemAt(
    server: oauth.AuthorizationServer,
    token: string,
    { parameters, state, redirectUri, codeVerifier, nonce, onDate }: CodeExchange,
  ): Promise<string> {
    try {
      const checked = checkedAnswer(server, parameters, state)
      const reply = await oauth.authorizationCodeGrantRequest(
        server,
        client,
        authenticate(token),
        checked,
        redirectUri,
        codeVerifier,
        {
          [oauth.customFetch]: fetchWithin,
          // The configuration allows plain HTTP on loopback only, and the address was checked above.
          [oauth.allowInsecureRequests]: true,
        },
      )
      if (!isAnswerOfEntra(reply)) {
        await reply.body?.cancel()
        throw new EntraRefusal('entra_unavailable', `the token endpoint answered ${reply.status}`)
      }
      const answeredAtMs = Date.parse(String(reply.headers.get('date')))
      if (!Number.isNaN(answeredAtMs)) onDate?.(answeredAtMs)
      const tokens = await oauth.processAuthorizationCodeResponse(server, client, reply, {
        expectedNonce: nonce,
        requireIdToken: true,
      })
      return tokens.id_token as string
    } catch (cause) {
      throw refusalOf(cause)
    }
  }

  return {
    async endpoints(maxAgeMs) {
      if (known && elapsed() - known.readMs < maxAgeMs) return known.endpoints
      reading ??= readEndpoints().finally(() => {
        reading = undefined
      })
      try {
        return await reading
      } catch (cause) {
        throw new EntraRefusal('entra_unavailable', (cause as Error).message)
      }
    },
    async redeem(exchange) {
      const { issuer, authorization, token } = await this.endpoints(Number.POSITIVE_INFINITY)
      if (exchanges >= maxExchanges) {
        throw new EntraRefusal('overloaded', 'too many code exchanges at a time')
      }
      exchanges++
      const server: oauth.AuthorizationServer = {
        issuer,
        authorization_endpoint: authorization,
        token_endpoint: token,
      }
      return redeemAt(server, token, exchange).finally(() => {
        exchanges--
      })
    },
  }
}

/**
 * Tokens and errors are JSON with one of these statuses (RFC 6749 sections 5.1 and 5.2). Anything
 * else is a throttle, an outage or a proxy on the way, and says nothing about the person.
 */
function isAnswerOfEntra({ status, headers }: Response): boolean {
  const isJson = /^application\/json\s*(;|$)/i.test(String(headers.get('content-type')))
  return isJson && [200, 400, 401].includes(status)
}

function trusted(tenant: TenantConfig, address: unknown): string {
  if (typeof address === 'string' && isTrustedAddress(tenant, address)) return address
  throw new Error('the metadata names an endpoint that is missing or not the authority’s')
}

function refusalOf(cause: unknown): EntraRefusal {
  if (cause instanceof EntraRefusal) return cause
  if (cause instanceof CredentialError) return new EntraRefusal('credential', cause.message)
  if (cause instanceof oauth.ResponseBodyError) {
    return new EntraRefusal(cause.error, cause.error_description ?? '')
  }
  if (cause instanceof oauth.WWWAuthenticateChallengeError) {
    return new EntraRefusal('invalid_client', '')
  }
  // Something on the way says that it is JSON, and it is not.
  if (cause instanceof oauth.OperationProcessingError && cause.code === oauth.PARSE_ERROR) {
    return new EntraRefusal('entra_unavailable', cause.message)
  }
  if (
    cause instanceof oauth.OperationProcessingError ||
    cause instanceof oauth.UnsupportedOperationError
  ) {
    return new EntraRefusal('id_token_refused', cause.message)
  }
  return new EntraRefusal('entra_unavailable', (cause as Error).message)
}
