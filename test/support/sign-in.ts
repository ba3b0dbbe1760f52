import { createHash } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Revocation } from '../../src/revocation/revocation.ts'
import { createRevocationList } from '../../src/revocation/revocation-list.ts'
import type { RevocationStore } from '../../src/revocation/revocation-store.ts'
import type { SealingKeys } from '../../src/session/sealing.ts'
import { createSignInPart } from '../../src/sign-in/part.ts'
import type { FakeAuthority } from './authority.ts'
import { ids } from './ids.ts'
import { type ConfigFile, type Service, type ServiceOptions, startService } from './service.ts'
import { host, sealingKeys, signIn, webClient } from './sessions.ts'
import { type Members, type TokenOptions, v2IdToken } from './tokens.ts'

/** The service with its sign-in listener, and what stands in for Entra. */
export interface SignInService extends Service {
  readonly signInPort: number
  readonly revocations: Revocation[]
}

export interface SignInOptions extends Omit<ServiceOptions, 'signIn' | 'revocations'> {
  readonly sealingKeys?: SealingKeys
  /** Members of the section `signIn`. */
  readonly section?: ConfigFile
  /** Default: a fixed one. */
  readonly readSecret?: () => string
  /** Default: there is a place for them. */
  readonly withoutRevocations?: boolean
}

/** Starts the service with one policy for sessions and one that asks for `c1`. */
export async function startSignIn(options: SignInOptions = {}): Promise<SignInService> {
  const revocations: Revocation[] = []
  const store: RevocationStore = {
    get list() {
      return createRevocationList(revocations)
    },
    start: async () => {},
    setLongest() {},
    reload: async () => false,
    add: async (revocation: Revocation) => void revocations.push(revocation),
    remove: async () => false,
  }
  const part = createSignInPart({
    sealingKeys: options.sealingKeys ?? sealingKeys,
    credential: {
      env: {},
      randomId: () => 'jti',
      readFile: options.readSecret ?? (() => 'a-client-secret'),
    },
  })
  const session = { actor: 'user', session: true }
  const service = await startService({
    ...options,
    signIn: part,
    revocations: store,
    config: {
      signIn: { ...signIn, ...options.section },
      policies: {
        default: { allow: [session] },
        strong: { allow: [{ ...session, authContext: 'c1' }] },
        open: { allow: [session], crossSiteGuard: false },
        mixed: {
          audiences: [ids.api],
          allow: [session, { actor: 'user', scopes: ['Orders.Read'] }],
        },
        grouped: { allow: [{ ...session, groups: [ids.group] }] },
      },
      ...(options.withoutRevocations ? {} : { revocationFile: '/nowhere/revocations.json' }),
      ...options.config,
    },
  })
  const { signIn: listener } = service.app
  if (!listener) throw new Error('no listener for sign-in')
  await listener.listen({ host: '127.0.0.1', port: 0 })
  const { port: signInPort } = listener.server.address() as AddressInfo
  return Object.assign(service, { signInPort, revocations })
}

/** An answer of the listener. */
export interface Page {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly location: string | undefined
  readonly reason: string | undefined
  readonly setCookies: readonly string[]
  readonly body: string
}

/** Headers of a person who goes to a page. */
export const navigation = {
  'Sec-Fetch-Mode': 'navigate',
  'Sec-Fetch-Dest': 'document',
  'Sec-Fetch-Site': 'none',
  Accept: 'text/html',
}

export interface VisitOptions {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly body?: string
}

/** A browser as far as cookies go. */
export interface Browser {
  readonly cookies: Map<string, string>
  visit(path: string, options?: VisitOptions): Promise<Page>
  /** The browser of somebody who has the same cookies. */
  copy(): Browser
}

/** Opens a browser at a host. */
export function openBrowser(
  { signInPort: port }: Pick<SignInService, 'signInPort'>,
  at: string = host,
  cookies = new Map<string, string>(),
): Browser {
  return {
    cookies,
    copy: () => openBrowser({ signInPort: port }, at, new Map(cookies)),
    async visit(path, { method = 'GET', headers = {}, body } = {}) {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
      const page = await send(port, path, method, body, {
        Host: at,
        'X-Forwarded-Proto': 'https',
        ...(cookie && { Cookie: cookie }),
        ...headers,
      })
      for (const line of page.setCookies) {
        const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
        if (/max-age=0\b/i.test(line)) cookies.delete(name)
        else cookies.set(name, value)
      }
      return page
    },
  }
}

function send(
  port: number,
  path: string,
  method: string,
  body: string | undefined,
  headers: Readonly<Record<string, string | readonly string[]>>,
): Promise<Page> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: '127.0.0.1', port, path, method, headers: headers as Record<string, string> },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const { 'set-cookie': setCookies = [], ...rest } = response.headers
          const named = Object.fromEntries(
            Object.entries(rest).map(([name, value]) => [name, String(value)]),
          ) as Record<string, string>
          resolve({
            status: response.statusCode ?? 0,
            headers: named,
            location: named.location,
            reason: named['x-entra-auth-reason'],
            setCookies,
            body: Buffer.concat(chunks).toString('utf8'),
          })
        })
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}

/** What a request to the authorization endpoint asks for. */
export function askedOf(page: Page): URLSearchParams {
  if (page.location === undefined) throw new Error(`no redirect but ${page.status}: ${page.reason}`)
  return new URL(page.location, `https://${host}`).searchParams
}

/** An ID token for the web application, claim for claim as Entra issues it. */
export function idTokenOf(nonce: string, claims: Members = {}, options: TokenOptions = {}): string {
  return v2IdToken(
    {
      aud: webClient,
      acct: 0,
      login_hint: 'O.opaque-login-hint',
      nonce,
      sub: 'subject-of-the-web-application',
      uti: 'uti-of-an-id-token',
      ...claims,
    },
    options,
  )
}

/**
 * Lets the authority redeem one code as Entra does: the code belongs to what `asked` asked for, and to
 * whom the claims say. Returns the code; `forms` receives each request.
 */
export function grantCode(
  authority: FakeAuthority,
  asked: URLSearchParams,
  claims: Members = {},
  options: TokenOptions = {},
): { readonly code: string; readonly forms: URLSearchParams[] } {
  const code = `code-${asked.get('nonce')}`
  const forms: URLSearchParams[] = []
  let isUsed = false
  const former = authority.token
  authority.token = (form) => {
    if (form.get('code') !== code && former) return former(form)
    forms.push(form)
    const challenge = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url')
    const fits =
      form.get('code') === code &&
      challenge === asked.get('code_challenge') &&
      form.get('redirect_uri') === asked.get('redirect_uri')
    if (isUsed || !fits) {
      return {
        status: 400,
        body: { error: 'invalid_grant', error_description: 'AADSTS70008: used.' },
      }
    }
    isUsed = true
    return {
      status: 200,
      body: {
        token_type: 'Bearer',
        access_token: 'opaque',
        expires_in: 3_600,
        id_token: idTokenOf(asked.get('nonce') ?? '', claims, options),
      },
    }
  }
  return { code, forms }
}

/** Path of the callback with an answer of Entra. */
export function callbackOf(
  asked: URLSearchParams,
  answer: Readonly<Record<string, string>>,
): string {
  return `/oauth2/callback?${new URLSearchParams({ ...answer, state: asked.get('state') ?? '' })}`
}

/** Signs a person in and returns the last answer. */
export async function signInWith(
  service: SignInService,
  browser: Browser,
  {
    rd = '/',
    claims = {},
    path = `/oauth2/start?rd=${encodeURIComponent(rd)}`,
  }: {
    readonly rd?: string
    readonly claims?: Members
    readonly path?: string
  } = {},
): Promise<Page> {
  const asked = askedOf(await browser.visit(path))
  const { code } = grantCode(service.authority, asked, claims)
  return browser.visit(callbackOf(asked, { code }))
}
