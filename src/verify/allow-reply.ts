import { type ServerResponse, validateHeaderName, validateHeaderValue } from 'node:http'

/** What stands in the reply of an allow besides the headers of its outcome. */
export interface AllowReplyOptions {
  readonly clock: () => number
  /** The keep-alive time-out that a reply announces; 0 if none is announced. */
  readonly keepAliveTimeoutMs: number
}

/** Writes the replies of allows, which are the same but for their age and the date. */
export interface AllowReply {
  /** Sends a whole reply from lines of `formatLines`; `closes` ends the connection after it. */
  send(response: ServerResponse, lines: string, maxAgeSeconds: number, closes: boolean): void
}

/** The one field of Node's own that is used here. */
interface HeaderField {
  _header: string | null
}

/**
 * Creates the writer. `writeHead` checks and copies each of about 25 headers for each request, a
 * fifth of a hit's time. Node has no public way to pass it finished lines. So they are written to
 * where `writeHead` would put them: the field `_header`, which is null until then in Node 22, 24
 * and 26. On a Node without the field, and if the connection is to be closed, `writeHead` is used. A
 * test compares both replies byte by byte.
 */
export function createAllowReply({ clock, keepAliveTimeoutMs }: AllowReplyOptions): AllowReply {
  const seconds = Math.floor(keepAliveTimeoutMs / 1000)
  const keepAlive = `Connection: keep-alive\r\n${seconds > 0 ? `Keep-Alive: timeout=${seconds}\r\n` : ''}`
  let ending = ''
  let endingSecond = -1
  let endingMaxAge = -1

  /** The lines that change with time; the same for all requests of a second, nearly always. */
  function endingOf(maxAgeSeconds: number): string {
    const nowMs = clock()
    const second = Math.floor(nowMs / 1000)
    if (second !== endingSecond || maxAgeSeconds !== endingMaxAge) {
      endingSecond = second
      endingMaxAge = maxAgeSeconds
      const date = new Date(nowMs).toUTCString()
      ending = `${cacheControl(maxAgeSeconds)}\r\nDate: ${date}\r\n${keepAlive}\r\n`
    }
    return ending
  }

  return {
    send(response, lines, maxAgeSeconds, closes) {
      const field = response as unknown as HeaderField
      if (field._header === null && response.shouldKeepAlive && !closes) {
        field._header = `${lines}Cache-Control: ${endingOf(maxAgeSeconds)}`
      } else {
        response.writeHead(200, [
          ...readLines(lines),
          ...['Cache-Control', cacheControl(maxAgeSeconds)],
          ...(closes ? ['Connection', 'close'] : []),
        ])
      }
      response.end()
    },
  }
}

/** How long an allow may be kept. */
function cacheControl(maxAgeSeconds: number): string {
  return `private, max-age=${maxAgeSeconds}`
}

/** What is told of the token besides the identity, in the order of the prepared value. */
const preparedNames = [
  'X-Entra-Auth-User',
  'X-Entra-Auth-Tenant',
  'X-Entra-Auth-Client',
  'X-Entra-Auth-Actor',
  'X-Entra-Auth-Token-Id',
  'X-Entra-Auth-Issued-At',
  'X-Entra-Auth-Key-Id',
] as const

/**
 * The headers of an allow as one value. Reading about 25 headers one by one costs HAProxy more than
 * the rest of a call. The fields are separated by tabs, which no value contains: `1` (this form),
 * the version of the rules, the fields of `preparedNames`, the list of managed names, a value for
 * each of these (empty if there is none), and `.`, because HTTP drops tabs at the end. Returns
 * undefined if a value contains a tab or a header has no field. The allow must then be sent as
 * headers.
 */
export function formatPrepared(
  version: string,
  managed: { readonly names: readonly string[]; readonly list: string },
  headers: readonly string[],
): string | undefined {
  const values = new Map<string, string>()
  for (let i = 0; i < headers.length; i += 2) {
    values.set(headers[i] as string, headers[i + 1] as string)
  }
  if (values.size !== preparedNames.length + managed.names.length) return undefined
  const fields = [
    '1',
    version,
    ...preparedNames.map((name) => values.get(name) ?? ''),
    managed.list,
    ...managed.names.map((name) => values.get(name) ?? ''),
    '.',
  ]
  return fields.some((field) => field.includes('\t')) ? undefined : fields.join('\t')
}

/** The flat list of names and values that `formatLines` made lines of. */
function readLines(lines: string): string[] {
  const [, ...headers] = lines.trimEnd().split('\r\n')
  return headers.flatMap((line) => {
    const end = line.indexOf(':')
    return [line.slice(0, end), line.slice(end + 2)]
  })
}

/** Status line and header lines, each checked as Node checks it, from a flat list. */
export function formatLines(headers: readonly string[]): string {
  let lines = 'HTTP/1.1 200 OK\r\n'
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    validateHeaderName(name)
    validateHeaderValue(name, value)
    lines += `${name}: ${value}\r\n`
  }
  // A string put together is a tree, which each write would walk again; out of a buffer it is flat.
  return Buffer.from(lines, 'latin1').toString('latin1')
}
