/** A client for HTTP/2 that sends what it is told, also what a well-behaved library refuses to. */
import { connect } from 'node:net'

/** Header fields in their order, pseudo-header fields first. */
export type Fields = readonly (readonly [string, string])[]

/** The fields of a plain request with these added; a pseudo-header field replaces the plain one. */
export function requestFields(more: Fields): Fields {
  const plain: Fields = [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':authority', 'app.example'],
    [':path', '/h2'],
  ]
  const replaced = new Set(more.map(([name]) => name).filter((name) => name.startsWith(':')))
  const isPseudo = ([name]: readonly [string, string]) => name.startsWith(':')
  const kept = plain.filter(([name]) => !replaced.has(name))
  return [...kept, ...more.filter(isPseudo), ...more.filter((field) => !isPseudo(field))]
}

/** Sends one request over HTTP/2 without TLS; resolves with its status, 0 where there is none. */
export function askRawHttp2(port: number, fields: Fields): Promise<number> {
  return new Promise((done, fail) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
      socket.write(frame(SETTINGS, 0, 0, Buffer.alloc(0)))
      const block = Buffer.concat(fields.map(([name, value]) => literal(name, value)))
      socket.write(frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
    })
    let bytes = Buffer.alloc(0)
    const finish = (status: number) => {
      socket.destroy()
      done(status)
    }
    socket.setTimeout(15_000, () => {
      socket.destroy()
      fail(new Error('neither an answer nor an error in 15 s'))
    })
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const length = bytes.readUIntBE(0, 3)
        const type = bytes[3]
        if (type === HEADERS) finish(statusOf(bytes.subarray(9, 9 + length)))
        else if (type === RST_STREAM || type === GOAWAY) finish(0)
        bytes = bytes.subarray(9 + length)
      }
    })
    socket.on('close', () => finish(0))
    socket.on('error', () => finish(0))
  })
}

const HEADERS = 1
const RST_STREAM = 3
const SETTINGS = 4
const GOAWAY = 7
const END_STREAM = 1
const END_HEADERS = 4

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** RFC 7541 section 6.2.2: a literal field without indexing, its name and value not compressed. */
function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), text(name), text(value)])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1')
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes])
  // RFC 7541 section 5.1, for lengths of two more bytes at most.
  const rest = bytes.length - 127
  const size = rest < 128 ? [127, rest] : [127, (rest % 128) + 128, rest >> 7]
  return Buffer.concat([Buffer.from(size), bytes])
}

/** The status, which is the first field, as HAProxy encodes it: from the static table or in digits. */
function statusOf(block: Buffer): number {
  const indexed = new Map([
    [0x88, 200],
    [0x89, 204],
    [0x8a, 206],
    [0x8b, 304],
    [0x8c, 400],
    [0x8d, 404],
    [0x8e, 500],
  ])
  const [first = 0] = block
  return indexed.get(first) ?? Number(block.subarray(2, 5).toString('latin1'))
}
