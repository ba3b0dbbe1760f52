/** Clients for tests: one over node:http for answers, one over a bare socket for odd requests. */
import { type Agent, request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { startRunningClock } from '../support/running-clock.ts'

export interface Reply {
  readonly status: number
  /** Names in lower case, one entry a line: `[name, value]`. */
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
  /** Without the time for which the machine stood still. */
  readonly ms: number
}

export interface Ask {
  readonly method?: string
  readonly path?: string
  /** Sent in this order and spelling. */
  readonly headers?: readonly (readonly [string, string])[]
  readonly body?: string | Buffer
  readonly agent?: Agent
  /** Host, `app.example` by default. */
  readonly host?: string
}

export const bearer: readonly [string, string] = ['Authorization', 'Bearer some.test.token']

/** Sends one request; a connection of its own unless an agent is given. */
export function ask(port: number, what: Ask = {}): Promise<Reply> {
  const { method = 'GET', path = '/', headers = [bearer], body, agent, host = 'app.example' } = what
  const raw = [['Host', host] as const, ...headers].flat()
  if (body !== undefined) raw.push('Content-Length', String(Buffer.byteLength(body)))
  const clock = startRunningClock()
  return new Promise<Reply>((done, fail) => {
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port,
        method,
        path,
        headers: raw,
        agent: agent ?? false,
        timeout: 15_000,
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk) => chunks.push(chunk))
        response.on('error', fail)
        response.on('end', () =>
          done({
            status: response.statusCode ?? 0,
            headers: pairs(response.rawHeaders),
            body: Buffer.concat(chunks).toString('utf8'),
            ms: clock.nowMs(),
          }),
        )
      },
    )
    request.on('timeout', () => request.destroy(new Error('no answer in 15 s')))
    request.on('error', fail)
    request.end(body)
  }).finally(() => clock.stop())
}

function pairs(raw: readonly string[]): [string, string][] {
  return raw.flatMap((name, index): [string, string][] =>
    index % 2 === 0 ? [[name.toLowerCase(), raw[index + 1] ?? '']] : [],
  )
}

/** Values of one header, a line each; the name in any letter case. */
export function values(
  message: { readonly headers: readonly (readonly [string, string])[] },
  name: string,
): string[] {
  const wanted = name.toLowerCase()
  return message.headers.filter(([one]) => one.toLowerCase() === wanted).map(([, value]) => value)
}

/** Sends bytes and returns what came back until `isEnough`, or until the other side closed. */
export function askRaw(
  port: number,
  bytes: string | Buffer,
  isEnough: (text: string) => boolean = (text) => text.includes('\r\n\r\n'),
): Promise<string> {
  return new Promise((done, fail) => {
    let text = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    const finish = () => {
      socket.destroy()
      done(text)
    }
    socket.setTimeout(15_000, () => {
      socket.destroy()
      fail(new Error(`not enough in 15 s: ${JSON.stringify(text.slice(0, 500))}`))
    })
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (isEnough(text)) finish()
    })
    socket.on('end', finish)
    socket.on('error', (error) => (text === '' ? fail(error) : finish()))
  })
}
