import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerFactory,
} from 'fastify'
import type { FailureCode } from './failure.ts'
import { readCorrelation } from './verify/correlation.ts'
import { sendRefusal } from './verify/route.ts'

/** Room for a token of 16 KiB and the other headers of a request. */
const maxHeaderBytes = 32 * 1024

/** HAProxy takes 101 by default. */
const maxHeaders = 1_000

function refuseUnread(response: ServerResponse): void {
  response.writeHead(400, {
    'X-Entra-Auth-Verdict': 'deny',
    'X-Entra-Auth-Reason': 'malformed_request',
    'Cache-Control': 'no-store',
    'Content-Length': '0',
    Connection: 'close',
  })
  response.end()
}

/**
 * Once a server closes, Node no longer looks for requests that do not come to their end. So they end here,
 * after the time that a request or a call to an authority may take, in ms.
 */
const lastAnswerMs = 5_000

/** Whoever has said nothing for so long after that waits for no answer, in ms. */
const firstByteMs = 500

/** Limits that Fastify sets itself on a server of its own making. */
export interface ServerOptions extends Record<string, unknown> {
  readonly http: object
  readonly keepAliveTimeout: number
  readonly requestTimeout: number
  readonly connectionTimeout: number
}

const createPlainServer: FastifyServerFactory = (handler, options) => {
  const { http, keepAliveTimeout, requestTimeout, connectionTimeout } = options as ServerOptions
  const server = createServer({ ...http, keepAliveTimeout, requestTimeout }, handler)
  server.setTimeout(connectionTimeout)
  return server
}

/** How a listener differs from the usual one. */
export interface ListenerOptions {
  /** Makes its server; a plain one where left out. */
  readonly serverFactory?: FastifyServerFactory | undefined
  /** Answers what no route answers. */
  readonly answer?: Answer
  /** Is told of each answer to bytes that did not become a request. */
  readonly onUnread?: (() => void) | undefined
}

/**
 * Creates a Fastify instance with every limit set. Each error has the form of a refusal. It has no
 * logger: with one, Fastify creates listeners and a child logger for each request, even if nothing
 * is logged. That is a quarter of a hit's time. The routes write the log lines.
 */
export function buildListener(
  log: FastifyBaseLogger,
  { serverFactory = createPlainServer, answer = sendAsRefusal, onUnread }: ListenerOptions = {},
): FastifyInstance {
  const sockets = new Set<Socket>()
  function refuse(_request: IncomingMessage, response: ServerResponse): void {
    onUnread?.()
    refuseUnread(response)
  }
  const app = fastify({
    serverFactory(handler, options) {
      const server = serverFactory((request, response) => {
        if (request.rawHeaders.length > 2 * maxHeaders || lacksHost(request)) {
          refuse(request, response)
        } else handler(request, response)
      }, options)
      // Without a listener, Node answers 417 itself.
      server.on('checkExpectation', refuse)
      // Node has a limit too, and some versions leave out what is beyond it without an error: a second
      // Authorization would not be seen. So all are read, and counted here.
      server.maxHeadersCount = 0
      server.on('connection', (socket: Socket) => {
        sockets.add(socket)
        socket.once('close', () => sockets.delete(socket))
      })
      return server
    },
    logger: false,
    // The request id of the caller is read where a refusal needs it.
    genReqId: () => '',
    trustProxy: false,
    bodyLimit: 1024,
    connectionTimeout: 30_000,
    requestTimeout: 5_000,
    keepAliveTimeout: 75_000,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    routerOptions: { maxParamLength: 256, caseSensitive: true },
    // By default Node looks for late headers only every 30 s.
    http: {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
      // Node would answer 400 itself, without a reason.
      requireHostHeader: false,
    },
    // Header or path that HTTP or the router cannot read: nothing reached a handler.
    frameworkErrors(_error, request, reply) {
      answer(request, reply, 'malformed_request')
    },
    clientErrorHandler(error, socket) {
      if (!socket.writable) return
      // No TLS came about, so there is nobody to whom an answer in plain text would be one.
      if (/^ERR_(SSL|TLS)_/.test(error.code)) return void socket.destroy()
      onUnread?.()
      socket.end(
        'HTTP/1.1 400 Bad Request\r\nX-Entra-Auth-Verdict: deny\r\nX-Entra-Auth-Reason: malformed_request\r\nCache-Control: no-store\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
      )
    },
  })
  app.addHook('preClose', (done) => {
    const endThose = (mayEnd: (socket: Socket) => boolean, afterMs: number) =>
      setTimeout(() => {
        for (const socket of sockets) if (mayEnd(socket)) socket.destroy()
      }, afterMs).unref()
    endThose(({ bytesRead }) => bytesRead === 0, firstByteMs)
    endThose(() => true, lastAnswerMs)
    done()
  })
  app.setNotFoundHandler((request, reply) => answer(request, reply, findMisuse(request)))
  app.setErrorHandler((error: { statusCode?: number }, request, reply) => {
    const { statusCode = 500 } = error
    // A body that Fastify cannot read is its sender's fault, and no reason for an alarm.
    if (statusCode < 500) {
      return answer(request, reply, request.is404 ? findMisuse(request) : 'malformed_request')
    }
    const { requestId } = readCorrelation(request.headers)
    log.error({ err: error, requestId }, 'internal error')
    return answer(request, reply, 'internal_error')
  })
  return app
}

/** Lets no cache keep any answer of a listener; those of /verify say themselves how long they count. */
export function forbidStoring(app: FastifyInstance): void {
  app.addHook('onRequest', (_request, reply, done) => {
    reply.header('Cache-Control', 'no-store')
    done()
  })
}

/** Answers a request that no route answers. */
export type Answer = (
  request: FastifyRequest,
  reply: FastifyReply,
  failure: FailureCode,
) => FastifyReply

/** Answers in the form of a refusal. */
export const sendAsRefusal: Answer = (request, reply, failure) =>
  sendRefusal(reply, { allow: false, failure }, readCorrelation(request.headers).requestId)

/** A request of HTTP/1.1 names its host (RFC 9112 section 3.2). */
function lacksHost({ httpVersion, headers }: IncomingMessage): boolean {
  return httpVersion === '1.1' && headers.host === undefined
}

/** Why a request that reached no route did not. */
function findMisuse({ method }: FastifyRequest): FailureCode {
  return method === 'GET' || method === 'HEAD' ? 'not_found' : 'method_not_allowed'
}
