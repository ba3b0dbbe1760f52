/** One kept connection on which requests go one after the other, cheap enough for a client of many. */
import { connect, type Socket } from 'node:net'

export interface Answer {
  readonly status: number
  readonly body: string
  /** When the first byte was sent and the last one received, by performance.now(). */
  readonly sentAt: number
  readonly receivedAt: number
}

export interface Lane {
  /** Opens the connection anew when it was closed. */
  ask(token: string): Promise<Answer>
  close(): void
}

/** Creates a lane to HAProxy, from another address of loopback where one is given. */
export function createLane(port: number, localAddress = '127.0.0.1'): Lane {
  let socket: Socket | undefined
  let text = ''
  let waiting: { look(): boolean; fail(error: Error): void } | undefined

  function open(): Socket {
    const opened = connect({ host: '127.0.0.1', port, localAddress })
    opened.setNoDelay(true)
    opened.setEncoding('latin1').on('data', (chunk) => {
      text += chunk
      if (waiting?.look()) waiting = undefined
    })
    opened.on('error', () => opened.destroy())
    opened.on('close', () => {
      if (socket === opened) socket = undefined
      waiting?.fail(new Error(`closed without an answer: ${JSON.stringify(text.slice(0, 200))}`))
      waiting = undefined
    })
    return opened
  }

  return {
    ask(token) {
      socket ??= open()
      text = ''
      const sentAt = performance.now()
      socket.write(`GET / HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer ${token}\r\n\r\n`)
      return new Promise((done, fail) => {
        const look = () => {
          const head = text.indexOf('\r\n\r\n')
          const [, length = '0'] = /^content-length: (\d+)/im.exec(text) ?? []
          if (head < 0 || text.length < head + 4 + Number(length)) return false
          const [, status = '0'] = /^HTTP\/1\.1 (\d+)/.exec(text) ?? []
          const body = text.slice(head + 4)
          done({ status: Number(status), body, sentAt, receivedAt: performance.now() })
          return true
        }
        waiting = { look, fail }
      })
    },
    close() {
      waiting = undefined
      socket?.destroy()
    },
  }
}
