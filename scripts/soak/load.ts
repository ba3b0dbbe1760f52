/**
 * Thread: clients over kept connections, each with one request after the other, as fast as they are
 * answered. A client of its own instead of node:http, which would be the bottleneck.
 */
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'

/** What the requests carry: a token from a small set, a new valid one, a new forged one. */
const kinds = ['known', 'new', 'forged'] as const
type Kind = (typeof kinds)[number]

export interface LoadReport {
  readonly requests: Readonly<Record<Kind, number>>
  /** What came instead of the status that is right, and how often. */
  readonly errors: Readonly<Record<string, number>>
}

const { port, known, signerPort, clients, knownPercent, signedPercent, requestLimit } = workerData
const alice = 'a1111111-1111-4111-8111-111111111111'
const gina = 'a4444444-4444-4444-8444-444444444444'
const unsigned = (known[0] as string).slice(0, known[0].lastIndexOf('.') + 1)
const wanted: Readonly<Record<Kind, string>> = { known: '200', new: '200', forged: '401' }
const users: Readonly<Record<Kind, string>> = { known: alice, new: gina, forged: 'nobody' }

const requests = { known: 0, new: 0, forged: 0 }
const errors: Record<string, number> = {}
const signed: string[] = []
const batch = 200
let ordered = false
let turn = 0
let ending = false
let running = clients
let noise = Buffer.alloc(0)

signerPort.on('message', (tokens: string[]) => {
  signed.push(...tokens)
  ordered = false
})

/** Spread evenly. Where signing cannot keep up, a forged token takes the place of a signed one. */
function next(): { kind: Kind; token: string } {
  turn++
  const place = (turn * 37) % 100
  if (place < knownPercent) return { kind: 'known', token: known[turn % known.length] }
  if (!ordered && signed.length < 2 * batch) {
    ordered = true
    signerPort.postMessage(batch)
  }
  const token = place < knownPercent + signedPercent ? signed.pop() : undefined
  return token === undefined ? { kind: 'forged', token: forge() } : { kind: 'new', token }
}

function forge(): string {
  if (noise.length < 256) noise = randomBytes(256 * 256)
  const signature = noise.subarray(0, 256).toString('base64url')
  noise = noise.subarray(256)
  return unsigned + signature
}

function fail(what: string): void {
  errors[what] = (errors[what] ?? 0) + 1
}

function startClient(): void {
  let socket: Socket
  let kind: Kind = 'known'
  let text = ''
  let waiting = false
  let done = false

  function send(): void {
    const total = requests.known + requests.new + requests.forged
    if (ending || (requestLimit > 0 && total >= requestLimit)) {
      finish()
      return
    }
    const chosen = next()
    kind = chosen.kind
    requests[kind]++
    waiting = true
    socket.write(
      `GET /orders HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer ${chosen.token}\r\nX-Expected-User: ${users[kind]}\r\n\r\n`,
    )
  }

  function finish(): void {
    done = true
    socket.destroy()
    running--
    if (running === 0) signerPort.close()
    if (running === 0) parentPort?.postMessage({ ended: true, ...report() })
  }

  function read(chunk: string): void {
    text += chunk
    const head = text.indexOf('\r\n\r\n')
    if (head < 0) return
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, head + 2))?.[1])
    if (Number.isNaN(length)) {
      fail(`${kind}: no length`)
      socket.destroy()
      return
    }
    if (text.length < head + 4 + length) return
    const status = text.slice(9, 12)
    if (status !== wanted[kind]) fail(`${kind}: ${status}`)
    const isLast = /\r\nconnection: *close/i.test(text.slice(0, head + 2))
    text = ''
    waiting = false
    if (isLast) socket.end()
    else send()
  }

  function open(): void {
    socket = connect(port, '127.0.0.1', send).setNoDelay().setEncoding('latin1')
    socket.on('data', read)
    socket.on('error', (error: NodeJS.ErrnoException) => fail(`${kind}: ${error.code}`))
    socket.on('close', () => {
      if (done) return
      if (waiting) fail(`${kind}: closed without an answer`)
      waiting = false
      text = ''
      open()
    })
  }
  open()
}

function report(): LoadReport {
  return { requests: { ...requests }, errors: { ...errors } }
}

parentPort?.on('message', (message: string) => {
  if (message === 'end') ending = true
  else parentPort?.postMessage(report())
})
for (let client = 0; client < clients; client++) startClient()
