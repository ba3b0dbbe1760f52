/** Clients that send one request after the other over kept connections until they are told to end. */
import { Agent, request } from 'node:http'

export interface Load {
  /** How many answers of each status, or errors of each code, there were. */
  readonly results: ReadonlyMap<string, number>
  readonly total: number
  /** Resolves when so many more answers have come. */
  more(count: number): Promise<void>
  /** Resolves when each client has ended by itself. */
  readonly ended: Promise<unknown>
  /** Lets the clients finish the request that they wait for. */
  end(): Promise<void>
}

export interface LoadOptions {
  readonly clients: number
  readonly url: () => string
  readonly token: () => string | Promise<string>
  /** A client ends when a reply says that its connection will be closed; default: it goes on. */
  readonly endOnClose?: boolean
}

/** Starts the clients. */
export function startLoad({ clients, url, token, endOnClose = false }: LoadOptions): Load {
  const results = new Map<string, number>()
  const waiting = new Set<() => void>()
  let total = 0
  let ending = false

  function count(result: string): void {
    results.set(result, (results.get(result) ?? 0) + 1)
    total++
    for (const look of waiting) look()
  }

  async function run(): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (let closing = false; !ending && !closing; ) {
      const reply = await send(url(), await token(), agent)
      count(reply.result)
      closing = endOnClose && reply.closing
    }
    agent.destroy()
  }

  const running = Promise.all(Array.from({ length: clients }, run))
  return {
    results,
    ended: running,
    get total() {
      return total
    },
    more(wanted) {
      const target = total + wanted
      return new Promise((done) => {
        const look = () => {
          if (total < target) return
          waiting.delete(look)
          done()
        }
        waiting.add(look)
      })
    },
    async end() {
      ending = true
      await running
    },
  }
}

interface Sent {
  /** Status, or code of an error. */
  readonly result: string
  readonly closing: boolean
}

function send(url: string, token: string, agent: Agent): Promise<Sent> {
  return new Promise((resolve) => {
    const done = (result: string, closing = false) => resolve({ result, closing })
    const headers = { authorization: `Bearer ${token}` }
    request(url, { agent, headers, timeout: 15_000 }, (response) => {
      response.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? 'error'))
      response.on('end', () =>
        done(String(response.statusCode), response.headers.connection === 'close'),
      )
      response.resume()
    })
      .on('timeout', () => done('timeout'))
      .on('error', (error: NodeJS.ErrnoException) => done(error.code ?? 'error'))
      .end()
  })
}
