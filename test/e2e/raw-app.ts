import type { AddressInfo } from 'node:net'
import { createServer, type Socket } from 'node:net'

/** An application of bytes: it answers as no decent server would, and keeps all that it received. */
export interface RawApp {
  /** `127.0.0.1:PORT` */
  readonly address: string
  /** What the next connections are answered when the head of their first request is there. */
  answer: string
  /** Everything received since the last reset, of all connections. */
  received(): string
  reset(): void
  stop(): Promise<void>
}

/** Starts it on a free port of 127.0.0.1. Later requests on a connection get a plain 200. */
export async function startRawApp(): Promise<RawApp> {
  let received = ''
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    let pending = ''
    let isFirst = true
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => socket.destroy())
    socket.on('data', (bytes) => {
      const text = bytes.toString('latin1')
      received += text
      pending += text
      for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
        pending = pending.slice(end + 4)
        socket.write(isFirst ? app.answer : 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
        isFirst = false
      }
    })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const app: RawApp = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    answer: '',
    received: () => received,
    reset() {
      received = ''
      for (const socket of sockets) socket.destroy()
    },
    stop() {
      for (const socket of sockets) socket.destroy()
      return new Promise((done) => server.close(() => done()))
    },
  }
  return app
}
