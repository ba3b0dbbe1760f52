/**
 * A small application whose way in does what the action in HAProxy does: it asks `/verify/POLICY`
 * with the request's cookie, sends navigations to the sign-in and passes all other refusals on.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Application {
  /** `127.0.0.1:PORT` */
  readonly address: string
  /** Method and path of each request that came through, oldest first. */
  readonly admitted: string[]
  stop(): Promise<void>
}

/** Policy of a path: its first segment where a policy has that name, else `portal`. */
export type PolicyOf = (path: string) => string

/** Starts the application in front of which `verifier` (`http://127.0.0.1:PORT`) judges. */
export async function startApplication(verifier: string, policyOf: PolicyOf): Promise<Application> {
  const admitted: string[] = []
  const server = createServer((request, response) => {
    answer(request, response).catch((failure: Error) => {
      response.writeHead(502, { 'content-type': 'text/plain' }).end(failure.message)
    })
  })
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { headers, url = '/', method = 'GET' } = request
    const verdict = await fetch(`${verifier}/verify/${policyOf(url)}`, {
      headers: {
        'x-forwarded-host': headers.host ?? '',
        ...(headers.cookie === undefined ? {} : { cookie: headers.cookie }),
        ...(headers.authorization === undefined ? {} : { authorization: headers.authorization }),
      },
    })
    const body = await verdict.text()
    if (verdict.status === 200) {
      // After the soft end navigations go to the re-check, and everything else goes on.
      if (verdict.headers.get('x-entra-auth-recheck') === '1' && isNavigation(request)) {
        return redirectToSignIn('/oauth2/start', url, response)
      }
      admitted.push(`${method} ${url}`)
      return sendPage(verdict.headers, url, response)
    }
    const signIn = verdict.headers.get('x-entra-auth-sign-in')
    if (verdict.status === 401 && signIn !== null && isNavigation(request)) {
      return redirectToSignIn(signIn, url, response)
    }
    response.writeHead(verdict.status, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
    })
    response.end(body)
  }
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  return {
    address: `127.0.0.1:${port}`,
    admitted,
    stop() {
      server.closeAllConnections()
      return new Promise((done) => server.close(() => done()))
    },
  }
}

function isNavigation({ method, headers }: IncomingMessage): boolean {
  return (
    method === 'GET' &&
    headers['sec-fetch-mode'] === 'navigate' &&
    headers['sec-fetch-dest'] === 'document' &&
    headers['sec-purpose'] === undefined
  )
}

function redirectToSignIn(signIn: string, url: string, response: ServerResponse): void {
  const joint = signIn.includes('?') ? '&' : '?'
  response.writeHead(302, {
    location: `${signIn}${joint}rd=${encodeURIComponent(url)}`,
    'cache-control': 'no-store',
  })
  response.end()
}

function sendPage(identity: Headers, url: string, response: ServerResponse): void {
  // So that a page can tell a test that its soft end has come.
  response.setHeader('x-recheck', identity.get('x-entra-auth-recheck') ?? '0')
  const name = decodeURIComponent(identity.get('x-auth-request-name') ?? '')
  const user = identity.get('x-entra-auth-user') ?? identity.get('x-auth-request-user') ?? ''
  response.writeHead(200, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
  })
  response.end(`<!doctype html><html lang="en"><title>Application</title><body>
<h1>Application</h1><p id="path">${escapeHtml(url)}</p><p id="user">${escapeHtml(user)}</p><p id="name">${escapeHtml(name)}</p>
<form method="post" action="/oauth2/sign_out"><button>Sign out</button></form>
<a href="/next">Next</a></body></html>`)
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
}
