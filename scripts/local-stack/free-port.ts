import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/** Linux gives outgoing connections a port from 32768 on, and a test makes thousands of them. */
const lowest = 10_000
const highest = 32_000
const maxAttempts = 1_000

/** No port twice in one process: what it is for may not listen on it yet. */
const given = new Set<number>()

/**
 * Ports of 127.0.0.1 that nobody listens on, all different, and drawn by chance, since other
 * programs look for theirs at the same time. Throws where no port is left.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  for (let attempt = 0; ports.length < count; attempt++) {
    if (attempt === maxAttempts) throw new Error(`no free port from ${lowest} to ${highest}`)
    const port = randomInt(lowest, highest)
    if (given.has(port)) continue
    given.add(port)
    if (await isFree(port)) ports.push(port)
  }
  return ports
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(false))
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)))
  })
}
