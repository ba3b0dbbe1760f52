import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { ids } from './ids.ts'
import { type Jwk, jwkOf, signingKey } from './signing-keys.ts'

/** 64 MiB in 64 KiB; made once, since it takes longer than some time-outs of the tests. */
const zipBomb = gzipSync(`{"padding":"${' '.repeat(64 * 1024 * 1024)}","keys":[]}`)

/** What an endpoint does instead of answering well. */
export type Fault =
  | 'hang'
  | 'drip'
  | 'error'
  | 'not found'
  | 'no content'
  | 'html'
  | 'redirect'
  | 'no keys'
  | 'not a set'
  | 'null'
  | 'null among the keys'
  | 'huge'
  | 'endless'
  | 'zip bomb'
  | 'half'

/** One token version of one tenant, with everything that a test may turn. */
export interface FakeEndpoint {
  issuer: string
  /** Members that replace those of the metadata; undefined leaves one out. */
  metadata: Record<string, unknown>
  keys: Jwk[]
  metadataFault: Fault | undefined
  keysFault: Fault | undefined
  /** What each request must wait for before it is answered. */
  gate: Promise<void> | undefined
}

export interface FakeTenant {
  readonly id: string
  /** Undefined where there is no such version, as with External ID. */
  v1: FakeEndpoint | undefined
  v2: FakeEndpoint
  /** Keys that are published only to who asks with `?appid=`, by app id. */
  readonly appKeys: Map<string, Jwk[]>
}

/** A stand-in for Entra that shares no code with the project. */
export interface FakeAuthority {
  readonly url: string
  readonly tenants: ReadonlyMap<string, FakeTenant>
  readonly contoso: FakeTenant
  /** Path and query of each request, in order. */
  readonly requests: string[]
  /** Answers the token endpoint of a tenant; undefined for none. */
  token:
    | ((form: URLSearchParams) => {
        readonly status: number
        readonly body: unknown
        readonly headers?: Readonly<Record<string, string>>
      })
    | undefined
  /** Number of requests for key sets. */
  keyFetches(): number
  close(): Promise<void>
}

export interface AuthorityOptions {
  readonly tenants?: readonly string[]
  /** Origin of the key addresses in the metadata, where it is not the authority's own. */
  readonly keyOrigin?: string
  readonly v1Issuer?: string
  readonly v2Issuer?: string
}

/** The key that signs for a tenant unless a test says otherwise. */
export function tenantKey(tenantId: string) {
  return signingKey(`key of ${tenantId}`)
}

/** Starts an authority on a free loopback port. */
export async function startAuthority(options: AuthorityOptions = {}): Promise<FakeAuthority> {
  const {
    tenants: tenantIds = [ids.contoso, ids.fabrikam, ids.stranger, ids.consumers],
    v1Issuer = 'https://sts.windows.net/{tid}/',
    v2Issuer = 'https://login.microsoftonline.com/{tid}/v2.0',
  } = options
  const tenants = new Map<string, FakeTenant>()
  for (const id of tenantIds) {
    const key = tenantKey(id)
    tenants.set(id, {
      id,
      v1: endpoint(v1Issuer.replace('{tid}', id), [jwkOf(key)]),
      v2: endpoint(v2Issuer.replace('{tid}', id), [
        jwkOf(key, { issuer: v2Issuer.replace('{tid}', id) }),
      ]),
      appKeys: new Map(),
    })
  }
  const requests: string[] = []
  const server = createServer((request, response) => {
    requests.push(request.url ?? '')
    void answer(request, response)
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // The address behind a redirect works, so that only the redirect itself can be what fails.
    const { pathname, searchParams } = new URL(
      (request.url ?? '').replace(/^\/redirected/, ''),
      'http://authority',
    )
    const [, tenantId = '', ...rest] = pathname.split('/')
    const tenant = tenants.get(tenantId)
    const path = rest.join('/')
    const version = path.includes('v2.0') ? 'v2' : 'v1'
    const chosen = tenant?.[version]
    if (!tenant || !chosen) return notFound(response)
    await chosen.gate
    if (path === 'oauth2/v2.0/token' && authority.token) {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk)
      const { status, body, headers } = authority.token(
        new URLSearchParams(Buffer.concat(chunks).toString()),
      )
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      return void response.end(typeof body === 'string' ? body : JSON.stringify(body))
    }
    const redirected = (request.url ?? '').startsWith('/redirected')
    const appId = searchParams.get('appid') ?? ''
    if (path.endsWith('.well-known/openid-configuration')) {
      const keysPath = version === 'v2' ? 'discovery/v2.0/keys' : 'discovery/keys'
      const document = {
        issuer: chosen.issuer,
        jwks_uri: `${options.keyOrigin ?? url}/${tenant.id}/${keysPath}${appId && `?appid=${appId}`}`,
        cloud_instance_name: 'microsoftonline.com',
        ...(version === 'v2' && {
          authorization_endpoint: `${url}/${tenant.id}/oauth2/v2.0/authorize`,
          token_endpoint: `${url}/${tenant.id}/oauth2/v2.0/token`,
          end_session_endpoint: `${url}/${tenant.id}/oauth2/v2.0/logout`,
        }),
        ...chosen.metadata,
      }
      return reply(request, response, document, redirected ? undefined : chosen.metadataFault)
    }
    if (/^discovery\/(v2\.0\/)?keys$/.test(path)) {
      const keys = tenant.appKeys.get(appId) ?? chosen.keys
      return reply(request, response, { keys }, redirected ? undefined : chosen.keysFault)
    }
    notFound(response)
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const authority: FakeAuthority = {
    url,
    tenants,
    token: undefined,
    get contoso() {
      return tenants.get(ids.contoso) as FakeTenant
    },
    requests,
    keyFetches: () => requests.filter((path) => /\/keys(\?|$)/.test(path)).length,
    close() {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
  return authority
}

function endpoint(issuer: string, keys: Jwk[]): FakeEndpoint {
  return {
    issuer,
    metadata: {},
    keys,
    metadataFault: undefined,
    keysFault: undefined,
    gate: undefined,
  }
}

function notFound(response: ServerResponse): void {
  response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Not found</h1>')
}

function reply(
  request: IncomingMessage,
  response: ServerResponse,
  document: object,
  fault: Fault | undefined,
): void {
  const text = JSON.stringify(document)
  const json = { 'content-type': 'application/json' }
  const send = (body: string | Buffer, status = 200, headers: Record<string, string> = json) =>
    void response.writeHead(status, headers).end(body)
  switch (fault) {
    case undefined:
      send(text)
      break
    case 'hang':
      break
    case 'drip':
      response.writeHead(200, json)
      drip(response, ' ')
      break
    case 'error':
      send(text, 500)
      break
    case 'not found':
      notFound(response)
      break
    case 'no content':
      response.writeHead(204).end()
      break
    case 'html':
      send('<html><body>Sign in to the network</body></html>', 200, {
        'content-type': 'text/html',
      })
      break
    case 'redirect':
      send('', 302, { location: `/redirected${request.url}` })
      break
    case 'no keys':
      send('{"keys":[]}')
      break
    case 'not a set':
      send('{"keys":{"length":1,"0":{}}}')
      break
    case 'null':
      send('null')
      break
    case 'null among the keys':
      send(text.replace('"keys":[', '"keys":[null,'))
      break
    case 'huge':
      send(text.replace('{', `{"padding":"${'x'.repeat(3 * 1024 * 1024)}",`))
      break
    case 'endless':
      response.writeHead(200, json)
      pour(response)
      break
    case 'zip bomb':
      send(zipBomb, 200, {
        ...json,
        'content-encoding': 'gzip',
      })
      break
    case 'half':
      response.writeHead(200, { ...json, 'content-length': String(text.length) })
      response.write(text.slice(0, text.length / 2), () => response.destroy())
  }
}

/** A byte every now and then, so that no timeout between bytes is ever reached. */
function drip(response: ServerResponse, text: string): void {
  const timer = setInterval(() => response.write(text), 10)
  response.on('close', () => clearInterval(timer))
}

function pour(response: ServerResponse): void {
  const chunk = ' '.repeat(64 * 1024)
  const write = () => {
    while (!response.destroyed && response.write(chunk));
  }
  response.on('drain', write)
  write()
}
