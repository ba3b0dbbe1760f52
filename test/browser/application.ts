/** The application behind HAProxy: shows who the identity headers name, and records what reached it. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

/** A request that reached the application. */
export interface Reached {
  /** Method and path with query. */
  readonly line: string
  readonly cookie: string | undefined
  readonly user: string
  readonly body: string
}

export interface Application {
  /** `127.0.0.1:PORT` */
  readonly address: string
  /** Each request that came through, oldest first. */
  readonly reached: Reached[]
  stop(): Promise<void>
}

/** Starts the application on a free port of 127.0.0.1. */
export async function startApplication(): Promise<Application> {
  const reached: Reached[] = []
  const sockets = new Set<Duplex>()
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    reached.push(describe(request, body))
    sendPage(request, response)
  })
  server.on('upgrade', (request, socket) => {
    reached.push(describe(request, ''))
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
    const accept = createHash('sha1')
      // RFC 6455 section 4.2.2.
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
    // One text frame: "hello".
    socket.write(Buffer.from([0x81, 5, ...Buffer.from('hello')]))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  return {
    address: `127.0.0.1:${port}`,
    reached,
    stop() {
      for (const socket of sockets) socket.destroy()
      server.closeAllConnections()
      return new Promise((done) => server.close(() => done()))
    },
  }
}

function describe({ method, url, headers }: IncomingMessage, body: string): Reached {
  return { line: `${method} ${url}`, cookie: headers.cookie, user: userOf(headers), body }
}

function userOf(headers: IncomingMessage['headers']): string {
  return String(headers['x-auth-request-user'] ?? '')
}

function sendPage({ headers, url = '/' }: IncomingMessage, response: ServerResponse): void {
  const name = decodeURIComponent(String(headers['x-auth-request-name'] ?? ''))
  response.writeHead(200, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'private, max-age=0',
  })
  response.end(`<!doctype html><html lang="en"><title>Application</title><body>
<h1>Application</h1><p id="path">${escapeHtml(url)}</p><p id="user">${escapeHtml(userOf(headers))}</p><p id="name">${escapeHtml(name)}</p>
<form id="save" method="post" action="/save"><textarea name="text"></textarea><button>Save</button></form>
<form method="post" action="/oauth2/sign_out"><button>Sign out</button></form>
<a href="/next">Next</a></body></html>`)
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
}
