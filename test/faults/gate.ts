/** A way to a server that can be shut: connections are then refused, and the open ones end. */
import { connect, createServer, type Socket } from 'node:net'
import { freePorts } from '../../scripts/local-stack/free-port.ts'
import type { Life } from '../serve/process.ts'

export interface Gate {
  /** `http://127.0.0.1:PORT`, the same for as long as the gate exists. */
  readonly origin: string
  /** Leads to this port of 127.0.0.1 from now on. */
  open(port: number): Promise<void>
  shut(): Promise<void>
}

/** Makes a gate that is shut. */
export async function makeGate(t: Life): Promise<Gate> {
  const sockets = new Set<Socket>()
  let target = 0
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
      one.pipe(other)
    }
  })
  const listen = (port: number) =>
    new Promise<void>((done, fail) => {
      server.once('error', fail)
      server.listen(port, '127.0.0.1', () => {
        server.off('error', fail)
        done()
      })
    })
  const shut = async () => {
    if (!server.listening) return
    const closed = new Promise<void>((done) => server.close(() => done()))
    for (const socket of sockets) socket.destroy()
    await closed
  }
  const [port = 0] = await freePorts(1)
  t.after(shut)
  return {
    origin: `http://127.0.0.1:${port}`,
    async open(to) {
      target = to
      if (!server.listening) await listen(port)
    },
    shut,
  }
}
