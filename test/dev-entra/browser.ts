import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { contoso, postForm } from './support.ts'

export const portal = '33333333-3333-4333-8333-333333333333'
export const redirectUri = 'https://portal.contoso.com/oauth2/callback'
export const verifier = 'v'.repeat(43)
export const tokenPath = `/${contoso}/oauth2/v2.0/token`
export const authorizePath = `/${contoso}/oauth2/v2.0/authorize`

type Fields = Record<string, string>

/** What came back: a page, or an answer for the application. */
export interface Answer {
  readonly status: number
  readonly title: string
  readonly body: string
  /** Parameters for the application; undefined where nothing is sent to it. */
  readonly sent?: URLSearchParams
}

/** Follows the pages of dev-entra as a browser does, with its cookie and the fields of its forms. */
export function createBrowser(app: FastifyInstance) {
  let cookie = ''
  let last = ''
  const load = async (request: { method: 'GET' | 'POST'; url: string; payload?: string }) => {
    const reply = await app.inject({
      ...request,
      headers: {
        accept: 'text/html,*/*;q=0.8',
        ...(cookie === '' ? {} : { cookie }),
        ...(request.payload === undefined
          ? {}
          : { 'content-type': 'application/x-www-form-urlencoded' }),
      },
    })
    cookie = String(reply.headers['set-cookie'] ?? cookie).split(';')[0] ?? ''
    last = reply.body
    const { location } = reply.headers
    return {
      status: reply.statusCode,
      title: /<h1>(.*?)<\/h1>/.exec(reply.body)?.[1] ?? '',
      body: reply.body,
      ...(location === undefined ? {} : { sent: new URL(String(location)).searchParams }),
    } satisfies Answer
  }
  return {
    open: (url: string) => load({ method: 'GET', url }),
    authorize: (changes: Fields = {}, path = authorizePath) =>
      load({ method: 'GET', url: `${path}?${new URLSearchParams(authorizeQuery(changes))}` }),
    /** Presses the button of this name and value on the page that is open. */
    press(name: string, value: string) {
      assert.ok(last.includes(`name="${name}" value="${value}"`), `no button ${name}=${value}`)
      const [, action = ''] = /<form method="post" action="([^"]*)"/.exec(last) ?? []
      const hidden = [...last.matchAll(/type="hidden" name="([^"]*)" value="([^"]*)"/g)]
      const fields = hidden.map(([, key = '', text = '']): [string, string] => [key, text])
      return load({
        method: 'POST',
        url: action.replaceAll('&#38;', '&'),
        payload: new URLSearchParams([...fields, [name, value]]).toString(),
      })
    },
  }
}

/** Parameters of a sign-in at the portal. */
export function authorizeQuery(changes: Fields = {}): Fields {
  const all: Fields = {
    client_id: portal,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope: 'openid profile offline_access',
    state: 's',
    nonce: 'n-1',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...changes,
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''))
}

/** Redeems a code of the portal. */
export function redeem(app: FastifyInstance, code: string, changes: Fields = {}) {
  return postForm(app, tokenPath, {
    grant_type: 'authorization_code',
    client_id: portal,
    client_secret: 'portal-secret',
    redirect_uri: redirectUri,
    code_verifier: verifier,
    code,
    ...changes,
  })
}
