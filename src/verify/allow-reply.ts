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
  send(response: ServerResponse, lines: string, age: MaxAge, closes: boolean): void
}

/** For how long an allow may be kept, in seconds: by any cache, and by the action in HAProxy. */
export interface MaxAge {
  readonly maxAgeSeconds: number
  readonly actionMaxAgeSeconds: number
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
  let endingActionMaxAge = -1

  /** The lines that change with time; the same for all requests of a second, nearly always. */
  function endingOf(age: MaxAge): string {
    const { maxAgeSeconds, actionMaxAgeSeconds } = age
    const nowMs = clock()
    const second = Math.floor(nowMs / 1000)
    if (
      second !== endingSecond ||
      maxAgeSeconds !== endingMaxAge ||
      actionMaxAgeSeconds !== endingActionMaxAge
    ) {
      endingSecond = second
      endingMaxAge = maxAgeSeconds
      endingActionMaxAge = actionMaxAgeSeconds
      const date = new Date(nowMs).toUTCString()
      ending = `${cacheControl(age)}\r\nDate: ${date}\r\n${keepAlive}\r\n`
    }
    return ending
  }

  return {
    send(response, lines, age, closes) {
      const field = response as unknown as HeaderField
      if (field._header === null && response.shouldKeepAlive && !closes) {
        field._header = `${lines}Cache-Control: ${endingOf(age)}`
      } else {
        response.writeHead(200, [
          ...readLines(lines),
          ...['Cache-Control', cacheControl(age)],
          ...(closes ? ['Connection', 'close'] : []),
        ])
      }
      response.end()
    },
  }
}

/**
 * How long an allow may be kept. What the action may do beyond other caches is a directive of its own, which
 * these ignore (RFC 9111, section 5.2.3), even if a client made them ask as the action does.
 */
function cacheControl({ maxAgeSeconds, actionMaxAgeSeconds }: MaxAge): string {
  const text = `private, max-age=${maxAgeSeconds}`
  if (actionMaxAgeSeconds === maxAgeSeconds) return text
  return `${text}, entra-auth-max-age=${actionMaxAgeSeconds}`
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

/** One letter, from "A" to "~", says which managed name a value belongs to. */
const mostManagedNames = 62

/**
 * The headers of an allow as one value. Reading about 25 headers one by one costs HAProxy more than
 * the rest of a call. The value is `2` (this form), the size of the format in four digits, the
 * format, the fields without anything between them, and seven characters that make the checksum of
 * the whole zero. The format is `c` and the length of each field, which Lua's `string.unpack`
 * reads. The fields are the list of managed names, a letter for each of these that has a value (`A`
 * for the first of the list), the version of the rules, the fields of `preparedNames`, and the
 * values in the order of the letters. The largest header is the last, so that HAProxy can see
 * whether all fit. Returns undefined if a value is not printable ASCII, if a
 * header has no field, or if there are too many names. The allow must then be sent as headers.
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
  const { names, list } = managed
  if (values.size !== preparedNames.length + names.length) return undefined
  if (names.length > mostManagedNames) return undefined
  const present = names
    .map((name, index) => ({
      letter: String.fromCharCode(65 + index),
      name,
      value: values.get(name) ?? '',
    }))
    .filter(({ value }) => value !== '')
  const sizeOf = (index: number) => {
    const { name = '', value = '' } = present[index] ?? {}
    return name.length + value.length
  }
  let largest = 0
  for (let index = 1; index < present.length; index++) {
    if (sizeOf(index) > sizeOf(largest)) largest = index
  }
  present.push(...present.splice(largest, 1))
  const fields = [
    list,
    present.map(({ letter }) => letter).join(''),
    version,
    ...preparedNames.map((name) => values.get(name) ?? ''),
    ...present.map(({ value }) => value),
  ]
  if (!fields.every((field) => /^[ -~]*$/.test(field))) return undefined
  const format = fields.map(({ length }) => `c${length}`).join('')
  return seal(`2${String(format.length).padStart(4, '0')}${format}${fields.join('')}`)
}

/** Appends seven characters from "0" to "P", so that the checksum is zero, which is quick to see. */
function seal(text: string): string {
  const missing = (2 ** 32 - checksumOf(`${text}0000000`)) % 2 ** 32
  const digits = missing.toString(33).padStart(7, '0')
  return (
    text + Array.from(digits, (digit) => String.fromCharCode(48 + parseInt(digit, 33))).join('')
  )
}

/** djb2 (Bernstein), which HAProxy has too. It shows an accident, not an attack. */
function checksumOf(text: string): number {
  let hash = 5381
  for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 33) + text.charCodeAt(i)) >>> 0
  return hash
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
