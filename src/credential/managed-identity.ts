import type { Environment } from '../config/environment.ts'
import type { Http } from '../keys/http.ts'
import { CredentialError } from './credential-error.ts'

/** What asking for tokens of a managed identity needs. */
export interface IdentityRuntime {
  readonly clock: () => number
  /** The clock for intervals, in ms; `clock` where absent. */
  readonly elapsed?: () => number
  readonly http: Pick<Http, 'fetchOptions'>
  readonly env: Environment
}

/** Tokens of the managed identity of this machine. */
export interface IdentityTokens {
  /** A token for a resource, asked for again shortly before it expires. Rejects with CredentialError. */
  get(resource: string): Promise<string>
}

/** The metadata service of Azure's virtual machines. */
const metadataService = 'http://169.254.169.254'

/** A token that ends sooner is asked for anew. */
const marginSeconds = 5 * 60

/** No token of a managed identity lives for longer, whatever the endpoint says. */
const longestSeconds = 24 * 3_600

/**
 * Creates the source of tokens. `identity` is `system` or a client id. Where the platform names an
 * endpoint of its own (App Service, Container Apps: `IDENTITY_ENDPOINT`), that one is asked.
 */
export function createIdentityTokens(
  identity: string,
  { clock, elapsed = clock, http, env }: IdentityRuntime,
): IdentityTokens {
  const tokens = new Map<string, { readonly token: string; readonly freshUntilMs: number }>()
  return {
    async get(resource) {
      const known = tokens.get(resource)
      if (known && elapsed() < known.freshUntilMs) return known.token
      const { url, headers } = requestFor(resource, identity, env)
      const { access_token, expires_on, expires_in } = await fetchToken(url, headers, http)
      if (typeof access_token !== 'string' || !/^[!-~]{1,16384}$/.test(access_token)) {
        throw new CredentialError('the managed identity answered without a token')
      }
      // How long it lives comes first: what it says of the date depends on the clock of this machine.
      const lifeSeconds = Number(expires_in ?? Number(expires_on) - clock() / 1000)
      const keptSeconds = Math.min(lifeSeconds, longestSeconds) - marginSeconds
      const freshUntilMs = elapsed() + keptSeconds * 1000
      tokens.set(resource, { token: access_token, freshUntilMs })
      return access_token
    },
  }
}

function requestFor(resource: string, identity: string, env: Environment) {
  const { IDENTITY_ENDPOINT: endpoint, IDENTITY_HEADER: key } = env
  const isOwn = endpoint !== undefined && URL.canParse(endpoint)
  // A stand-in for the metadata service, by the variable of Azure's SDKs.
  const service = env.AZURE_POD_IDENTITY_AUTHORITY_HOST || metadataService
  const url = new URL(isOwn ? endpoint : `${service}/metadata/identity/oauth2/token`)
  url.searchParams.set('api-version', isOwn ? '2019-08-01' : '2018-02-01')
  url.searchParams.set('resource', resource)
  if (identity !== 'system') url.searchParams.set('client_id', identity)
  const headers: Record<string, string> = isOwn
    ? { 'x-identity-header': key ?? '' }
    : { metadata: 'true' }
  return { url, headers }
}

async function fetchToken(
  url: URL,
  headers: Readonly<Record<string, string>>,
  http: Pick<Http, 'fetchOptions'>,
): Promise<Record<string, unknown>> {
  // The endpoint is this machine's own, and its answer is a secret: no proxy has a part in it.
  const options = http.fetchOptions({ direct: true })
  let reply: Response
  try {
    reply = await fetch(url, { ...options, headers: { ...plain(options.headers), ...headers } })
  } catch {
    throw new CredentialError('the endpoint of the managed identity cannot be reached')
  }
  const body: unknown = await reply.json().catch(() => undefined)
  if (reply.status === 200) return { ...(body as object) }
  throw new CredentialError(
    `the managed identity gave no token (${reply.status}); check that it is assigned to this machine`,
  )
}

/** The headers of our client, which are always a plain object. */
export function plain(headers: unknown): Readonly<Record<string, string>> {
  return { ...(headers as Record<string, string>) }
}
