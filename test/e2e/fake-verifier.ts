/**
 * A verifier that says what a test tells it to, byte for byte: a real one cannot be made to send
 * garbage.
 */
import { createHash } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { freePorts } from '../../scripts/local-stack/free-port.ts'

/** A call as it came over the wire. */
export interface Call {
  readonly method: string
  readonly url: string
  readonly headers: readonly (readonly [string, string])[]
  /** Which connection it came on, counted from 0. */
  readonly connection: number
}

/** What to do with a call: send these bytes, say nothing, or close without a word. */
export type Answer = string | Buffer | 'hang' | 'close'

/** `garbage` sends its bytes and closes, since such an answer has no end of its own. */
export type Said = Answer | { readonly garbage: string | Buffer } | Dribble

/** One piece after the other, for as long as there are any and somebody listens. */
export interface Dribble {
  readonly pieces: Iterable<string>
  readonly everyMs: number
}

export type Script = (call: Call) => Said | Promise<Said>

export interface FakeVerifier {
  readonly address: string
  /** Calls of /verify and anything else but health checks and polls. */
  readonly calls: Call[]
  /** Calls of /revocations. */
  readonly polls: Call[]
  /** Answers to /verify from here on. */
  script: Script
  /** Answers to /revocations from here on; without it there is no such route, and no cache. */
  feed: Script
  stop(): Promise<void>
  /** Listens again on the same port after `stop`. */
  restart(): Promise<void>
}

export type Headers = readonly (readonly [string, string])[]

/** An answer with this status and these headers, in HTTP/1.1 with a length. */
export function answer(status: number, headers: Headers = [], body = ''): string {
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return `HTTP/1.1 ${status} Status\r\n${lines}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

/** What an identity header set looks like; a name without a value is managed, but empty. */
export type Identity = Readonly<Record<string, string>>

export const alice: Identity = {
  'X-Auth-Request-User': 'alice-oid',
  'X-Auth-Request-Tenant': 'contoso-tid',
  'X-Auth-Request-Actor': 'user',
  'X-Auth-Request-Roles': '',
}

/** When the tokens of the tests were issued, in seconds. */
export const issuedAt = 1_700_000_000

/** The headers of a proper allow. */
export function allowHeaders(identity: Identity = alice): [string, string][] {
  return [
    ['X-Entra-Auth-Verdict', 'allow'],
    ['X-Entra-Auth-Contract', '1'],
    ['X-Entra-Auth-Headers', Object.keys(identity).join(',')],
    ['X-Entra-Auth-User', identity['X-Auth-Request-User'] ?? ''],
    ['X-Entra-Auth-Tenant', identity['X-Auth-Request-Tenant'] ?? ''],
    ['X-Entra-Auth-Client', 'client-appid'],
    ['X-Entra-Auth-Actor', identity['X-Auth-Request-Actor'] ?? ''],
    ['X-Entra-Auth-Token-Id', 'token-uti'],
    ['X-Entra-Auth-Issued-At', String(issuedAt)],
    ['X-Entra-Auth-Key-Id', 'key-kid'],
    ['X-Entra-Auth-Version', 'version-1'],
    ...Object.entries(identity),
    ['Cache-Control', 'private, max-age=30'],
  ]
}

export function allow(identity: Identity = alice): string {
  return answer(200, allowHeaders(identity))
}

/** An allow that may be kept for so long. */
export function allowFor(maxAgeSeconds: number, identity: Identity = alice): string {
  const rest = allowHeaders(identity).filter(([name]) => name !== 'Cache-Control')
  return answer(200, [...rest, ['Cache-Control', `private, max-age=${maxAgeSeconds}`]])
}

/** An allow that may be kept for a second. */
export const shortAllow: string = allowFor(1)

/** A prepared value of this text: with its form, and an end that makes the djb2 of the whole zero. */
export function sealed(text: string): string {
  const whole = `2${text}`
  let missing = 5381n
  for (const byte of Buffer.from(`${whole}0000000`, 'latin1'))
    missing = missing * 33n + BigInt(byte)
  missing = BigInt.asUintN(32, -missing)
  let end = ''
  for (let digit = 0; digit < 7; digit++) {
    end = String.fromCharCode(48 + Number(missing % 33n)) + end
    missing /= 33n
  }
  return `${whole}${end}`
}

/** These fields as a prepared value. */
function prepare(fields: readonly string[]): string {
  const format = fields.map(({ length }) => `c${length}`).join('')
  return sealed(`${String(format.length).padStart(4, '0')}${format}${fields.join('')}`)
}

/**
 * The same allow as one prepared value: of the fields that `edit` makes of its list of names, letters, version,
 * seven fields about the token and values, or what `change` makes of the whole.
 */
export function allowPrepared(
  identity: Identity = alice,
  edit: (fields: string[]) => string[] = (fields) => fields,
  change: (value: string) => string = (value) => value,
): string {
  const of = new Map(allowHeaders(identity))
  const said = ['User', 'Tenant', 'Client', 'Actor', 'Token-Id', 'Issued-At', 'Key-Id'].map(
    (name) => of.get(`X-Entra-Auth-${name}`) ?? '',
  )
  const list = of.get('X-Entra-Auth-Headers') ?? ''
  const present = Object.entries(identity)
    .map(([name, value], index) => ({ letter: String.fromCharCode(65 + index), name, value }))
    .filter(({ value }) => value !== '')
    .toSorted((a, b) => a.name.length + a.value.length - b.name.length - b.value.length)
  const letters = present.map(({ letter }) => letter).join('')
  const fields = [list, letters, 'version-1', ...said, ...present.map(({ value }) => value)]
  return answer(200, [
    ['X-Entra-Auth-Verdict', 'allow'],
    ['X-Entra-Auth-Contract', '1'],
    ['X-Entra-Auth-Prepared', change(prepare(edit(fields)))],
    ['Cache-Control', of.get('Cache-Control') ?? ''],
  ])
}

/** A refusal as the verifier words it. */
export function deny(
  status: number,
  reason: string,
  challenges: readonly string[] = [],
  more: Headers = [],
): string {
  const body = JSON.stringify({ error: 'some_error', reason, from: 'verifier' })
  return answer(
    status,
    [
      ['Content-Type', 'application/json; charset=utf-8'],
      ['X-Entra-Auth-Contract', '1'],
      ['X-Entra-Auth-Reason', reason],
      ['Cache-Control', 'no-store'],
      ...challenges.map((value) => ['WWW-Authenticate', value] as const),
      ...more,
    ],
    body,
  )
}

/** One entry of the answer to /revocations. */
export interface Revocation {
  readonly kind: string
  readonly id: string
  readonly before: number
  readonly until: number
}

/** What /revocations says, with an ETag, and 304 to whoever knows it; with challenges in form 2. */
export function revocations(
  list: readonly Revocation[] = [],
  version = 'version-1',
  challenges?: Readonly<Record<string, string>>,
): Script {
  const body = JSON.stringify({ version, revocations: list, challenges })
  const etag = `"${createHash('sha256').update(body).digest('base64url')}"`
  return (call) => {
    const known = call.headers.some(
      ([name, value]) => name.toLowerCase() === 'if-none-match' && value === etag,
    )
    return known
      ? `HTTP/1.1 304 Not Modified\r\nETag: ${etag}\r\n\r\n`
      : answer(200, [['ETag', etag]], body)
  }
}

export async function startFakeVerifier(): Promise<FakeVerifier> {
  const sockets = new Set<Socket>()
  let connections = 0
  // Kept for as long as the process lives: after `stop`, HAProxy must not find another test's server.
  const [port] = await freePorts(1)
  const server = createServer((socket) => {
    sockets.add(socket)
    const connection = connections++
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    readCalls(socket, connection, (call) => respond(socket, call))
  })
  function respond(socket: Socket, call: Call): void {
    if (call.url === '/readyz') {
      socket.write(answer(200))
      return
    }
    const isPoll = call.url === '/revocations'
    const said = isPoll ? verifier.feed(call) : verifier.script(call)
    ;(isPoll ? verifier.polls : verifier.calls).push(call)
    // No detour for what is said at once: tests count on the order of answers.
    if (said instanceof Promise) void said.then((late) => send(socket, late))
    else send(socket, said)
  }
  function send(socket: Socket, said: Said): void {
    if (said === 'close') socket.destroy()
    else if (said === 'hang') return
    else if (typeof said === 'object' && 'garbage' in said) socket.end(said.garbage)
    else if (typeof said === 'object' && 'pieces' in said) dribble(socket, said)
    else socket.write(said)
  }
  function listen(): Promise<void> {
    return new Promise((done, fail) => {
      server.once('error', fail)
      server.listen(port, '127.0.0.1', done)
    })
  }
  await listen()
  const verifier: FakeVerifier = {
    address: `127.0.0.1:${port}`,
    calls: [],
    polls: [],
    script: () => allow(),
    feed: () => answer(404),
    stop() {
      for (const socket of sockets) socket.destroy()
      return new Promise((done) => server.close(() => done()))
    },
    restart: listen,
  }
  return verifier
}

function dribble(socket: Socket, { pieces, everyMs }: Dribble): void {
  const rest = pieces[Symbol.iterator]()
  const timer = setInterval(() => {
    const { value, done } = rest.next()
    if (done || socket.destroyed) clearInterval(timer)
    else if (!socket.writableNeedDrain) socket.write(value)
  }, everyMs)
}

function readCalls(socket: Socket, connection: number, onCall: (call: Call) => void): void {
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
    for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
      const [first = '', ...lines] = text.slice(0, end).split('\r\n')
      text = text.slice(end + 4)
      const [method = '', url = ''] = first.split(' ')
      const headers = lines.map((line) => {
        const colon = line.indexOf(':')
        return [line.slice(0, colon), line.slice(colon + 1).trim()] as const
      })
      onCall({ method, url, headers, connection })
    }
  })
}
