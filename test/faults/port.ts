/** Ports below those that the system gives to outgoing connections, of which these tests make many. */
import { createServer } from 'node:net'

// Test files run side by side, each in a process of its own.
let next = 10_000 + (process.pid % 200) * 100

/** A port of 127.0.0.1 that is free, and that no other chain is given. */
export async function reservePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = next++
    if (await isFree(port)) return port
  }
  throw new Error(`no free port below ${next}`)
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(false))
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)))
  })
}
