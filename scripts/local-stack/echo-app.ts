import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { freePorts } from './free-port.ts'

/** A request as the application saw it. */
export interface SeenRequest {
  readonly method: string
  readonly url: string
  /** Names and values in the order and spelling of the wire: `[name, value]`. */
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
}

/** A tiny application behind HAProxy that records each request and sends it back as JSON. */
export interface EchoApp {
  /** `127.0.0.1:PORT` */
  readonly address: string
  /** Every request so far, oldest first. */
  readonly requests: SeenRequest[]
  stop(): Promise<void>
}

/**
 * Starts the application on a free port of 127.0.0.1. It accepts WebSocket upgrades and CONNECT,
 * after which it sends back every byte; it never accepts an upgrade to h2c unless told to.
 */
export async function startEchoApp(
  options: { port?: number; acceptUpgrade?: RegExp } = {},
): Promise<EchoApp> {
  const acceptUpgrade = options.acceptUpgrade ?? /^websocket$/i
  const requests: SeenRequest[] = []
  const tunnels = new Set<Duplex>()
  // Above HAProxy's own limit: what it lets through, the application has to see.
  const server = createServer({ maxHeaderSize: 128 * 1024 }, async (request, response) => {
    const seen = await see(request, requests)
    response.setHeader('content-type', 'application/json')
    response.end(`${JSON.stringify(seen)}\n`)
  })
  server.maxHeadersCount = 0
  server.on('upgrade', (request, socket, head) => {
    const protocol = request.headers.upgrade ?? ''
    requests.push(describe(request, ''))
    if (!acceptUpgrade.test(protocol)) {
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
      return
    }
    const key = request.headers['sec-websocket-key']
    const accept = key === undefined ? '' : `Sec-WebSocket-Accept: ${webSocketAccept(key)}\r\n`
    openTunnel(
      socket,
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n${accept}\r\n`,
      head,
    )
  })
  server.on('connect', (request, socket, head) => {
    requests.push(describe(request, ''))
    openTunnel(socket, 'HTTP/1.1 200 Connected\r\n\r\n', head)
  })
  function openTunnel(socket: Duplex, answer: string, head: Buffer): void {
    tunnels.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => tunnels.delete(socket))
    socket.write(answer)
    socket.write(head)
    socket.pipe(socket)
  }
  const [port = 0] = options.port === undefined ? await freePorts(1) : [options.port]
  await listen(server, port)
  return {
    address: `127.0.0.1:${port}`,
    requests,
    stop() {
      for (const socket of tunnels) socket.destroy()
      server.closeAllConnections()
      return new Promise((done) => server.close(() => done()))
    },
  }
}

/** RFC 6455 section 4.2.2: HAProxy checks it, and answers 502 when it does not match the key. */
function webSocketAccept(key: string): string {
  const fixed = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
  return createHash('sha1').update(`${key}${fixed}`).digest('base64')
}

async function see(request: IncomingMessage, requests: SeenRequest[]): Promise<SeenRequest> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const seen = describe(request, Buffer.concat(chunks).toString('utf8'))
  requests.push(seen)
  return seen
}

function describe(request: IncomingMessage, body: string): SeenRequest {
  const raw = request.rawHeaders
  const headers = raw.flatMap((name, index) =>
    index % 2 === 0 ? [[name, raw[index + 1] ?? ''] as const] : [],
  )
  return { method: request.method ?? '', url: request.url ?? '', headers, body }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail)
    server.listen(port, '127.0.0.1', () => done())
  })
}
